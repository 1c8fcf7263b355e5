import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import sharp, { type Sharp } from 'sharp';
import { beforeAll, expect, test } from 'vitest';
import { checkPhotos } from '../../bot/photo-check.ts';
import { POCKET_FOLDER } from '../../worker/pocket/folder.ts';

let photos: Uint8Array[];

beforeAll(async () => {
  const names = ['1.png', '2.png', '3.png', '4.png'];
  photos = await Promise.all(names.map((name) => readFile(join(POCKET_FOLDER, 'examples', 'dog', name))));
});

const changed = (photo: Uint8Array, change: (picture: Sharp) => Sharp) => change(sharp(photo)).toBuffer();

test('photos of one subject in different places pass without a word', async () => {
  expect(await checkPhotos(photos, 128)).toEqual([]);
});

test('a photo saved anew is found to be a copy', async () => {
  const copy = await changed(photos[1]!, (picture) => picture.jpeg({ quality: 60 }));
  await expect(checkPhotos([...photos, copy], 128)).rejects.toThrow(
    'Cannot teach from these photos: photo 5 is photo 2 once more: take another view of it',
  );
});

test('a thumbnail is too small, and it is said what would do', async () => {
  const small = await changed(photos[0]!, (picture) => picture.resize(40, 40));
  await expect(checkPhotos([...photos.slice(1), small], 128)).rejects.toThrow(
    'photo 4 is 40 x 40, and its shorter side must have at least 64 pixels: attach the original',
  );
});

test('one blurred photo is pointed out, blurred photos alone are refused', async () => {
  const blurred = await Promise.all(photos.map((photo) => changed(photo, (picture) => picture.blur(8))));
  expect(await checkPhotos([...photos.slice(1), blurred[0]!], 128)).toEqual([
    'photo 4 looks blurred; a sharper one teaches more',
  ]);
  await expect(checkPhotos(blurred, 128)).rejects.toThrow('all of them are blurred');
});

test('the same wall behind every view is pointed out', async () => {
  const views = await Promise.all(
    [0, 90, 180].map(async (angle) => {
      const subject = await sharp(photos[0]!)
        .extract({ left: 30, top: 30, width: 60, height: 60 })
        .rotate(angle)
        .toBuffer();
      const wall = sharp({ create: { width: 128, height: 128, channels: 3, background: '#88aacc' } });
      return wall
        .composite([{ input: subject, gravity: 'centre' }])
        .png()
        .toBuffer();
    }),
  );
  expect(await checkPhotos(views, 128)).toEqual([expect.stringContaining('the same background')]);
});
