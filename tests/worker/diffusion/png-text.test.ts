import sharp from 'sharp';
import { expect, test } from 'vitest';
import { UserError } from '../../../shared/errors.ts';
import { addPngText, readPngText } from '../../../worker/diffusion/png-text.ts';

const pixels = Uint8Array.from({ length: 3 * 7 * 5 }, (_, index) => (index * 91) % 256);
const png = new Uint8Array(
  await sharp(pixels, { raw: { width: 7, height: 5, channels: 3 } })
    .png()
    .toBuffer(),
);
const entries = { Parameters: '{"prompt":"café 東京 🐶","seed":0}', Software: '', 'Two words': 'line\nline' };

test('PNG text comes back as it was put in, and an independent reader agrees', async () => {
  const written = addPngText(png, entries);
  expect(readPngText(written)).toEqual(entries);
  const { comments } = await sharp(written).metadata();
  expect(comments).toEqual(Object.entries(entries).map(([keyword, text]) => ({ keyword, text })));
});

test('pixels stay the same when text is added', async () => {
  const { data, info } = await sharp(addPngText(png, entries)).raw().toBuffer({ resolveWithObject: true });
  expect([info.width, info.height, info.channels]).toEqual([7, 5, 3]);
  expect(new Uint8Array(data)).toEqual(pixels);
});

test('a PNG without text has no entries, and the entry added last wins', () => {
  expect(readPngText(png)).toEqual({});
  expect(readPngText(addPngText(addPngText(png, { seed: '1' }), { seed: '2' }))).toEqual({ seed: '2' });
});

test('a damaged PNG is refused', () => {
  const written = addPngText(png, entries);
  const flipped = written.slice();
  flipped[60]! ^= 1;
  expect(() => readPngText(flipped)).toThrow(/checksum of its iTXt chunk/);
  expect(() => addPngText(flipped, {})).toThrow(UserError);
  expect(() => readPngText(written.subarray(1))).toThrow(/begin with the PNG signature/);
  expect(() => readPngText(written.subarray(0, -3))).toThrow(/end with an IEND chunk/);
  expect(() => readPngText(new Uint8Array())).toThrow(UserError);
  const headless = Buffer.concat([written.subarray(0, 8), written.subarray(8 + 25)]);
  expect(() => readPngText(headless)).toThrow(/first chunk must be IHDR, got iTXt/);
});

test('keywords and texts that PNG cannot hold are refused', () => {
  for (const keyword of ['', ' seed', 'seed ', 'a'.repeat(80), 'é', 'a\0b']) {
    expect(() => addPngText(png, { [keyword]: 'x' })).toThrow(/keyword must be/);
  }
  expect(() => addPngText(png, { seed: 'a\0b' })).toThrow(/NUL/);
});
