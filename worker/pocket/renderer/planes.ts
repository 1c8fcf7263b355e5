/** Pictures as networks see them. */
import { SIDE } from './world.ts';

const HALF = SIDE / 2;

/** [3, 128, 128] in [-1, 1] of RGB bytes, 128 x 128. */
export function fullPlanes(pixels: Uint8Array): Float32Array {
  const area = SIDE * SIDE;
  const planes = new Float32Array(3 * area);
  for (let pixel = 0; pixel < area; pixel++) {
    for (let channel = 0; channel < 3; channel++)
      planes[channel * area + pixel] = pixels[3 * pixel + channel]! / 127.5 - 1;
  }
  return planes;
}

/** The means of 2 x 2 pixels: [3, 64, 64] in [-1, 1] of RGB bytes, 128 x 128. */
export function halvedPlanes(pixels: Uint8Array): Float32Array {
  const planes = new Float32Array(3 * HALF * HALF);
  for (let y = 0; y < SIDE; y++) {
    for (let x = 0; x < SIDE; x++) {
      const target = (y >> 1) * HALF + (x >> 1);
      for (let channel = 0; channel < 3; channel++) {
        planes[channel * HALF * HALF + target]! += (pixels[3 * (y * SIDE + x) + channel]! / 127.5 - 1) / 4;
      }
    }
  }
  return planes;
}
