import { crc32, inflateSync } from 'node:zlib';
import { UserError } from '../../shared/errors.ts';

const SIGNATURE = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]);
/** Length and type before the data of a chunk, CRC behind it. */
const CHUNK_OVERHEAD = 12;
/** A compressed text that unpacks to more is not a receipt of ours and could exhaust memory. */
const MAX_TEXT_BYTES = 1 << 20;

interface Chunk {
  type: string;
  data: Buffer;
  /** Offset of the byte after the chunk. */
  end: number;
}

/**
 * Returns the PNG with one iTXt chunk (UTF-8) per entry behind its header; the pixels stay as they are.
 * @param entries  by keyword: 1 to 79 printable ASCII characters without spaces at the ends
 * @throws Error for another keyword, or a NUL in a text; UserError if `png` is damaged
 * @see PNG specification, third edition, 11.3.3.4
 */
export function addPngText(png: Uint8Array, entries: Record<string, string>): Uint8Array {
  const [header] = readChunks(png);
  const headerEnd = header?.end ?? SIGNATURE.length;
  const texts = Object.entries(entries).map(([keyword, text]) => textChunk(keyword, text));
  // Not the Buffer itself, whose slice() shares memory where a Uint8Array's copies.
  return new Uint8Array(Buffer.concat([png.subarray(0, headerEnd), ...texts, png.subarray(headerEnd)]));
}

/**
 * Reads the iTXt texts of a PNG by keyword; of equal keywords the first counts.
 * @throws UserError if the signature, the order of chunks or a checksum is wrong
 */
export function readPngText(png: Uint8Array): Record<string, string> {
  const entries = new Map<string, string>();
  for (const { type, data } of readChunks(png)) {
    if (type !== 'iTXt') continue;
    const [keyword, text] = parseText(data);
    if (!entries.has(keyword)) entries.set(keyword, text);
  }
  return Object.fromEntries(entries);
}

function textChunk(keyword: string, text: string): Buffer {
  if (!/^[!-~]([ -~]{0,77}[!-~])?$/.test(keyword)) {
    throw new Error(`Cannot write PNG text: a keyword must be 1 to 79 printable ASCII characters, got "${keyword}"`);
  }
  if (text.includes('\0')) throw new Error(`Cannot write PNG text: it must not hold a NUL, got one in "${keyword}"`);
  // Uncompressed, method 0, no language and no translated keyword.
  const body = Buffer.concat([Buffer.from(`iTXt${keyword}\0\0\0\0\0`, 'latin1'), Buffer.from(text, 'utf8')]);
  const chunk = Buffer.alloc(body.length + 8);
  chunk.writeUInt32BE(body.length - 4, 0);
  body.copy(chunk, 4);
  chunk.writeUInt32BE(crc32(body), body.length + 4);
  return chunk;
}

function parseText(data: Buffer): [keyword: string, text: string] {
  const keywordEnd = data.indexOf(0);
  const languageEnd = data.indexOf(0, keywordEnd + 3);
  const translationEnd = data.indexOf(0, languageEnd + 1);
  if (keywordEnd < 0 || languageEnd < 0 || translationEnd < 0) throw damaged('a text chunk must have five fields');
  const packed = data.subarray(translationEnd + 1);
  const isCompressed = data[keywordEnd + 1] === 1;
  const text = isCompressed ? inflateSync(packed, { maxOutputLength: MAX_TEXT_BYTES }) : packed;
  return [data.toString('latin1', 0, keywordEnd), text.toString('utf8')];
}

function readChunks(png: Uint8Array): Chunk[] {
  const bytes = Buffer.from(png.buffer, png.byteOffset, png.byteLength);
  if (!bytes.subarray(0, SIGNATURE.length).equals(SIGNATURE)) throw damaged('it must begin with the PNG signature');
  const chunks: Chunk[] = [];
  let start = SIGNATURE.length;
  while (chunks.at(-1)?.type !== 'IEND') {
    const chunk = readChunk(bytes, start);
    if (chunks.length === 0 && chunk.type !== 'IHDR') throw damaged(`its first chunk must be IHDR, got ${chunk.type}`);
    chunks.push(chunk);
    start = chunk.end;
  }
  return chunks;
}

function readChunk(bytes: Buffer, start: number): Chunk {
  const length = start + CHUNK_OVERHEAD <= bytes.length ? bytes.readUInt32BE(start) : 0;
  const end = start + CHUNK_OVERHEAD + length;
  if (end > bytes.length) throw damaged(`it must end with an IEND chunk, got ${bytes.length} bytes without one`);
  const type = bytes.toString('latin1', start + 4, start + 8);
  if (crc32(bytes.subarray(start + 4, end - 4)) !== bytes.readUInt32BE(end - 4)) {
    throw damaged(`the checksum of its ${type} chunk must match`);
  }
  return { type, data: bytes.subarray(start + 8, end - 4), end };
}

function damaged(rule: string): UserError {
  return new UserError(`Cannot read the PNG: ${rule}`);
}
