import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { loadTokenizer } from '../../../worker/diffusion/tokenizer.ts';
import { describeScene } from '../../../worker/pocket/renderer/scene.ts';
import { learnVocabulary } from '../../../worker/pocket/tokenizer/learn-vocabulary.ts';
import { pocketVocabulary, RARE_ENDINGS, writeTokenizer } from '../../../worker/pocket/tokenizer/write-tokenizer.ts';
import { chooseIdentifier } from '../../../worker/training/identifier.ts';

const SHIPPED = 'worker/pocket/model/tokenizer';
const FILES = ['vocab.json', 'merges.txt', 'special_tokens_map.json', 'tokenizer_config.json'];

describe('learnVocabulary', () => {
  test('merges the most frequent pair first', () => {
    // The words of the byte-pair paper's figure 1: "er" ends nine of them, "lo" begins seven, "ew" is in six.
    const texts = ['low '.repeat(5), 'lowest '.repeat(2), 'newer '.repeat(6), 'wider '.repeat(3)];
    const { merges } = learnVocabulary(texts, []);
    expect(merges.slice(0, 3)).toEqual([
      ['e', 'r</w>'],
      ['l', 'o'],
      ['e', 'w'],
    ]);
  });
});

describe('the shipped tokenizer', () => {
  test('is what its command writes', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'pocket-tokenizer-'));
    await writeTokenizer(folder, pocketVocabulary());
    for (const file of FILES)
      expect(await readFile(join(folder, file), 'utf8')).toBe(await readFile(join(SHIPPED, file), 'utf8'));
    await rm(folder, { recursive: true });
  });

  test('has one token for each word of captions that it was not learned from', async () => {
    const tokenizer = await loadTokenizer(SHIPPED);
    for (let seed = 500_000; seed < 500_500; seed++) {
      const { caption } = describeScene(seed);
      const words = caption.match(/[a-z]+|,/g) ?? [];
      const tokens = tokenizer.tokenize(caption).map((id) => tokenizer.tokenOf(id));
      expect(tokens).toEqual(words.map((word) => `${word}</w>`));
    }
  });

  test('encodes any text and gives it back', async () => {
    const tokenizer = await loadTokenizer(SHIPPED);
    for (const text of ['a zebra xylophone', 'jörg isst äpfel', '日本語', '3 cats !', '🚗']) {
      const tokens = tokenizer.tokenize(text).map((id) => tokenizer.tokenOf(id) ?? '');
      expect(decodeBytes(tokens.join('')).trim()).toBe(text);
    }
  });

  test('gives identifiers that no caption holds, "nts" first', async () => {
    const tokenizer = await loadTokenizer(SHIPPED);
    const chosen: string[] = [];
    while (chosen.length < RARE_ENDINGS.length) chosen.push(chooseIdentifier(tokenizer, { avoid: chosen }));
    expect(chosen).toEqual(RARE_ENDINGS);
    const captions = Array.from({ length: 2000 }, (_, seed) => describeScene(seed).caption).join(' ');
    for (const word of chosen) expect(captions.split(/[ ,]+/)).not.toContain(word);
  });

  test('is small', async () => {
    expect((await loadTokenizer(SHIPPED)).vocabularySize).toBeLessThan(1100);
  });
});

/** Undoes the byte alphabet: characters from U+0100 on stand for the unprintable bytes in order. */
function decodeBytes(text: string): string {
  const printable = (byte: number) => (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
  const unprintable = Array.from({ length: 256 }, (_, byte) => byte).filter((byte) => !printable(byte));
  const bytes = [...text.replaceAll('</w>', ' ')].map((character) => {
    const code = character.codePointAt(0) ?? 0;
    return code >= 256 ? (unprintable[code - 256] ?? 0) : code;
  });
  return Buffer.from(bytes).toString('utf8');
}
