import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Tokenizer as BpeTokenizer } from '@huggingface/tokenizers';
import { z } from 'zod';
import { UserError } from '../../shared/errors.ts';

/** CLIP's positions are learned for this many tokens, BOS and EOS included. */
const MAX_POSITIONS = 77;

/** A prompt as the text encoder takes it. */
export interface EncodedPrompt {
  /** `maxLength` ids: BOS, content, EOS, padding. */
  inputIds: number[];
  /** The first position whose id is the EOS token's, which may be one that the text itself spells out. */
  eosPosition: number;
  /** The text that did not fit, in lower case as the vocabulary spells it; '' if all of it did. */
  truncated: string;
}

/** CLIP's byte-level BPE over one published tokenizer folder. */
export interface Tokenizer {
  /** Number of entries of the published vocabulary; added tokens follow it. */
  readonly vocabularySize: number;
  readonly bosTokenId: number;
  readonly eosTokenId: number;
  readonly padTokenId: number;
  /** Length of `inputIds`, 77 in every published model. */
  readonly maxLength: number;
  /** Returns the ids of the text alone: no BOS, EOS or padding, and not truncated. */
  tokenize(text: string): number[];
  encode(text: string): EncodedPrompt;
  /** Returns the vocabulary's spelling of an id, in which `</w>` ends a word. */
  tokenOf(id: number): string | undefined;
  idOf(token: string): number | undefined;
}

const mergeSchema = z.union([
  z.tuple([z.string().min(1), z.string().min(1)]),
  z
    .string()
    .transform((line) => line.split(' '))
    .pipe(z.tuple([z.string().min(1), z.string().min(1)])),
]);
const vocabularySchema = z.record(z.string(), z.int().nonnegative());
const tokenizerFileSchema = z.object({ model: z.object({ vocab: vocabularySchema, merges: z.array(mergeSchema) }) });

const specialTokenSchema = z.union([
  // A token that is written as a bare string is matched before the text is normalised.
  z.string().transform((content) => ({ content, normalized: false })),
  z.object({ content: z.string(), normalized: z.boolean().default(false) }),
]);
const specialTokensSchema = z.object({
  bos_token: specialTokenSchema.optional(),
  eos_token: specialTokenSchema.optional(),
  pad_token: specialTokenSchema.nullable().optional(),
  unk_token: specialTokenSchema.optional(),
});
const tokenizerConfigSchema = specialTokensSchema.extend({ model_max_length: z.number().min(3).optional() });

type SpecialToken = z.infer<typeof specialTokenSchema>;
type SpecialTokens = Record<'bos' | 'eos' | 'pad' | 'unk', SpecialToken>;
interface Vocabulary {
  file: string;
  vocab: Record<string, number>;
  merges: [string, string][];
}

/**
 * Loads the tokenizer of a published folder: vocab.json and merges.txt (or tokenizer.json), tokenizer_config.json and,
 * where there is one, special_tokens_map.json, which then decides about the special tokens.
 * `addedTokens` are textual-inversion tokens; they get the ids `vocabularySize`, `vocabularySize + 1`, … in order.
 * @throws UserError if a file is missing or malformed, or an added token is in the vocabulary already
 */
export async function loadTokenizer(
  folder: string,
  { addedTokens = [] }: { addedTokens?: readonly string[] } = {},
): Promise<Tokenizer> {
  const vocabulary = await readVocabulary(folder);
  const configFile = join(folder, 'tokenizer_config.json');
  const config = parseJson(configFile, await readRequired(configFile), tokenizerConfigSchema);
  const mapFile = join(folder, 'special_tokens_map.json');
  const mapText = await readOptional(mapFile);
  const map = mapText === undefined ? {} : parseJson(mapFile, mapText, specialTokensSchema);
  const special = specialTokens({ ...config, ...map });
  const ids = {
    bosTokenId: requireId(vocabulary, special.bos),
    eosTokenId: requireId(vocabulary, special.eos),
    padTokenId: requireId(vocabulary, special.pad),
  };
  requireNewTokens(vocabulary, addedTokens);
  const bpe = new BpeTokenizer(tokenizerJson(vocabulary, special, addedTokens), {
    clean_up_tokenization_spaces: false,
  });
  // Tokenizers without a limit of their own write the number 1e30.
  const maxLength = Math.min(Math.trunc(config.model_max_length ?? MAX_POSITIONS), MAX_POSITIONS);
  const tokenize = (text: string) => bpe.encode(text, { add_special_tokens: false }).ids;
  return {
    vocabularySize: Object.keys(vocabulary.vocab).length,
    ...ids,
    maxLength,
    tokenize,
    encode: (text) => {
      const content = tokenize(text);
      const kept = content.slice(0, maxLength - 2);
      const cutOff = content.slice(kept.length);
      const inputIds = [ids.bosTokenId, ...kept, ids.eosTokenId];
      while (inputIds.length < maxLength) inputIds.push(ids.padTokenId);
      return {
        inputIds,
        eosPosition: inputIds.indexOf(ids.eosTokenId),
        truncated: cutOff.length === 0 ? '' : bpe.decode(cutOff).trim(),
      };
    },
    tokenOf: (id) => bpe.id_to_token(id),
    idOf: (token) => bpe.token_to_id(token),
  };
}

async function readVocabulary(folder: string): Promise<Vocabulary> {
  const file = join(folder, 'vocab.json');
  const text = await readOptional(file);
  const vocabulary = text === undefined ? await readTokenizerFile(folder) : await readVocabularyFiles(folder, text);
  const size = Object.keys(vocabulary.vocab).length;
  const ids = new Set(Object.values(vocabulary.vocab));
  if (size === 0 || ids.size !== size || Math.max(...ids) !== size - 1) {
    throw new UserError(
      `Cannot load the tokenizer: the ids of ${vocabulary.file} must be 0 to ${size - 1} without gaps, got ${ids.size} ids up to ${Math.max(0, ...ids)}`,
    );
  }
  return vocabulary;
}

