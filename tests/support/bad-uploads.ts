/** Files that call themselves pictures. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import { POCKET_FOLDER } from '../../worker/pocket/folder.ts';

/** Bytes, and what a person is told of them. */
export async function badUploads(): Promise<readonly (readonly [Buffer, RegExp])[]> {
  const whole = await readFile(join(POCKET_FOLDER, 'examples', 'car-sketch.png'));
  return [
    [Buffer.from('<svg xmlns="http://www.w3.org/2000/svg"/>'), /PNG, JPEG or WebP.*SVG/],
    [Buffer.from('GIF89a'), /PNG, JPEG or WebP.*GIF/],
    [whole.subarray(0, whole.length / 2), /cut off or damaged/],
    [hugePng(whole), /at most 40 million pixels/],
  ];
}

/** A small file whose header asks for 100,000 x 100,000 pixels: a decompression bomb. */
function hugePng(whole: Buffer): Buffer {
  const bomb = Buffer.from(whole);
  // Behind the signature: length and name of the chunk, then width and height; its checksum covers name and content.
  bomb.writeUInt32BE(100_000, 16);
  bomb.writeUInt32BE(100_000, 20);
  bomb.writeUInt32BE(crc32(bomb.subarray(12, 29)), 29);
  return bomb;
}
