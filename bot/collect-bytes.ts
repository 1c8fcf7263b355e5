import { UserError } from '../shared/errors.ts';

const MEBIBYTE = 2 ** 20;

/**
 * Reads what a person attached, and never more than allowed, whatever its sender said of its size.
 * @throws UserError if it is too large
 */
export async function collectBytes(
  body: AsyncIterable<Uint8Array>,
  name: string,
  maxBytes: number,
): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let sizeBytes = 0;
  for await (const chunk of body) {
    sizeBytes += chunk.byteLength;
    if (sizeBytes > maxBytes) throw tooLarge(name, maxBytes);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

export function tooLarge(name: string, maxBytes: number): UserError {
  return new UserError(
    `Cannot take ${name}: at most ${Math.floor(maxBytes / MEBIBYTE)} MiB, make it smaller and attach it again`,
  );
}
