import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdir, readFile, truncate, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import sharp from 'sharp';
import { expect, test } from 'vitest';
import {
  type ClassImageOptions,
  type ClassImageProgress,
  ensureClassImages,
} from '../../../worker/training/class-images.ts';
import { temporaryFolder } from '../../support/tiny-models.ts';

const SIDE = 32;

function picture(seed: number, side = SIDE): Promise<Buffer> {
  const noise = Uint8Array.from({ length: 3 * side * side }, (_, i) => (i * i + (seed % 97) * 31) % 251);
  return sharp(noise, { raw: { width: side, height: side, channels: 3 } })
    .png()
    .toBuffer();
}

/** Options whose `make` records the seeds that it was asked for. */
async function recording(changes: Partial<ClassImageOptions> = {}) {
  const seeds: number[] = [];
  const options: ClassImageOptions = {
    cacheFolder: await temporaryFolder(),
    modelKey: '0123456789abcdef',
    classPrompt: 'a photo of dog',
    count: 4,
    resolution: SIDE,
    make: (seed) => {
      seeds.push(seed);
      return picture(seed);
    },
    ...changes,
  };
  return { options, seeds };
}

/** Asks until all are there. */
async function ensureAll(
  options: ClassImageOptions,
  onProgress: (progress: ClassImageProgress) => void = () => undefined,
): Promise<readonly string[]> {
  const loop = ensureClassImages(options);
  for (let next = await loop.next(); ; next = await loop.next()) {
    if (next.done) return next.value;
    onProgress(next.value);
  }
}

test('class pictures are made once per seed and reused by later lessons', async () => {
  const { options, seeds } = await recording();
  const files = await ensureAll(options);
  expect(seeds).toHaveLength(4);
  expect(new Set(seeds).size).toBe(4);
  for (const [index, file] of files.entries()) {
    expect(file).toContain(String(seeds[index]));
    expect(await readFile(file)).toEqual(await picture(seeds[index]!));
  }
  expect(await ensureAll(options)).toEqual(files);
  expect(seeds).toHaveLength(4);
});

test('cache is topped up by what is missing when more pictures are asked for', async () => {
  const { options, seeds } = await recording();
  const files = await ensureAll(options);
  const progress: number[][] = [];
  const more = await ensureAll({ ...options, count: 6 }, ({ made, missing }) => progress.push([made, missing]));
  expect(more.slice(0, 4)).toEqual(files);
  expect(new Set(seeds).size).toBe(6);
  expect(seeds).toHaveLength(6);
  expect(progress).toEqual([
    [1, 2],
    [2, 2],
  ]);
  expect(await ensureAll({ ...options, count: 2 })).toEqual(files.slice(0, 2));
});

test('run that stopped in the middle is continued without making a picture twice', async () => {
  const { options, seeds } = await recording();
  const stop = new Error('stopped');
  const make = (seed: number) => (seeds.length === 2 ? Promise.reject(stop) : options.make(seed));
  await expect(ensureAll({ ...options, make })).rejects.toBe(stop);
  const files = await ensureAll(options);
  expect(seeds).toHaveLength(4);
  expect(new Set(seeds).size).toBe(4);
  const undisturbed = await ensureAll((await recording()).options);
  for (const [i, file] of files.entries()) expect(await readFile(file)).toEqual(await readFile(undisturbed[i]!));
});

/** Fills the cache in another process that is killed while it makes the picture after these; returns the signal. */
async function runUntilKilled(options: Omit<ClassImageOptions, 'make'>, pictures: Buffer[]): Promise<unknown> {
  const program = `
    import { ensureClassImages } from './worker/training/class-images.ts';
    const options = JSON.parse(process.argv[1]);
    const pictures = options.pictures.map((picture) => Buffer.from(picture, 'base64'));
    const make = () => pictures.shift() ?? new Promise(() => setInterval(() => {}, 1000));
    for await (const _ of ensureClassImages({ ...options, make })) console.log('made');`;
  const json = JSON.stringify({ ...options, pictures: pictures.map((picture) => picture.toString('base64')) });
  const flags = ['--import', 'tsx', '--input-type=module', '--eval', program];
  const child = spawn(process.execPath, [...flags, json], { stdio: ['ignore', 'pipe', 'inherit'] });
  let lines = '';
  child.stdout.on('data', (chunk) => {
    lines += chunk;
    if (lines.split('made').length > pictures.length) child.kill('SIGKILL');
  });
  const [, signal] = await once(child, 'close');
  return signal;
}

test('run continues with the pictures that are there after kill -9', async () => {
  const { options, seeds } = await recording();
  const { make: _, ...rest } = options;
  const first = [2 ** 31, 2 ** 31 + 1];
  const signal = await runUntilKilled(rest, await Promise.all(first.map((seed) => picture(seed))));
  expect(signal).toBe('SIGKILL');
  const files = await ensureAll(options);
  expect(files).toHaveLength(4);
  expect(seeds).toEqual([2 ** 31 + 2, 2 ** 31 + 3]);
});

test('pictures that are cut off, empty, damaged or of another size are made again', async () => {
  const { options, seeds } = await recording({ count: 5 });
  const files = await ensureAll(options);
  await truncate(files[0]!, (await readFile(files[0]!)).length - 20);
  await truncate(files[1]!, 0);
  const damaged = await readFile(files[2]!);
  damaged.fill(7, 100, 200);
  await writeFile(files[2]!, damaged);
  await writeFile(files[3]!, await picture(1, SIDE / 2));
  await ensureAll(options);
  expect(seeds.slice(5)).toEqual(seeds.slice(0, 4));
  for (const [i, file] of files.entries()) expect(await readFile(file)).toEqual(await picture(seeds[i]!));
});

test('what a killed run was writing is removed once nobody can be writing it', async () => {
  const { options } = await recording();
  const [file] = await ensureAll(options);
  const folder = join(file!, '..');
  const [abandoned, current] = ['1.png.a.part', '1.png.b.part'].map((name) => join(folder, name)) as [string, string];
  await writeFile(abandoned, 'half');
  await writeFile(current, 'half');
  const yesterday = new Date(Date.now() - 86_400_000);
  await utimes(abandoned, yesterday, yesterday);
  await ensureAll(options);
  expect((await readdir(folder)).filter((name) => name.endsWith('.part'))).toEqual(['1.png.b.part']);
});

test('models, prompts and sizes have pictures of their own', async () => {
  const { options, seeds } = await recording({ count: 1 });
  const others: Partial<ClassImageOptions>[] = [
    {},
    { modelKey: 'fedcba9876543210' },
    { classPrompt: 'a photo of cat' },
    { classPrompt: 'a photo of: cat' },
    { resolution: 16, make: (seed) => picture(seed, 16) },
  ];
  const files = await Promise.all(others.map((change) => ensureAll({ ...options, ...change })));
  expect(new Set(files.flat()).size).toBe(others.length);
  expect(seeds).toHaveLength(4);
});

test('class pictures are the same when two runs fill the cache at once', async () => {
  const { options } = await recording();
  const [first, second] = await Promise.all([ensureAll(options), ensureAll(options)]);
  expect(first).toEqual(second);
  expect(await readdir(join(first[0]!, '..'))).toHaveLength(4);
});

test('picture of another size than asked for is not kept', async () => {
  const { options } = await recording({ make: (seed) => picture(seed, 16) });
  await expect(ensureAll(options)).rejects.toThrow(/must be 32 x 32, got 16 x 16/);
});
