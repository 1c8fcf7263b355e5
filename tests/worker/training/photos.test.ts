import { mkdir, rm, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import sharp from 'sharp';
import { expect, test } from 'vitest';
import { UserError } from '../../../shared/errors.ts';
import { loadPhotos } from '../../../worker/training/photos.ts';
import { temporaryFolder } from '../../support/tiny-models.ts';

/** Coarse and fine structure that differs from seed to seed, so that pictures are sharp and unlike each other. */
function scene(seed: number, { width, height }: { width: number; height: number }) {
  const bytes = new Uint8Array(3 * width * height);
  for (let i = 0; i < bytes.length; i++) {
    const pixel = Math.floor(i / 3);
    const [x, y] = [pixel % width, Math.floor(pixel / width)];
    const coarse = 90 * Math.sin((x * (seed + 1)) / width + (i % 3)) * Math.cos((2 * seed * y) / height);
    bytes[i] = 128 + coarse + ((((x >> 1) + (y >> 1)) * 7919 * (seed + 3)) % 30);
  }
  return sharp(bytes, { raw: { width, height, channels: 3 } });
}

const LANDSCAPE = { width: 120, height: 80 };

async function refusal(folder: string, options: { resolution: number; masksFolder?: string }): Promise<string> {
  const error: unknown = await loadPhotos(folder, options).catch((reason) => reason);
  expect(error).toBeInstanceOf(UserError);
  return String(error);
}

test('photos come in name order, their shorter side at the resolution, when formats and shapes differ', async () => {
  const folder = await temporaryFolder();
  await scene(1, LANDSCAPE).webp().toFile(join(folder, 'c.webp'));
  await scene(2, { width: 61, height: 100 }).png().toFile(join(folder, 'a.png'));
  await scene(3, { width: 64, height: 64 }).jpeg().toFile(join(folder, 'b.jpg'));
  await writeFile(join(folder, '.DS_Store'), 'hidden');
  const { photos, warnings } = await loadPhotos(folder, { resolution: 64 });
  expect(photos.map(({ file }) => basename(file))).toEqual(['a.png', 'b.jpg', 'c.webp']);
  // int(64 * 100 / 61) = 104, int(64 * 120 / 80) = 96
  expect(photos.map(({ bitmap }) => [bitmap.width, bitmap.height])).toEqual([
    [64, 104],
    [64, 64],
    [96, 64],
  ]);
  expect(photos[2]?.originalSize).toEqual(LANDSCAPE);
  expect(warnings).toEqual([]);
});

test('photo stands upright when its EXIF orientation turns it', async () => {
  const folder = await temporaryFolder();
  const [red, blue] = ['#ff0000', '#0000ff'].map((background) => ({
    width: 48,
    height: 64,
    channels: 3 as const,
    background,
  }));
  const half = await sharp({ create: blue! }).png().toBuffer();
  await sharp({ create: { ...red!, width: 96 } })
    .composite([{ input: half, left: 48, top: 0 }])
    .withMetadata({ orientation: 6 })
    .jpeg()
    .toFile(join(folder, 'turned.jpg'));
  const { photos } = await loadPhotos(folder, { resolution: 64 });
  const { width, height, bytes } = photos[0]!.bitmap;
  expect([width, height]).toEqual([64, 96]);
  // A quarter turn clockwise takes the left half to the top.
  expect(bytes[3 * 32]).toBeGreaterThan(240);
  expect(bytes[3 * 32 + 2]).toBeLessThan(15);
  expect(bytes.at(-1)).toBeGreaterThan(240);
});

test('loading says which folder is wrong when it is missing, empty or a file', async () => {
  const folder = await temporaryFolder();
  expect(await refusal(join(folder, 'nowhere'), { resolution: 64 })).toMatch(/nowhere does not exist/);
  expect(await refusal(folder, { resolution: 64 })).toMatch(/at least one picture, got none/);
  await writeFile(join(folder, 'file'), '');
  expect(await refusal(join(folder, 'file'), { resolution: 64 })).toMatch(/file must be a folder/);
  await rm(join(folder, 'file'));
  await mkdir(join(folder, 'more'));
  expect(await refusal(folder, { resolution: 64 })).toMatch(/pictures only, got the folder more/);
});

test('loading names the file when it is no picture, cut off or too small', async () => {
  const folder = await temporaryFolder();
  await scene(1, LANDSCAPE).png().toFile(join(folder, 'a.png'));
  const fails = async (name: string, content: Uint8Array | string, message: RegExp) => {
    await writeFile(join(folder, name), content);
    const error = await refusal(folder, { resolution: 64 });
    expect(error).toContain(join(folder, name));
    expect(error).toMatch(message);
    await rm(join(folder, name));
  };
  await fails('captions.txt', 'a dog', /unsupported/);
  const jpeg = await scene(2, LANDSCAPE).jpeg().toBuffer();
  await fails('cut.jpg', jpeg.subarray(0, jpeg.length / 2), /Cannot load/);
  const small = await scene(3, { width: 60, height: 31 }).png().toBuffer();
  await fails('small.png', small, /at least 32 pixels.*got 60 x 31/);
});

test('photo of half the resolution is enlarged', async () => {
  const folder = await temporaryFolder();
  await scene(1, { width: 32, height: 40 }).png().toFile(join(folder, 'a.png'));
  const { photos } = await loadPhotos(folder, { resolution: 64 });
  expect([photos[0]?.bitmap.width, photos[0]?.bitmap.height]).toEqual([64, 80]);
});

test('mask takes the size of its photo when it is smaller and has another extension', async () => {
  const [folder, masksFolder] = [await temporaryFolder(), await temporaryFolder()];
  await scene(1, LANDSCAPE).jpeg().toFile(join(folder, 'a.jpg'));
  // The left third is the subject.
  const grey = Uint8Array.from({ length: 60 * 40 }, (_, pixel) => (pixel % 60 < 20 ? 255 : 0));
  const mask = sharp(grey, { raw: { width: 60, height: 40, channels: 1 } });
  await mask.png().toFile(join(masksFolder, 'a.png'));
  await mask.png().toFile(join(masksFolder, 'z.png'));
  const { photos, warnings } = await loadPhotos(folder, { resolution: 80, masksFolder });
  const row = Uint8Array.from({ length: 120 }, (_, x) => (x < 40 ? 255 : 0));
  expect(photos[0]?.mask).toMatchObject({ width: 120, height: 80, channels: 1 });
  expect(photos[0]?.mask?.bytes.subarray(0, 120)).toEqual(row);
  expect(warnings).toEqual(['These masks belong to no photo: z.png']);
});

test('masks are refused by name when one is missing, ambiguous, black or of another shape', async () => {
  const [folder, masksFolder] = [await temporaryFolder(), await temporaryFolder()];
  await scene(1, LANDSCAPE).jpeg().toFile(join(folder, 'a.jpg'));
  const white = (size: { width: number; height: number }, background = '#fff') =>
    sharp({ create: { ...size, channels: 3, background } }).png();
  const options = { resolution: 64, masksFolder };
  await white(LANDSCAPE).toFile(join(masksFolder, 'b.png'));
  expect(await refusal(folder, options)).toMatch(/got none for a\.jpg/);
  await white(LANDSCAPE).toFile(join(masksFolder, 'b.webp'));
  expect(await refusal(folder, options)).toMatch(/one mask, got b\.png and b\.webp/);
  await rm(join(masksFolder, 'b.webp'));
  await white({ width: 80, height: 120 }).toFile(join(masksFolder, 'a.png'));
  expect(await refusal(folder, options)).toMatch(/a\.png: it must have its photo's shape.*got 80 x 120/);
  await white(LANDSCAPE, '#000').toFile(join(masksFolder, 'a.png'));
  expect(await refusal(folder, options)).toMatch(/a\.png: the subject must be white in it/);
});

test('photos warn of their number when a folder holds more than 100', async () => {
  const folder = await temporaryFolder();
  const tiny = await scene(1, { width: 8, height: 8 }).png().toBuffer();
  for (let i = 0; i <= 100; i++) await writeFile(join(folder, `${i}.png`), tiny);
  const { warnings } = await loadPhotos(folder, { resolution: 8 });
  expect(warnings[0]).toMatch(/got 101$/);
});
