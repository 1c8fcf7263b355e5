import { createHash } from 'node:crypto';
import { expect, test } from 'vitest';
import type { Bitmap } from '../../../worker/diffusion/resize.ts';
import { canny } from '../../../worker/maps/canny.ts';

/** Of `cv2.Canny` in opencv-python-headless 5.0.0: SHA-256 of the edges' bytes, and how many there are. */
const OPENCV = [
  {
    low: 100,
    high: 200,
    channels: 3,
    edges: 732,
    sha256: '46cf8e1db2b25ab76ef4c6238de0e7297b553ef018b057e08f57c2a5f322e939',
  },
  {
    low: 40,
    high: 90,
    channels: 3,
    edges: 1801,
    sha256: '0080bf3c13472c7eb629792f2ca48e4e6b55395070336e337999f550ae91f8f2',
  },
  {
    low: 300,
    high: 600,
    channels: 3,
    edges: 703,
    sha256: '36c527d280330bdd180fdcde4a60148c1d7f551d8f57249131a5aa2a3897b901',
  },
  {
    low: 100,
    high: 200,
    channels: 1,
    edges: 355,
    sha256: 'f007af6edc070b0b4cf354a7d621fb70fb0f2799f91cf1ae4fb522a1df49f17e',
  },
];

test.each(OPENCV)(
  'canny gives the edges of OpenCV with $channels channels and thresholds $low, $high',
  ({ low, high, channels, edges, sha256 }) => {
    const { bytes } = canny(waves(channels), { low, high });
    expect(bytes.filter((byte) => byte === 255)).toHaveLength(edges);
    expect(createHash('sha256').update(bytes).digest('hex')).toBe(sha256);
  },
);

/** A disc before waves with grain, 96 x 64. */
function waves(channels: number): Bitmap {
  const [width, height] = [96, 64];
  const bytes = Uint8Array.from({ length: width * height * channels }, (_, index) => {
    const c = index % channels;
    const pixel = Math.floor(index / channels);
    const [x, y] = [pixel % width, Math.floor(pixel / width)];
    if ((x - 40) ** 2 + (y - 30) ** 2 < 400) return 220 - 60 * c;
    return (x * (3 + c) + y * (5 - c) + ((x * 7 + y * 13 + c * 31) ** 2 % 29)) % 256;
  });
  return { width, height, channels, bytes };
}
