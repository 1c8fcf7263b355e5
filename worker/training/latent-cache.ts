import { type FileHandle, mkdir, open } from 'node:fs/promises';
import { dirname } from 'node:path';

/** Encoded pictures in a file, numbered from 0; must be closed. */
export interface LatentCache {
  /** Encodes what is missing of the first `count` pictures. */
  hold(count: number): Promise<void>;
  /** @returns latents [C, H, W] of a picture that is held */
  read(index: number): Promise<Float32Array<ArrayBuffer>>;
  close(): Promise<void>;
}

export interface LatentCacheOptions {
  readonly file: string;
  /** Numbers of one picture's latents. */
  readonly size: number;
  /** Encodes the pictures from `first` to before `end`, one after another in the result. */
  readonly encode: (first: number, end: number) => Promise<Float32Array>;
  /** Pictures that are encoded together. */
  readonly batch: number;
}

/**
 * Opens a file of latents. It only grows, so that a making that was stopped goes on with what it holds.
 * The latents are float32; whoever changes the encoder must change the file's name.
 */
export async function openLatentCache({ file, size, encode, batch }: LatentCacheOptions): Promise<LatentCache> {
  await mkdir(dirname(file), { recursive: true });
  const handle = await open(file, 'a+');
  const recordBytes = size * Float32Array.BYTES_PER_ELEMENT;
  let held = await wholeRecords(handle, recordBytes);
  return {
    hold: async (count) => {
      for (; held < count; held += batch) {
        await handle.appendFile(new Uint8Array((await encode(held, held + batch)).buffer));
      }
    },
    read: async (index) => {
      const latents = new Float32Array(size);
      const { bytesRead } = await handle.read(latents, 0, recordBytes, index * recordBytes);
      if (bytesRead === recordBytes) return latents;
      throw new Error(`Cannot read latents: the picture must be one of ${held} held, got ${index}`);
    },
    close: () => handle.close(),
  };
}

/** Counts the records of a file; a process that was killed may have written a part of one, which is cut off. */
async function wholeRecords(handle: FileHandle, recordBytes: number): Promise<number> {
  const count = Math.floor((await handle.stat()).size / recordBytes);
  await handle.truncate(count * recordBytes);
  return count;
}
