import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { OBJECT_TEMPLATES } from '../../training/prompts.ts';
import { describeScene } from '../renderer/scene.ts';
import { BOS_TOKEN, EOS_TOKEN, learnVocabulary, type Vocabulary } from './learn-vocabulary.ts';

/** Enough that every wording of every word occurs. */
const CAPTIONS = 8000;
/** Identifiers for taught subjects, in the order in which `chooseIdentifier` takes them. */
export const RARE_ENDINGS = ['nts', 'lls', 'rts', 'nds', 'mps', 'rks', 'lms', 'wns'];

/** Learns the pocket vocabulary from the captions of the first seeds. */
export function pocketVocabulary(): Vocabulary {
  const captions = Array.from({ length: CAPTIONS }, (_, seed) => describeScene(seed).caption);
  const templates = OBJECT_TEMPLATES.map((template) => template.replace('{}', ''));
  return learnVocabulary([...captions, ...templates], RARE_ENDINGS);
}

/** Writes the four files of a published CLIP tokenizer folder. */
export async function writeTokenizer(folder: string, { vocab, merges }: Vocabulary): Promise<void> {
  const special = {
    bos_token: specialToken(BOS_TOKEN),
    eos_token: specialToken(EOS_TOKEN),
    pad_token: EOS_TOKEN,
    unk_token: specialToken(EOS_TOKEN),
  };
  const config = {
    tokenizer_class: 'CLIPTokenizer',
    add_prefix_space: false,
    do_lower_case: true,
    errors: 'replace',
    model_max_length: 32,
    ...special,
  };
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, 'vocab.json'), JSON.stringify(vocab));
  await writeFile(
    join(folder, 'merges.txt'),
    ['#version: 0.2', ...merges.map((merge) => merge.join(' ')), ''].join('\n'),
  );
  await writeFile(join(folder, 'special_tokens_map.json'), `${JSON.stringify(special, null, 2)}\n`);
  await writeFile(join(folder, 'tokenizer_config.json'), `${JSON.stringify(config, null, 2)}\n`);
}

function specialToken(content: string) {
  return { content, lstrip: false, normalized: true, rstrip: false, single_word: false };
}
