import { appendFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { openLatentCache } from '../../../worker/training/latent-cache.ts';
import { picturePool } from '../../../worker/training/picture-stream.ts';
import { temporaryFolder } from '../../support/tiny-models.ts';

/** Latents of three numbers that tell the picture; remembers what was encoded. */
async function cacheIn(folder: string) {
  const encoded: number[] = [];
  const encode = async (first: number, end: number) => {
    for (let i = first; i < end; i++) encoded.push(i);
    return Float32Array.from({ length: 3 * (end - first) }, (_, i) => 10 * (first + Math.floor(i / 3)) + (i % 3));
  };
  const cache = await openLatentCache({ file: join(folder, 'cache', 'latents.f32'), size: 3, batch: 2, encode });
  return { encoded, cache };
}

test('latents are encoded once, and read as they were, when a killed process has left half a record', async () => {
  const folder = await temporaryFolder();
  const first = await cacheIn(folder);
  await first.cache.hold(4);
  await first.cache.hold(3);
  await first.cache.close();
  expect(first.encoded).toEqual([0, 1, 2, 3]);
  await appendFile(join(folder, 'cache', 'latents.f32'), new Uint8Array(5));
  const second = await cacheIn(folder);
  await second.cache.hold(6);
  expect(second.encoded).toEqual([4, 5]);
  expect(await Promise.all([0, 3, 5].map(second.cache.read))).toEqual(
    [0, 3, 5].map((i) => Float32Array.of(10 * i, 10 * i + 1, 10 * i + 2)),
  );
  await expect(second.cache.read(6)).rejects.toThrow('Cannot read latents: the picture must be one of 6 held, got 6');
  await second.cache.close();
});

test('a pool holds for a step what it would hold if all steps before had been taken, and makes nothing twice', async () => {
  const made: number[] = [];
  const make = async (index: number) => {
    made.push(index);
    return index;
  };
  const pool = picturePool({ make, poolSize: 4, freshPerStep: 2 });
  expect(await pool(0)).toEqual([0, 1, 2, 3]);
  expect(await pool(1)).toEqual([2, 3, 4, 5]);
  expect(made).toEqual([0, 1, 2, 3, 4, 5]);
  const resumed = picturePool({ make, poolSize: 4, freshPerStep: 2 });
  expect(await resumed(7)).toEqual([14, 15, 16, 17]);
});
