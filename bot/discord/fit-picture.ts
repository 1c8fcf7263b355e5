import sharp from 'sharp';

export interface EncodedPicture {
  readonly bytes: Uint8Array;
  readonly type: string;
}

const QUALITIES = [92, 80, 60];

/**
 * A picture that a place takes: as it is if it is small enough, else as WebP with less and less quality, else smaller.
 * @throws Error if even a thumbnail is too large, which is a limit that nobody has
 */
export async function fitPicture(picture: EncodedPicture, maxBytes: number): Promise<EncodedPicture> {
  if (picture.bytes.byteLength <= maxBytes) return picture;
  const { width = 0 } = await sharp(picture.bytes).metadata();
  for (const share of [1, 0.7, 0.5, 0.25, 0.1]) {
    for (const quality of QUALITIES) {
      const bytes = await sharp(picture.bytes)
        .resize({ width: Math.max(1, Math.round(width * share)) })
        .keepXmp()
        .webp({ quality, effort: 1 })
        .toBuffer();
      if (bytes.byteLength <= maxBytes) return { bytes, type: 'image/webp' };
    }
  }
  throw new Error(`Cannot post a picture: at most ${maxBytes} bytes, got ${picture.bytes.byteLength}`);
}
