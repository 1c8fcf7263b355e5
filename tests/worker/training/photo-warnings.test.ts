import sharp from 'sharp';
import { expect, test } from 'vitest';
import { decodePicture } from '../../../worker/diffusion/picture.ts';
import { RandomGenerator } from '../../../worker/runtime/random.ts';
import { greyBitmap } from '../../../worker/training/grey-bitmap.ts';
import { laplacianVariance, photoWarnings } from '../../../worker/training/photo-warnings.ts';

const SIDE = 128;

/** Discs of random places, sizes and greys: contours as sharp as the pixels allow. */
async function discs(seed: number): Promise<Buffer> {
  const numbers = new RandomGenerator(seed).uniform(60 * 4);
  const circles = Array.from({ length: 60 }, (_, i) => {
    const [x, y, radius, grey] = [0, 1, 2, 3].map((k) => numbers[4 * i + k]!) as [number, number, number, number];
    const level = Math.round(255 * grey);
    return `<circle cx="${SIDE * x}" cy="${SIDE * y}" r="${4 + 20 * radius}" fill="rgb(${level},${level},${level})"/>`;
  });
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" width="${SIDE}" height="${SIDE}">${circles.join('')}</svg>`;
  return sharp(Buffer.from(svg)).flatten({ background: '#555' }).png().toBuffer();
}

async function photo(file: string, picture: Uint8Array) {
  return { file: `/photos/${file}`, bitmap: await decodePicture(picture) };
}

test('photos of different views in focus give no warning', async () => {
  const photos = await Promise.all([1, 2, 3, 4].map(async (seed) => photo(`${seed}.png`, await discs(seed))));
  expect(photoWarnings(photos)).toEqual([]);
});

test('warning tells a copy from a picture that was saved again', async () => {
  const first = await discs(1);
  const again = await sharp(first).jpeg({ quality: 50 }).toBuffer();
  const photos = [await photo('a.png', first), await photo('b.png', await discs(2))];
  photos.push(await photo('c.jpg', again), await photo('d.png', first));
  expect(photoWarnings(photos)).toEqual([
    expect.stringMatching(/^a\.png and c\.jpg are almost the same picture/),
    expect.stringMatching(/^a\.png and d\.png are the same picture/),
  ]);
});

test('warning names the photo when it is out of focus', async () => {
  const blurred = await sharp(await discs(2))
    .blur(4)
    .toBuffer();
  const photos = [await photo('sharp.png', await discs(1)), await photo('soft.png', blurred)];
  expect(photoWarnings(photos)).toEqual([expect.stringMatching(/^soft\.png looks blurred: .* at least 20, got \d/)]);
});

test('variance of the Laplacian is that of the formula on a single bright pixel', () => {
  const bytes = new Uint8Array(25);
  bytes[12] = 100;
  // -400 once, 100 four times and 0 four times over nine inner pixels: mean 0.
  const expected = (400 ** 2 + 4 * 100 ** 2) / 9;
  expect(laplacianVariance({ width: 5, height: 5, channels: 1, bytes })).toBeCloseTo(expected, 9);
});

test('grey bitmap weighs the colours by ITU-R BT.601', () => {
  const bytes = Uint8Array.of(255, 0, 0, 0, 255, 0, 0, 0, 255, 128, 128, 128);
  // Pillow's convert('L') of the same pixels.
  expect(greyBitmap({ width: 4, height: 1, channels: 3, bytes }).bytes).toEqual(Uint8Array.of(76, 150, 29, 128));
});
