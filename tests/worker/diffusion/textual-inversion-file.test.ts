import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { UserError } from '../../../shared/errors.ts';
import {
  expandPrompt,
  loadTextualInversionFile,
  type TextualInversion,
  tokensOf,
} from '../../../worker/diffusion/textual-inversion-file.ts';
import { loadTokenizer } from '../../../worker/diffusion/tokenizer.ts';
import { saveSafetensors } from '../../../worker/runtime/safetensors.ts';
import { goldenTensor } from '../../support/golden.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'textual-inversion-'));
});
afterEach(() => rm(folder, { recursive: true }));

async function save(name: string, shapes: Record<string, number[]>, dtype: 'F32' | 'I64' = 'F32'): Promise<string> {
  const file = join(folder, name);
  const tensors = Object.entries(shapes).map(([key, shape]) => {
    const values = goldenTensor(`in:${key}`, shape);
    const stored = dtype === 'F32' ? values : new BigInt64Array(values.length);
    return [key, { dtype, shape, values: stored }] as const;
  });
  await saveSafetensors(file, tensors);
  return file;
}

const rows = (key: string, count: number, dim: number) => {
  const values = goldenTensor(`in:${key}`, [count, dim]);
  return Array.from({ length: count }, (_, row) => values.slice(row * dim, (row + 1) * dim));
};

test('diffusers file has its token as the key, with one vector or several', async () => {
  const single = await loadTextualInversionFile(await save('learned_embeds.safetensors', { '<cat-toy>': [12] }));
  expect(single).toEqual({ token: '<cat-toy>', vectors: { text_encoder: rows('<cat-toy>', 1, 12) } });
  const several = await loadTextualInversionFile(await save('several.safetensors', { '<cat-toy>': [3, 12] }));
  expect(several.vectors.text_encoder).toEqual(rows('<cat-toy>', 3, 12));
});

test('kohya and SDXL files are named after the file', async () => {
  const kohya = await loadTextualInversionFile(await save('my style.safetensors', { emb_params: [2, 12] }));
  expect(kohya).toEqual({ token: 'my style', vectors: { text_encoder: rows('emb_params', 2, 12) } });
  const xl = await loadTextualInversionFile(await save('web.safetensors', { clip_l: [2, 12], clip_g: [2, 16] }));
  const vectors = { text_encoder: rows('clip_l', 2, 12), text_encoder_2: rows('clip_g', 2, 16) };
  expect(xl).toEqual({ token: 'web', vectors });
});

test('the name that the caller gives comes before the stored one', async () => {
  const file = await save('learned_embeds.safetensors', { '<cat-toy>': [12] });
  expect((await loadTextualInversionFile(file, { name: '<dog>' })).token).toBe('<dog>');
});

test('files that are no textual inversion are refused', async () => {
  const refused = async (file: string, message: RegExp) => {
    const error: unknown = await loadTextualInversionFile(file).catch((reason) => reason);
    expect(error).toBeInstanceOf(UserError);
    expect(String(error)).toMatch(message);
  };
  await refused('/models/embedding.pt', /pickles .* can run code/);
  await refused('/models/learned_embeds.bin', /must be a \.safetensors file/);
  await refused(join(folder, 'none.safetensors'), /none\.safetensors: the file is missing/);
  await writeFile(join(folder, 'text.safetensors'), 'hello');
  await refused(join(folder, 'text.safetensors'), /at least 8 bytes/);
  await refused(
    await save('lora.safetensors', { 'a.lora_down.weight': [4, 2], 'a.lora_up.weight': [2, 4] }),
    /one token/,
  );
  await refused(await save('both.safetensors', { emb_params: [1, 4], clip_l: [1, 4] }), /got emb_params,clip_l/);
  await refused(await save('uneven.safetensors', { clip_l: [1, 4], clip_g: [2, 4] }), /equally many.*got 1 and 2/);
  await refused(await save('empty.safetensors', {}), /got none/);
  await refused(await save('deep.safetensors', { '<x>': [1, 2, 3] }), /got \[1,2,3\]/);
  await refused(await save('none.safetensors', { '<x>': [0, 3] }), /got \[0,3\]/);
  await refused(await save('integers.safetensors', { '<x>': [3] }, 'I64'), /floating point, got I64/);
});

function embedding(token: string, count: number): TextualInversion {
  return { token, vectors: { text_encoder: Array.from({ length: count }, () => new Float32Array(2)) } };
}

test('prompt is expanded as diffusers does it', () => {
  const embeddings = [embedding('<cat>', 3), embedding('sks', 1), embedding('zork', 2), embedding('a.b', 2)];
  // Computed by diffusers 0.42.1 maybe_convert_prompt with these tokens.
  const expected = {
    'a <cat> and a dog': 'a <cat> <cat>_1 <cat>_2 and a dog',
    'x<cat>y, <cat>!': 'x<cat> <cat>_1 <cat>_2y, <cat> <cat>_1 <cat>_2!',
    'sks zork zorks': 'sks zork zork_1 zork zork_1s',
    'nothing here, axb': 'nothing here, axb',
    'only <cat>_1': 'only <cat>_1',
    'a.b c': 'a.b a.b_1 c',
    '': '',
  };
  for (const [prompt, expanded] of Object.entries(expected)) expect(expandPrompt(prompt, embeddings)).toBe(expanded);
  expect(expandPrompt('a <cat>', [])).toBe('a <cat>');
});

test('prompt is expanded in capitals and beside its own continuation', () => {
  const embeddings = [embedding('<cat>', 2)];
  expect(expandPrompt('<CAT>', embeddings)).toBe('<cat> <cat>_1');
  expect(expandPrompt('<cat>_1 <cat>', embeddings)).toBe('<cat>_1 <cat> <cat>_1');
});

test('expanded prompt becomes the ids of all vectors in order', async () => {
  const embeddings = [embedding('<cat>', 3), embedding('zork', 1)];
  const addedTokens = embeddings.flatMap(tokensOf);
  expect(addedTokens).toEqual(['<cat>', '<cat>_1', '<cat>_2', 'zork']);
  const tokenizer = await loadTokenizer(join(import.meta.dirname, '../../golden/small-vocabulary'), { addedTokens });
  expect(tokenizer.tokenize(expandPrompt('<Cat> zork', embeddings))).toEqual([656, 657, 658, 659]);
});
