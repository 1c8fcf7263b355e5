import { luma } from '../diffusion/picture.ts';
import type { Bitmap } from '../diffusion/resize.ts';

/** Turns an RGB bitmap into one channel by the luma weights of ITU-R BT.601. */
export function greyBitmap({ width, height, bytes }: Bitmap): Bitmap {
  const grey = new Uint8Array(width * height);
  for (let pixel = 0; pixel < grey.length; pixel++) grey[pixel] = luma(bytes, 3 * pixel);
  return { width, height, channels: 1, bytes: grey };
}
