/** What people attach: checked by its bytes, never by its name, and drawn anew before it is kept. */
import sharp from 'sharp';
import { UserError } from '../shared/errors.ts';
import type { BlobRef } from '../shared/jobs.ts';
import type { BlobStore } from '../shared/store.ts';

export interface Upload {
  readonly bytes: Uint8Array;
  /** What its sender called it. */
  readonly name: string;
  readonly maxBytes: number;
}

/** Decoded, that is 120 MB; larger pictures are refused by their header, before anything is decoded. */
export const MAX_UPLOAD_PIXELS = 40_000_000;
const MAX_SECONDS = 20;

const FORMATS = [
  { name: 'png', type: 'image/png', begins: [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a] },
  { name: 'jpeg', type: 'image/jpeg', begins: [0xff, 0xd8, 0xff] },
  { name: 'webp', type: 'image/webp', begins: [0x52, 0x49, 0x46, 0x46] },
] as const;

// Everything else that libvips can read, SVG and PDF above all, could refer to other files.
sharp.block({ operation: ['VipsForeignLoad'] });
sharp.unblock({ operation: ['VipsForeignLoadJpeg', 'VipsForeignLoadPng', 'VipsForeignLoadWebp'] });

/**
 * Checks an attached picture and keeps it as an upright PNG without metadata, transparent parts on white.
 * @throws UserError that says what is wrong with the file
 */
export async function keepUpload(store: BlobStore, { bytes, name, maxBytes }: Upload): Promise<BlobRef> {
  const shown = shortName(name);
  if (bytes.byteLength > maxBytes) {
    throw refusal(shown, `it must have at most ${mebibytes(maxBytes)}`, mebibytes(bytes.byteLength));
  }
  if (!FORMATS.some((format) => hasFormat(bytes, format))) {
    throw refusal(shown, 'it must be a PNG, JPEG or WebP picture', describeBytes(bytes));
  }
  const png = await redraw(bytes, shown);
  return store.put(png, { type: 'image/png', name: shown });
}

function hasFormat(bytes: Uint8Array, { name, begins }: (typeof FORMATS)[number]): boolean {
  if (!begins.every((byte, i) => bytes[i] === byte)) return false;
  return name !== 'webp' || Buffer.from(bytes.subarray(8, 12)).toString('latin1') === 'WEBP';
}

async function redraw(bytes: Uint8Array, name: string): Promise<Uint8Array> {
  const open = () => sharp(bytes, { limitInputPixels: MAX_UPLOAD_PIXELS, failOn: 'error', pages: 1 });
  try {
    const picture = open().timeout({ seconds: MAX_SECONDS }).autoOrient().flatten({ background: 'white' });
    return await picture.toColourspace('srgb').png({ compressionLevel: 6 }).toBuffer();
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    if (/exceeds pixel limit/i.test(reason)) {
      throw refusal(name, `it must have at most ${MAX_UPLOAD_PIXELS / 1e6} million pixels`, 'more', cause);
    }
    if (/timeout/i.test(reason)) throw refusal(name, 'it must be quick to decode', `over ${MAX_SECONDS} s`, cause);
    throw refusal(name, 'it must be a whole picture', 'one that is cut off or damaged', cause);
  }
}

function refusal(name: string, rule: string, got: string, cause?: unknown): UserError {
  return new UserError(`Cannot use ${name}: ${rule}, got ${got}`, { cause });
}

function describeBytes(bytes: Uint8Array): string {
  if (bytes.byteLength === 0) return 'an empty file';
  const start = Buffer.from(bytes.subarray(0, 300)).toString('latin1').trimStart().toLowerCase();
  if (start.startsWith('<svg') || (start.startsWith('<?xml') && start.includes('<svg'))) return 'an SVG';
  if (start.startsWith('<!doctype html') || start.startsWith('<html')) return 'a web page';
  if (start.startsWith('gif8')) return 'a GIF';
  if (start.startsWith('%pdf')) return 'a PDF';
  return 'another kind of file';
}

function mebibytes(bytes: number): string {
  return `${Math.ceil((10 * bytes) / 2 ** 20) / 10} MiB`;
}

const MAX_NAME = 80;

function shortName(name: string): string {
  const visible = name.replace(/[\p{Cc}\p{Cf}`]/gu, '').trim();
  return visible === '' ? 'the picture' : visible.slice(0, MAX_NAME);
}
