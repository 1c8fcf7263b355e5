import sharp from 'sharp';
import { expect, test } from 'vitest';
import { decodePicture } from '../../../worker/diffusion/picture.ts';
import { RandomGenerator } from '../../../worker/runtime/random.ts';
import { backgroundWarnings } from '../../../worker/training/background-warning.ts';

const SIDE = 128;
/** Larger than a view of it. */
const WALL = 160;

/** A wall of coloured discs, different for each seed. */
async function wall(seed: number): Promise<Buffer> {
  const numbers = new RandomGenerator(seed).uniform(120 * 4 + 3);
  const base = [0, 1, 2].map((c) => 200 * numbers[480 + c]!);
  const circles = Array.from({ length: 120 }, (_, i) => {
    const [x, y, radius, shade] = [0, 1, 2, 3].map((k) => numbers[4 * i + k]!) as [number, number, number, number];
    const colour = base.map((level) => Math.round(level + 55 * shade)).join(',');
    return `<circle cx="${WALL * x}" cy="${WALL * y}" r="${4 + 12 * radius}" fill="rgb(${colour})"/>`;
  });
  const rest = `<rect width="${WALL}" height="${WALL}" fill="rgb(${base.map(Math.round).join(',')})"/>`;
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" width="${WALL}" height="${WALL}">${rest}${circles.join('')}</svg>`;
  return sharp(Buffer.from(svg)).flatten().png().toBuffer();
}

/** The subject, of another size and place each time, before a part of a wall. */
async function photo(background: Buffer, view: number) {
  const part = { left: 8 * view, top: 30 - 8 * view, width: SIDE, height: SIDE };
  const subject = `<svg xmlns="http://www.w3.org/2000/svg" width="${SIDE}" height="${SIDE}"><ellipse cx="${56 + 6 * view}" cy="64" rx="${24 + 2 * view}" ry="30" fill="#d040a0"/></svg>`;
  const cut = await sharp(background)
    .extract(part)
    .linear(1 + 0.02 * view, 0)
    .png()
    .toBuffer();
  const png = await sharp(cut)
    .composite([{ input: Buffer.from(subject) }])
    .png()
    .toBuffer();
  return { bitmap: await decodePicture(png), mask: undefined };
}

test('photos before one wall are told to have one background, and how to cure it', async () => {
  const background = await wall(1);
  const photos = await Promise.all([0, 1, 2, 3].map((view) => photo(background, view)));
  expect(backgroundWarnings(photos)).toEqual([
    expect.stringMatching(
      /^The photos have the same background everywhere .*\d\d % alike.*; take some in other places/,
    ),
  ]);
  expect(backgroundWarnings(photos.slice(0, 2))).toEqual([]);
});

test('photos of one subject in different places give no warning', async () => {
  const photos = await Promise.all([1, 2, 3, 4].map(async (view) => photo(await wall(view), view - 1)));
  expect(backgroundWarnings(photos)).toEqual([]);
});

test('one photo from elsewhere among photos before one wall is enough against the warning when there are three', async () => {
  const background = await wall(1);
  const photos = [await photo(background, 0), await photo(background, 1), await photo(await wall(3), 2)];
  expect(backgroundWarnings(photos)).toEqual([]);
});

test('masked photos may have one background', async () => {
  const background = await wall(1);
  const photos = await Promise.all([0, 1, 2].map((view) => photo(background, view)));
  const mask = { width: SIDE, height: SIDE, channels: 1, bytes: new Uint8Array(SIDE * SIDE).fill(255) };
  expect(backgroundWarnings(photos.map(({ bitmap }) => ({ bitmap, mask })))).toEqual([]);
});
