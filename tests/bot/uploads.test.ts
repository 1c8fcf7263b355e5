import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { crc32, deflateSync } from 'node:zlib';
import sharp from 'sharp';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { keepUpload } from '../../bot/uploads.ts';
import { UserError } from '../../shared/errors.ts';
import { type BlobStore, openStore } from '../../shared/store.ts';

let folder: string;
let store: BlobStore;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'sketchbooth-uploads-'));
  store = openStore({ dataDir: folder, s3: undefined });
});
afterAll(() => rm(folder, { recursive: true }));

const keep = (bytes: Uint8Array, name = 'cat.png') => keepUpload(store, { bytes, name, maxBytes: 100_000 });

function picture(width: number, height: number) {
  return sharp({ create: { width, height, channels: 4, background: { r: 255, g: 0, b: 0, alpha: 0 } } });
}

async function refusal(bytes: Uint8Array, name?: string): Promise<string> {
  const error = await keep(bytes, name).catch((thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(UserError);
  return (error as UserError).message;
}

test('transparent parts become white, and the picture is kept as PNG under its hash', async () => {
  const blob = await keep(await picture(4, 2).png().toBuffer());
  expect(blob).toMatchObject({ type: 'image/png', name: 'cat.png' });
  const { data, info } = await sharp(await store.get(blob))
    .raw()
    .toBuffer({ resolveWithObject: true });
  expect(info).toMatchObject({ width: 4, height: 2, channels: 3 });
  expect([...data.subarray(0, 3)]).toEqual([255, 255, 255]);
});

test('a photo is turned by its EXIF orientation, and its metadata goes', async () => {
  const jpeg = await picture(4, 2)
    .flatten()
    .withExif({ IFD0: { Make: 'Camera' } })
    .withMetadata({ orientation: 6 })
    .jpeg()
    .toBuffer();
  const kept = await sharp(await store.get(await keep(jpeg))).metadata();
  expect(kept).toMatchObject({ width: 2, height: 4 });
  expect(kept.exif).toBeUndefined();
});

test('what is no picture is refused with a word on what it is', async () => {
  const svg = Buffer.from('<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>');
  expect(await refusal(svg, 'cat.png')).toBe('Cannot use cat.png: it must be a PNG, JPEG or WebP picture, got an SVG');
  expect(await refusal(Buffer.from('<!DOCTYPE html><html>'))).toContain('got a web page');
  expect(await refusal(Buffer.from('GIF89a'))).toContain('got a GIF');
  expect(await refusal(Buffer.alloc(0))).toContain('got an empty file');
  expect(await refusal(Buffer.from('RIFF1234AVI '))).toContain('got another kind of file');
});

test('a file that is cut off is refused', async () => {
  const jpeg = await sharp({ create: { width: 200, height: 200, channels: 3, background: 'red' } })
    .jpeg()
    .toBuffer();
  expect(await refusal(jpeg.subarray(0, jpeg.length / 2))).toContain('got one that is cut off or damaged');
});

test('a small file that claims 900 million pixels is refused before it is decoded', async () => {
  const started = performance.now();
  expect(await refusal(bomb(30_000))).toContain('at most 40 million pixels');
  expect(performance.now() - started).toBeLessThan(2000);
});

test('a file over the limit of bytes is refused', async () => {
  expect(await refusal(new Uint8Array(200_000))).toBe('Cannot use cat.png: it must have at most 0.1 MiB, got 0.2 MiB');
});

/** A PNG whose rows are all zero: deflate makes 100 kB of 900 MB, and here the data is not even there. */
function bomb(side: number): Uint8Array {
  const header = Buffer.alloc(13);
  header.writeUInt32BE(side, 0);
  header.writeUInt32BE(side, 4);
  header.set([8, 0, 0, 0, 0], 8);
  const chunk = (type: string, data: Buffer) => {
    const body = Buffer.concat([Buffer.from(type), data]);
    const [length, checksum] = [Buffer.alloc(4), Buffer.alloc(4)];
    length.writeUInt32BE(data.length);
    checksum.writeUInt32BE(crc32(body));
    return Buffer.concat([length, body, checksum]);
  };
  const signature = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]);
  const rows = deflateSync(Buffer.alloc(1_000_000));
  return Buffer.concat([signature, chunk('IHDR', header), chunk('IDAT', rows), chunk('IEND', Buffer.alloc(0))]);
}