async function readVocabularyFiles(folder: string, text: string): Promise<Vocabulary> {
  const file = join(folder, 'vocab.json');
  const mergesFile = join(folder, 'merges.txt');
  const lines = (await readRequired(mergesFile)).split(/\r?\n/);
  if (lines[0]?.startsWith('#version')) lines.shift();
  if (lines.at(-1) === '') lines.pop();
  return {
    file,
    vocab: parseJson(file, text, vocabularySchema),
    merges: lines.map((line) => parseMerge(mergesFile, line)),
  };
}

function parseMerge(file: string, line: string): [string, string] {
  const merge = mergeSchema.safeParse(line);
  if (merge.success) return merge.data;
  throw new UserError(`Cannot read ${file}: a merge must be two symbols with a space between, got "${line}"`);
}

async function readTokenizerFile(folder: string): Promise<Vocabulary> {
  const file = join(folder, 'tokenizer.json');
  const text = await readOptional(file);
  if (text === undefined) {
    throw new UserError(
      `Cannot load the tokenizer: the folder must hold vocab.json and merges.txt, got neither them nor tokenizer.json in ${folder}`,
    );
  }
  return { file, ...parseJson(file, text, tokenizerFileSchema).model };
}

function specialTokens(stored: z.infer<typeof specialTokensSchema>): SpecialTokens {
  const bos = stored.bos_token ?? { content: '<|startoftext|>', normalized: false };
  const eos = stored.eos_token ?? { content: '<|endoftext|>', normalized: false };
  return { bos, eos, pad: stored.pad_token ?? eos, unk: stored.unk_token ?? eos };
}

function requireId({ file, vocab }: Vocabulary, { content }: SpecialToken): number {
  const id = vocab[content];
  if (id === undefined) throw new UserError(`Cannot load the tokenizer: ${file} must hold the token "${content}"`);
  return id;
}

function requireNewTokens({ vocab }: Vocabulary, addedTokens: readonly string[]): void {
  const seen = new Set<string>();
  for (const token of addedTokens) {
    // The text is lower-cased before added tokens are looked for.
    const key = token.normalize('NFC').toLowerCase();
    if (token.trim() === '' || Object.hasOwn(vocab, token) || seen.has(key)) {
      throw new UserError(`Cannot add a token: it must be new to the vocabulary and not blank, got "${token}"`);
    }
    seen.add(key);
  }
}

const WORD = "'s|'t|'re|'ve|'m|'ll|'d|[\\p{L}]+|[\\p{N}]|[^\\s\\p{L}\\p{N}]+";

function wordSplit(pattern: string) {
  return { type: 'Split', pattern: { Regex: pattern }, behavior: 'Removed', invert: true };
}

/** Describes the tokenizer in the fields of a tokenizer.json; the algorithm is that of OpenAI's CLIP. */
function tokenizerJson({ vocab, merges }: Vocabulary, special: SpecialTokens, addedTokens: readonly string[]) {
  return {
    added_tokens: [
      ...addedSpecialTokens(vocab, special),
      ...addedTokens.map((content, index) => ({
        id: Object.keys(vocab).length + index,
        content,
        special: false,
        normalized: true,
      })),
    ],
    normalizer: {
      type: 'Sequence',
      normalizers: [
        { type: 'NFC' },
        { type: 'Replace', pattern: { Regex: '\\s+' }, content: ' ' },
        // JavaScript lower-cases a capital sigma at the end of a word to a final one; transformers goes character by
        // character.
        { type: 'Replace', pattern: { String: 'Σ' }, content: 'σ' },
        { type: 'Lowercase' },
      ],
    },
    pre_tokenizer: {
      type: 'Sequence',
      pretokenizers: [
        // Special tokens in capitals are not cut out of the text where they are not `normalized`, yet end a word.
        wordSplit(`<\\|startoftext\\|>|<\\|endoftext\\|>|${WORD}`),
        wordSplit(WORD),
        { type: 'ByteLevel', add_prefix_space: false, use_regex: false },
      ],
    },
    post_processor: null,
    decoder: { type: 'ByteLevel' },
    model: {
      type: 'BPE',
      vocab,
      merges,
      unk_token: special.unk.content,
      end_of_word_suffix: '</w>',
      fuse_unk: false,
      ignore_merges: false,
    },
  };
}

/** Special tokens are cut out of the text first, in capitals too if every role of the token says `normalized`. */
function addedSpecialTokens(vocab: Record<string, number>, { bos, eos, pad, unk }: SpecialTokens) {
  const roles = [bos, eos, pad, unk];
  return [...new Set(roles.map(({ content }) => content))].map((content) => ({
    id: vocab[content],
    content,
    special: true,
    normalized: roles.every((role) => role.content !== content || role.normalized),
  }));
}

function parseJson<T>(file: string, text: string, schema: z.ZodType<T>): T {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (cause) {
    throw new UserError(`Cannot read ${file}: it must be JSON`, { cause });
  }
  const parsed = schema.safeParse(json);
  if (parsed.success) return parsed.data;
  throw new UserError(`Cannot read ${file}: ${z.prettifyError(parsed.error)}`);
}

async function readRequired(file: string): Promise<string> {
  const text = await readOptional(file);
  if (text === undefined) throw new UserError(`Cannot load the tokenizer: ${file} is missing`);
  return text;
}

async function readOptional(file: string): Promise<string | undefined> {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
    throw error;
  }
}
