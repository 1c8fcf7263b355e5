import sharp from 'sharp';
import { expect, test } from 'vitest';
import { decodePicture, loadPicture } from '../../../worker/diffusion/picture.ts';
import { RandomGenerator } from '../../../worker/runtime/random.ts';
import { cropMask, cropOrigin, cropPhoto, drawCrop } from '../../../worker/training/photo-crop.ts';
import type { Photo } from '../../../worker/training/photos.ts';

/** Red is the column and green the row. */
function photoOf(width: number, height: number, maskOf?: (x: number, y: number) => number): Photo {
  const bytes = new Uint8Array(3 * width * height);
  const mask = new Uint8Array(width * height);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      bytes.set([x, y, 200], 3 * (y * width + x));
      mask[y * width + x] = maskOf?.(x, y) ?? 0;
    }
  }
  return {
    file: '/photos/a.png',
    originalSize: { width, height },
    bitmap: { width, height, channels: 3, bytes },
    mask: maskOf && { width, height, channels: 1, bytes: mask },
  };
}

test('crop is the picture that libvips cuts out at the same place', async () => {
  const photo = photoOf(24, 16);
  const { width, height, bytes } = photo.bitmap;
  const png = await sharp(bytes, { raw: { width, height, channels: 3 } })
    .extract({ left: 5, top: 0, width: 16, height: 16 })
    .png()
    .toBuffer();
  const expected = await loadPicture(png, { width: 16, height: 16 }, { channels: 3, range: 'signed' });
  expect(cropPhoto(photo, { x: 5, y: 0 })).toEqual(expected);
  expect((await decodePicture(png)).bytes[0]).toBe(5);
});

test.each([
  // Python's round((side - resolution) / 2), which rounds halves to even.
  [16, 0],
  [17, 0],
  [18, 1],
  [19, 2],
  [20, 2],
  [21, 2],
  [23, 4],
  [25, 4],
  [27, 6],
])('center of %i pixels begins at %i as in torchvision', (long, expected) => {
  expect(cropOrigin(photoOf(long, 16), 'center')).toEqual({ x: expected, y: 0 });
  expect(cropOrigin(photoOf(16, long), 'center')).toEqual({ x: 0, y: expected });
});

test('drawn crops are those of RandomCrop in PyTorch', () => {
  const generator = new RandomGenerator(7);
  const photo = photoOf(271, 16);
  // torch 2.13, manual_seed(7): randint(0, 1) and randint(0, 256) in turn.
  expect(Array.from({ length: 3 }, () => drawCrop(photo, generator).x)).toEqual([196, 246, 211]);
});

test('square photo draws no number', () => {
  const generator = new RandomGenerator(7);
  expect(drawCrop(photoOf(16, 16), generator)).toEqual({ x: 0, y: 0 });
  expect(generator.uniform(1)).toEqual(new RandomGenerator(7).uniform(1));
});

test('crop is refused when it leaves the photo', () => {
  const photo = photoOf(24, 16);
  for (const origin of [
    { x: 9, y: 0 },
    { x: -1, y: 0 },
    { x: 0, y: 1 },
    { x: 0.5, y: 0 },
  ]) {
    expect(() => cropPhoto(photo, origin)).toThrow(/x must be 0 to 8 and y 0 to 0, got/);
  }
});

test('mask is cut like the photo and averaged over each latent', () => {
  // Columns 0 to 11 are the subject; a crop from 6 leaves columns 0 to 5 of 16.
  const photo = photoOf(24, 16, (x) => (x < 12 ? 255 : 0));
  expect(cropMask(photo, { x: 6, y: 0 }, 8)).toEqual(Float32Array.of(0.75, 0, 0.75, 0));
  expect(cropMask(photo, { x: 0, y: 0 }, 4)).toEqual(Float32Array.of(...Array(4).fill([1, 1, 1, 0]).flat()));
  const grey = photoOf(16, 24, (_, y) => (y < 8 ? 51 : 102));
  expect(cropMask(grey, { x: 0, y: 4 }, 8)).toEqual(Float32Array.of(0.3, 0.3, 0.4, 0.4));
});

test('mask is absent without masks and refused when the latents do not divide the resolution', () => {
  expect(cropMask(photoOf(24, 16), 'center', 8)).toBeUndefined();
  const photo = photoOf(20, 12, () => 255);
  expect(() => cropMask(photo, 'center', 8)).toThrow(/multiple of 8, got 12/);
});
