import { join } from 'node:path';
import { expect, test } from 'vitest';
import { UserError } from '../../../shared/errors.ts';
import { loadTextualInversionFile, type TextualInversion } from '../../../worker/diffusion/textual-inversion-file.ts';
import { readSafetensorsHeader } from '../../../worker/runtime/safetensors.ts';
import { saveEmbedding } from '../../../worker/training/save-embedding.ts';
import { goldenTensor } from '../../support/golden.ts';
import { temporaryFolder } from '../../support/tiny-models.ts';

const vectors = (name: string, count: number, size: number) =>
  Array.from({ length: count }, (_, i) => goldenTensor(`in:${name}${i}`, [size]));

async function shapesOf(file: string): Promise<Record<string, readonly number[]>> {
  const { tensors } = await readSafetensorsHeader(file);
  return Object.fromEntries([...tensors.values()].map(({ name, shape }) => [name, shape]));
}

test.each([1, 3])('%i learned vectors load as they were saved', async (count) => {
  const file = join(await temporaryFolder(), 'learned_embeds.safetensors');
  const inversion: TextualInversion = { token: '<cat-toy>', vectors: { text_encoder: vectors('a', count, 12) } };
  await saveEmbedding(file, inversion);
  expect(await loadTextualInversionFile(file)).toEqual(inversion);
  expect(await shapesOf(file)).toEqual({ '<cat-toy>': [count, 12] });
});

test('vectors of both encoders load under their token whatever the name of the file', async () => {
  const file = join(await temporaryFolder(), 'learned_embeds.safetensors');
  const both = { text_encoder: vectors('a', 2, 12), text_encoder_2: vectors('b', 2, 16) };
  await saveEmbedding(file, { token: '<cat-toy>', vectors: both });
  expect(await loadTextualInversionFile(file)).toEqual({ token: '<cat-toy>', vectors: both });
  expect(await shapesOf(file)).toEqual({ clip_l: [2, 12], clip_g: [2, 16] });
});

test('a token that readers take for an encoder is refused', async () => {
  const file = join(await temporaryFolder(), 'learned_embeds.safetensors');
  const saving = saveEmbedding(file, { token: 'clip_l', vectors: { text_encoder: vectors('a', 1, 12) } });
  await expect(saving).rejects.toThrow(UserError);
  await expect(saving).rejects.toThrow('the placeholder must not be one of');
});
