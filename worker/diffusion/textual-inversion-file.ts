import { basename } from 'node:path';
import { UserError } from '../../shared/errors.ts';
import type { StoredTensor } from '../runtime/safetensors.ts';
import { loadAddOnTensor, readAddOnHeader } from './add-on-file.ts';

/** A learned word: new rows of the token embedding of one or both text encoders. */
export interface TextualInversion {
  token: string;
  /** Vectors of [hidden_size]; both encoders have the same number of them. */
  vectors: { text_encoder?: Float32Array[]; text_encoder_2?: Float32Array[] };
}

/** Keys that say which encoder a tensor is for and, unlike diffusers' single key, not which token. */
const ENCODER_OF_KEY: Readonly<Record<string, 'text_encoder' | 'text_encoder_2'>> = {
  emb_params: 'text_encoder',
  clip_l: 'text_encoder',
  clip_g: 'text_encoder_2',
};

/**
 * Loads a textual inversion of diffusers (one key, the token), kohya (`emb_params`) or SDXL (`clip_l`, `clip_g`).
 * @param options.name  the token; without it the stored one, and where none is stored the file's name
 * @throws UserError if the file is a pickle, or holds anything else
 */
export async function loadTextualInversionFile(
  file: string,
  { name }: { name?: string } = {},
): Promise<TextualInversion> {
  const { tensors, metadata } = await readAddOnHeader(file);
  const [first] = tensors.keys();
  const isTokenStored = tensors.size === 1 && first !== undefined && !Object.hasOwn(ENCODER_OF_KEY, first);
  const stored = isTokenStored ? first : (metadata['token'] ?? basename(file).replace(/\.safetensors$/i, ''));
  const vectors: TextualInversion['vectors'] = {};
  for (const tensor of tensors.values()) {
    const encoder = isTokenStored ? 'text_encoder' : ENCODER_OF_KEY[tensor.name];
    if (encoder === undefined || vectors[encoder] !== undefined) {
      throw refuse(
        file,
        `it must hold one token, emb_params, or clip_l and clip_g, got ${[...tensors.keys()].slice(0, 5)}`,
      );
    }
    vectors[encoder] = await loadVectors(tensor);
  }
  const counts = new Set(Object.values(vectors).map(({ length }) => length));
  if (counts.size !== 1) {
    throw refuse(file, `clip_l and clip_g must have equally many vectors, got ${[...counts].join(' and ') || 'none'}`);
  }
  return { token: name ?? stored, vectors };
}

async function loadVectors(tensor: StoredTensor): Promise<Float32Array[]> {
  const { file, name, shape } = tensor;
  const [count = 0, dim = 0] = shape.length === 1 ? [1, ...shape] : shape;
  if (shape.length > 2 || count === 0 || dim === 0) {
    throw refuse(file, `${name} must have the shape [vectors, hidden_size] or [hidden_size], got [${shape}]`);
  }
  const values = await loadAddOnTensor(tensor);
  return Array.from({ length: count }, (_, index) => values.slice(index * dim, (index + 1) * dim));
}

/** Lists the tokens of the vectors in order, `tok`, `tok_1`, `tok_2`, …, for `loadTokenizer`. */
export function tokensOf({ token, vectors }: TextualInversion): string[] {
  const count = (vectors.text_encoder ?? vectors.text_encoder_2 ?? []).length;
  return Array.from({ length: count }, (_, index) => (index === 0 ? token : `${token}_${index}`));
}

/**
 * Writes out each token that has several vectors as `tok tok_1 tok_2 …`.
 * Tokens are found as the tokenizer finds them: anywhere, inside words too, in any case, the longest first.
 * @see diffusers `TextualInversionLoaderMixin.maybe_convert_prompt`, which misses tokens in capitals
 */
export function expandPrompt(prompt: string, embeddings: readonly TextualInversion[]): string {
  const expansions = new Map<string, string>();
  for (const embedding of embeddings) {
    const tokens = tokensOf(embedding);
    for (const [index, token] of tokens.entries()) {
      expansions.set(token.toLowerCase(), index === 0 ? tokens.join(' ') : token);
    }
  }
  if (expansions.size === 0) return prompt;
  const longestFirst = [...expansions.keys()].sort((a, b) => b.length - a.length);
  const pattern = longestFirst.map((token) => token.replace(/[\\^$.*+?()[\]{}|/]/g, '\\$&')).join('|');
  return prompt.replace(new RegExp(pattern, 'giu'), (match) => expansions.get(match.toLowerCase()) ?? match);
}

function refuse(file: string, rule: string): UserError {
  return new UserError(`Cannot load the textual inversion ${file}: ${rule}`);
}
