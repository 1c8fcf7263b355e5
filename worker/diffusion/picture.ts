import sharp from 'sharp';
import { UserError } from '../../shared/errors.ts';
import { type Bitmap, resize } from './resize.ts';

/** 8192 x 8192; decoded, that is 192 MiB. Larger pictures are refused before they are decoded. */
export const MAX_INPUT_PIXELS = 2 ** 26;

/** SVG and PDF are left out: they can refer to other files. */
const FORMATS: ReadonlySet<string> = new Set(['jpeg', 'png', 'webp', 'gif', 'tiff', 'heif']);

export interface PictureSize {
  /** Pixels. */
  width: number;
  height: number;
}

export interface PictureOptions {
  /** 3: RGB; 1: grey, by the luma weights of ITU-R BT.601. */
  channels: 1 | 3;
  /** 'unit': [0, 1], for control images and masks; 'signed': [-1, 1], for the VAE. */
  range: 'unit' | 'signed';
}

/**
 * Loads a picture as [1, channels, height, width], stretched to the size by Lanczos without cropping.
 * The EXIF orientation is applied, an embedded colour profile is converted to sRGB, and alpha is dropped, not blended:
 * a transparent pixel shows the colour stored under it, as in diffusers (Pillow's `convert('RGB')`). Of 16 bits the high
 * byte counts.
 * @param source  path or the file's bytes: JPEG, PNG, WebP, GIF (first frame), TIFF or AVIF
 * @throws UserError if the file is missing, not such a picture, damaged, or larger than `MAX_INPUT_PIXELS`
 */
export async function loadPicture(
  source: string | Uint8Array,
  size: PictureSize,
  { channels, range }: PictureOptions,
): Promise<Float32Array> {
  const { bytes: rgb } = resize(await decodePicture(source), size);
  const pixels = size.width * size.height;
  const [scale, offset] = range === 'signed' ? [2 / 255, -1] : [1 / 255, 0];
  const picture = new Float32Array(channels * pixels);
  for (let pixel = 0; pixel < pixels; pixel++) {
    for (let channel = 0; channel < channels; channel++) {
      const byte = channels === 3 ? rgb[3 * pixel + channel]! : luma(rgb, 3 * pixel);
      picture[channel * pixels + pixel] = byte * scale + offset;
    }
  }
  return picture;
}

/** Loads a mask as [1, 1, height, width] of 0 (keep) and 1 (repaint); grey below one half is 0. */
export async function loadMask(source: string | Uint8Array, size: PictureSize): Promise<Float32Array> {
  const grey = await loadPicture(source, size, { channels: 1, range: 'unit' });
  return grey.map((value) => (value < 0.5 ? 0 : 1));
}

/**
 * Encodes one decoded picture as PNG: x/2 + 0.5 clamped to [0, 1], times 255, rounded.
 * @param image  [3, height, width] or [1, 3, height, width], nominally in [-1, 1]
 * @throws Error if a value is not finite, which is what an overflow of half precision leaves
 */
export async function encodePng(image: Float32Array, { width, height }: PictureSize): Promise<Uint8Array> {
  const bytes = toBytes(image, { width, height });
  return sharp(bytes, { raw: { width, height, channels: 3 } })
    .png()
    .toBuffer();
}

/**
 * The pixels of a decoded picture, RGB side by side: x/2 + 0.5 clamped to [0, 1], times 255, rounded.
 * @throws Error if a value is not finite
 */
export function toBytes(image: Float32Array, { width, height }: PictureSize): Uint8Array {
  const pixels = width * height;
  if (image.length !== 3 * pixels) {
    throw new Error(`Cannot encode the picture: it must hold 3 x ${height} x ${width} values, got ${image.length}`);
  }
  const rgb = new Uint8Array(3 * pixels);
  image.forEach((value, index) => {
    if (!Number.isFinite(value)) throw new Error(`Cannot encode the picture: every value must be finite, got ${value}`);
    const unit = Math.min(Math.max(value / 2 + 0.5, 0), 1);
    rgb[3 * (index % pixels) + Math.floor(index / pixels)] = Math.round(255 * unit);
  });
  return rgb;
}

/**
 * Decodes a picture to RGB bytes in its own size, upright, as `loadPicture` describes.
 * @throws UserError as `loadPicture` does
 */
export async function decodePicture(source: string | Uint8Array): Promise<Bitmap> {
  const name = typeof source === 'string' ? source : 'the picture';
  try {
    const picture = sharp(source, { limitInputPixels: MAX_INPUT_PIXELS, failOn: 'error' });
    const { format } = await picture.metadata();
    if (!FORMATS.has(format)) throw new Error(`the format ${format} is not read`);
    const { data, info } = await picture
      .autoOrient()
      .toColourspace('srgb')
      .removeAlpha()
      .raw({ depth: 'uchar' })
      .toBuffer({ resolveWithObject: true });
    return { width: info.width, height: info.height, channels: 3, bytes: data };
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new UserError(
      `Cannot load ${name}: it must be a JPEG, PNG, WebP, GIF, TIFF or AVIF of at most ${MAX_INPUT_PIXELS} pixels, got: ${reason}`,
      { cause },
    );
  }
}

/** 0.299 R + 0.587 G + 0.114 B in Pillow's 16-bit fixed point; grey stays exactly as it is. */
export function luma(rgb: Uint8Array, at: number): number {
  return (19595 * rgb[at]! + 38470 * rgb[at + 1]! + 7471 * rgb[at + 2]! + 0x8000) >> 16;
}
