import type { Bitmap } from '../diffusion/resize.ts';
import { dilate, type Plane } from './filters.ts';

export interface LineAgreement {
  /** Share of the found lines that lie near an expected one. */
  readonly precision: number;
  /** Share of the expected lines that lie near a found one. */
  readonly recall: number;
  /** Their harmonic mean; 1 if there is no line on either side. */
  readonly f1: number;
}

/**
 * Compares two line drawings of one size, one channel each, in which lines are above 127.
 * @param tolerance  pixels, along rows and columns, by which lines may differ
 */
export function lineAgreement(found: Bitmap, expected: Bitmap, tolerance = 2): LineAgreement {
  const [foundLines, expectedLines] = [lines(found), lines(expected)];
  const precision = shareNear(foundLines, expectedLines, tolerance);
  const recall = shareNear(expectedLines, foundLines, tolerance);
  const f1 = precision + recall === 0 ? 0 : (2 * precision * recall) / (precision + recall);
  return { precision, recall, f1 };
}

function lines({ width, height, bytes }: Bitmap): Plane {
  return { width, height, values: Float32Array.from(bytes, (byte) => (byte > 127 ? 1 : 0)) };
}

/** The share of lines that have one of `others` near; nothing is near nothing. */
function shareNear(plane: Plane, others: Plane, tolerance: number): number {
  const near = dilate(others, tolerance);
  let [count, total] = [0, 0];
  plane.values.forEach((line, pixel) => {
    total += line;
    count += line * (near.values[pixel] ?? 0);
  });
  if (total > 0) return count / total;
  return others.values.includes(1) ? 0 : 1;
}
