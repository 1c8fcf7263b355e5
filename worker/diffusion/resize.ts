/** A picture of bytes, rows from the top, the channels of a pixel side by side. */
export interface Bitmap {
  readonly width: number;
  readonly height: number;
  readonly channels: number;
  readonly bytes: Uint8Array;
}

/** A filter of Pillow: its value at a distance in source pixels, and the distance from which it is zero. */
export interface ResizeFilter {
  readonly support: number;
  readonly at: (distance: number) => number;
}

/** Lanczos with three lobes, as diffusers prepares its pictures. */
export const LANCZOS: ResizeFilter = {
  support: 3,
  at: (x) => (Math.abs(x) < 3 ? sinc(x) * sinc(x / 3) : 0),
};

/** Cubic convolution with a = -0.5, as CLIP's feature extractor prepares its pictures. */
export const BICUBIC: ResizeFilter = { support: 2, at: bicubic };

/** Weights have this many binary places, so that 255 times their sum stays below 2^31. */
const WEIGHT_BITS = 22;

/**
 * Stretches a bitmap to a size, first along the rows, then along the columns, rounding to bytes
 * between. It gives the bytes of Pillow's `resize(size, filter)`; Pillow 13 begins with the columns where the height
 * shrinks more, and differs in pixels that saturate. libvips differs by up to 8 levels when it shrinks, and enlarges with
 * another filter, half an output pixel off at twice the size.
 */
export function resize(
  bitmap: Bitmap,
  { width, height }: { width: number; height: number },
  filter: ResizeFilter = LANCZOS,
): Bitmap {
  return resizeColumns(resizeRows(bitmap, width, filter), height, filter);
}

function resizeRows(bitmap: Bitmap, width: number, filter: ResizeFilter): Bitmap {
  if (width === bitmap.width) return bitmap;
  const { height, channels, bytes } = bitmap;
  const taps = filterTaps(bitmap.width, width, filter);
  const resized = new Uint8Array(width * height * channels);
  for (let y = 0; y < height; y++) {
    const row = y * bitmap.width * channels;
    for (let x = 0; x < width; x++) {
      const { start, weights } = taps[x]!;
      for (let channel = 0; channel < channels; channel++) {
        const from = row + start * channels + channel;
        resized[(y * width + x) * channels + channel] = weightedByte(bytes, from, channels, weights);
      }
    }
  }
  return { width, height, channels, bytes: resized };
}

function resizeColumns(bitmap: Bitmap, height: number, filter: ResizeFilter): Bitmap {
  if (height === bitmap.height) return bitmap;
  const { width, channels, bytes } = bitmap;
  const taps = filterTaps(bitmap.height, height, filter);
  const stride = width * channels;
  const resized = new Uint8Array(stride * height);
  for (let y = 0; y < height; y++) {
    const { start, weights } = taps[y]!;
    for (let x = 0; x < stride; x++) {
      resized[y * stride + x] = weightedByte(bytes, start * stride + x, stride, weights);
    }
  }
  return { width, height, channels, bytes: resized };
}

function weightedByte(bytes: Uint8Array, from: number, stride: number, weights: Int32Array): number {
  let sum = 1 << (WEIGHT_BITS - 1);
  for (let tap = 0; tap < weights.length; tap++) sum += bytes[from + tap * stride]! * weights[tap]!;
  return Math.min(Math.max(sum >> WEIGHT_BITS, 0), 255);
}

interface Taps {
  /** Index of the first source pixel that counts. */
  start: number;
  /** One per source pixel from there on; they add up to 2^22. */
  weights: Int32Array;
}

/** Centres the filter on each output pixel; when the picture shrinks, the filter widens by the same factor. */
function filterTaps(size: number, resizedSize: number, filter: ResizeFilter): Taps[] {
  const scale = size / resizedSize;
  const stretch = Math.max(scale, 1);
  const support = filter.support * stretch;
  return Array.from({ length: resizedSize }, (_, index) => {
    const center = (index + 0.5) * scale;
    const start = Math.max(0, Math.trunc(center - support + 0.5));
    const end = Math.min(size, Math.trunc(center + support + 0.5));
    const values = Array.from({ length: end - start }, (_, tap) => filter.at((start + tap - center + 0.5) / stretch));
    const total = values.reduce((sum, value) => sum + value, 0);
    return { start, weights: Int32Array.from(values, (value) => roundHalfAway((value / total) * 2 ** WEIGHT_BITS)) };
  });
}

/** @see Keys 1981, Cubic convolution interpolation for digital image processing, eq. 15 */
function bicubic(distance: number): number {
  const a = -0.5;
  const x = Math.abs(distance);
  if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0;
}

function sinc(x: number): number {
  return x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x);
}

function roundHalfAway(x: number): number {
  return Math.sign(x) * Math.round(Math.abs(x));
}
