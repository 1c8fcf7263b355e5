import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import sharp from 'sharp';
import { expect, onTestFinished, test } from 'vitest';
import { UserError } from '../../../shared/errors.ts';
import { encodePng, loadMask, loadPicture } from '../../../worker/diffusion/picture.ts';

const size = { width: 3, height: 2 };
const rgb = Uint8Array.from([255, 0, 0, 0, 255, 0, 0, 0, 255, 0, 0, 0, 127, 127, 127, 128, 128, 128]);
const raw = (bytes: Uint8Array, channels: 1 | 2 | 3 | 4, { width, height } = size) =>
  sharp(bytes, { raw: { width, height, channels } });
const png = await raw(rgb, 3).png().toBuffer();

async function temporaryFile(name: string, content: string | Uint8Array): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'picture-'));
  onTestFinished(() => rm(folder, { recursive: true }));
  const file = join(folder, name);
  await writeFile(file, content);
  return file;
}

test('picture is loaded as planes in the range asked for', async () => {
  const unit = await loadPicture(png, size, { channels: 3, range: 'unit' });
  const planes = [255, 0, 0, 0, 127, 128, 0, 255, 0, 0, 127, 128, 0, 0, 255, 0, 127, 128];
  expect(unit).toEqual(Float32Array.from(planes, (byte) => byte / 255));
  const signed = await loadPicture(png, size, { channels: 3, range: 'signed' });
  expect(signed.slice(0, 2)).toEqual(Float32Array.of(1, -1));
  signed.forEach((value, index) => {
    expect(value).toBeCloseTo(2 * unit[index]! - 1, 6);
  });
});

test('grey weighs the colours by ITU-R BT.601 and keeps grey bytes exactly', async () => {
  const grey = await loadPicture(png, size, { channels: 1, range: 'unit' });
  // Pillow's convert('L') of the same pixels.
  expect(grey).toEqual(Float32Array.from([76, 150, 29, 0, 127, 128], (byte) => byte / 255));
});

test('mask is 0 below one half and 1 from there on', async () => {
  expect(await loadMask(png, size)).toEqual(Float32Array.of(0, 1, 0, 0, 0, 1));
});

test('alpha is dropped and the colour under it stays', async () => {
  const rgba = Uint8Array.from([10, 20, 30, 0, 40, 50, 60, 128]);
  const source = await raw(rgba, 4, { width: 2, height: 1 }).png().toBuffer();
  const picture = await loadPicture(source, { width: 2, height: 1 }, { channels: 3, range: 'unit' });
  expect(picture).toEqual(Float32Array.from([10, 40, 20, 50, 30, 60], (byte) => byte / 255));
});

test('EXIF orientation is applied when a photo was taken sideways', async () => {
  const source = await raw(rgb, 3).withMetadata({ orientation: 6 }).png().toBuffer();
  const turned = await loadPicture(source, { width: 2, height: 3 }, { channels: 3, range: 'unit' });
  // A quarter turn clockwise: the first column, read upwards, becomes the first row.
  expect(turned.slice(0, 6)).toEqual(Float32Array.from([0, 255, 127, 0, 128, 0], (byte) => byte / 255));
});

test('16 bits keep their high byte', async () => {
  const source = await raw(rgb, 3).toColourspace('rgb16').png().toBuffer();
  expect((await sharp(source).metadata()).depth).toBe('ushort');
  const options = { channels: 3, range: 'unit' } as const;
  expect(await loadPicture(source, size, options)).toEqual(await loadPicture(png, size, options));
});

test('picture is stretched to the size without cropping', async () => {
  const picture = await loadPicture(png, { width: 16, height: 8 }, { channels: 3, range: 'unit' });
  expect(picture).toHaveLength(3 * 8 * 16);
  expect(picture[0]).toBeGreaterThan(0.9);
});

test('encoding clamps and rounds, and loading gives the picture back', async () => {
  const image = Float32Array.from({ length: 18 }, (_, index) => (index - 9) / 8);
  const encoded = await encodePng(image, { width: 3, height: 2 });
  const back = await loadPicture(encoded, size, { channels: 3, range: 'unit' });
  const expected = image.map((value) => Math.round(255 * Math.min(Math.max(value / 2 + 0.5, 0), 1)) / 255);
  expect(back).toEqual(expected);
});

test('encoding refuses values that are not numbers and a wrong length', async () => {
  await expect(encodePng(new Float32Array(18).fill(Number.NaN), { width: 3, height: 2 })).rejects.toThrow(
    /finite, got NaN/,
  );
  await expect(encodePng(new Float32Array(17), { width: 3, height: 2 })).rejects.toThrow(/3 x 2 x 3 values, got 17/);
});

test('loading names the file when it is missing, not a picture, damaged or too large', async () => {
  const fails = async (file: string, message: RegExp) => {
    const error: unknown = await loadPicture(file, size, { channels: 3, range: 'unit' }).catch((reason) => reason);
    expect(error).toBeInstanceOf(UserError);
    expect(String(error)).toContain(file);
    expect(String(error)).toMatch(message);
  };
  await fails(join(tmpdir(), 'no-such-picture.png'), /missing/);
  await fails(await temporaryFile('text.png', 'hello'), /unsupported/);
  await fails(await temporaryFile('empty.png', ''), /Cannot load/);
  const svg = '<svg xmlns="http://www.w3.org/2000/svg" width="4" height="4"/>';
  await fails(await temporaryFile('drawing.png', svg), /format svg is not read/);
  const noise = Uint8Array.from({ length: 64 * 64 * 3 }, (_, index) => (index * index * 7919) % 251);
  const large = await raw(noise, 3, { width: 64, height: 64 }).png().toBuffer();
  await fails(await temporaryFile('cut.png', large.subarray(0, large.length >> 1)), /Cannot load/);
  const bomb = await sharp({ create: { width: 8193, height: 8192, channels: 3, background: '#000' } })
    .png()
    .toBuffer();
  await fails(await temporaryFile('bomb.png', bomb), /pixel limit/);
});

test('an attachment of no bytes is refused as a picture, not as a fault', async () => {
  const size = { width: 8, height: 8 };
  const loading = loadPicture(new Uint8Array(0), size, { channels: 3, range: 'unit' });
  await expect(loading).rejects.toThrow(/^Cannot load the picture: it must be a JPEG/);
});
