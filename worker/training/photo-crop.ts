import type { RandomGenerator } from '../runtime/random.ts';
import type { Photo } from './photos.ts';

/** Upper left corner of the square that is cut out, in pixels of the resized photo. */
export interface CropOrigin {
  readonly x: number;
  readonly y: number;
}

export type CropPosition = CropOrigin | 'center';

/**
 * Cuts a square as high as the photo's shorter side.
 * @returns [1, 3, R, R] in [-1, 1]
 * @throws Error if the square does not lie within the photo
 */
export function cropPhoto(photo: Photo, position: CropPosition): Float32Array<ArrayBuffer> {
  const { x, y } = cropOrigin(photo, position);
  const { width, bytes } = photo.bitmap;
  const resolution = resolutionOf(photo);
  const pixels = resolution * resolution;
  const image = new Float32Array(3 * pixels);
  for (let pixel = 0; pixel < pixels; pixel++) {
    const from = 3 * ((y + Math.floor(pixel / resolution)) * width + x + (pixel % resolution));
    for (let channel = 0; channel < 3; channel++) {
      image[channel * pixels + pixel] = bytes[from + channel]! * (2 / 255) - 1;
    }
  }
  return image;
}

/**
 * Cuts the same square out of the photo's mask and averages it over each latent.
 * @param vaeScaleFactor  pixels per latent, a divisor of the resolution
 * @returns [1, 1, R/f, R/f] in [0, 1], 1 where the subject is; undefined if the photo has no mask
 */
export function cropMask(
  photo: Photo,
  position: CropPosition,
  vaeScaleFactor: number,
): Float32Array<ArrayBuffer> | undefined {
  if (photo.mask === undefined) return undefined;
  const { x, y } = cropOrigin(photo, position);
  const { width, bytes } = photo.mask;
  const side = resolutionOf(photo) / vaeScaleFactor;
  if (!Number.isInteger(side)) {
    throw new Error(
      `Cannot crop the mask: the resolution must be a multiple of ${vaeScaleFactor}, got ${resolutionOf(photo)}`,
    );
  }
  return Float32Array.from({ length: side * side }, (_, latent) => {
    const top = y + vaeScaleFactor * Math.floor(latent / side);
    const left = x + vaeScaleFactor * (latent % side);
    let sum = 0;
    for (let row = top; row < top + vaeScaleFactor; row++) {
      for (let i = row * width + left; i < row * width + left + vaeScaleFactor; i++) sum += bytes[i]!;
    }
    return sum / (255 * vaeScaleFactor ** 2);
  });
}

/** Draws where to crop as torchvision's `RandomCrop` does: y before x, and no number for a square photo. */
export function drawCrop({ bitmap }: Photo, generator: RandomGenerator): CropOrigin {
  const { width, height } = bitmap;
  if (width === height) return { x: 0, y: 0 };
  const resolution = Math.min(width, height);
  const y = generator.randint(height - resolution + 1);
  const x = generator.randint(width - resolution + 1);
  return { x, y };
}

/**
 * Says where the square lies; the middle is rounded to even as in torchvision's `CenterCrop`.
 * @throws Error if the square does not lie within the photo
 */
export function cropOrigin(photo: Photo, position: CropPosition): CropOrigin {
  const { width, height } = photo.bitmap;
  const resolution = resolutionOf(photo);
  if (position === 'center') {
    return { x: halfToEven(width - resolution), y: halfToEven(height - resolution) };
  }
  const { x, y } = position;
  const isInside = [x, y].every((offset) => Number.isInteger(offset) && offset >= 0);
  if (!isInside || x > width - resolution || y > height - resolution) {
    throw new Error(
      `Cannot crop ${photo.file}: x must be 0 to ${width - resolution} and y 0 to ${height - resolution}, got ${x} and ${y}`,
    );
  }
  return position;
}

function resolutionOf({ bitmap }: Photo): number {
  return Math.min(bitmap.width, bitmap.height);
}

function halfToEven(size: number): number {
  const half = Math.floor(size / 2);
  return size % 2 === 1 && half % 2 === 1 ? half + 1 : half;
}
