import { basename } from 'node:path';
import { type Bitmap, resize } from '../diffusion/resize.ts';
import { greyBitmap } from './grey-bitmap.ts';
import type { Photo } from './photos.ts';

const THUMBNAIL = { width: 16, height: 16 };
/**
 * Levels of 255. A photo saved again as JPEG of quality 50 moves by less than 0.4, a brighter copy (5 %) by 3 to 8, the two
 * pictures of a stereo pair by 17, and photos of different scenes by more than 20, measured on 14 photos.
 */
const NEAR_DUPLICATE_DISTANCE = 4;
/**
 * Variance of the Laplacian, in squared levels of 255, at a resolution of 512. Sharp photos have 65 to 2700, enlarged ones
 * among them; blurred by a Gaussian of 2 pixels they have at most 19, measured on 13 photos.
 */
const BLUR_VARIANCE = 20;

type PhotoPicture = Pick<Photo, 'file' | 'bitmap'>;

/** Says which photos repeat another one and which are out of focus; the photos have one resolution. */
export function photoWarnings(photos: readonly PhotoPicture[]): string[] {
  return [...duplicateWarnings(photos), ...photos.flatMap(blurWarnings)];
}

function duplicateWarnings(photos: readonly PhotoPicture[]): string[] {
  const thumbnails = photos.map(({ bitmap }) => resize(greyBitmap(bitmap), THUMBNAIL).bytes);
  return photos.flatMap((photo, index) => {
    const earlier = photos.findIndex((_, other) => {
      return other >= index || meanDifference(thumbnails[index]!, thumbnails[other]!) < NEAR_DUPLICATE_DISTANCE;
    });
    return earlier === index ? [] : [duplicateWarning(photos[earlier]!, photo)];
  });
}

function duplicateWarning(photo: PhotoPicture, repeated: PhotoPicture): string {
  const names = `${basename(photo.file)} and ${basename(repeated.file)}`;
  return isSamePicture(photo.bitmap, repeated.bitmap)
    ? `${names} are the same picture, which then counts double`
    : `${names} are almost the same picture; different views and backgrounds teach more`;
}

function isSamePicture(a: Bitmap, b: Bitmap): boolean {
  return a.width === b.width && Buffer.compare(a.bytes, b.bytes) === 0;
}

function meanDifference(a: Uint8Array, b: Uint8Array): number {
  return a.reduce((sum, value, index) => sum + Math.abs(value - b[index]!), 0) / a.length;
}

function blurWarnings({ file, bitmap }: PhotoPicture): string[] {
  const variance = laplacianVariance(greyBitmap(bitmap));
  if (variance >= BLUR_VARIANCE) return [];
  return [
    `${basename(file)} looks blurred: the variance of its Laplacian should be at least ${BLUR_VARIANCE}, got ${variance.toFixed(1)}`,
  ];
}

/**
 * Measures sharpness over the inner pixels of a grey bitmap of at least 3 x 3.
 * @see Pech-Pacheco et al., "Diatom autofocusing in brightfield microscopy", ICPR 2000
 */
export function laplacianVariance({ width, height, bytes }: Bitmap): number {
  let sum = 0;
  let sumOfSquares = 0;
  for (let y = 1; y < height - 1; y++) {
    for (let i = y * width + 1; i < (y + 1) * width - 1; i++) {
      const value = bytes[i - width]! + bytes[i - 1]! + bytes[i + 1]! + bytes[i + width]! - 4 * bytes[i]!;
      sum += value;
      sumOfSquares += value * value;
    }
  }
  const count = (width - 2) * (height - 2);
  return sumOfSquares / count - (sum / count) ** 2;
}
