import { luma } from '../diffusion/picture.ts';
import type { Bitmap } from '../diffusion/resize.ts';

/** One number for each pixel of a picture. */
export interface Plane {
  readonly width: number;
  readonly height: number;
  readonly values: Float32Array;
}

/** The luma of a picture, 0 to 255; of one channel, that channel. */
export function greyPlane({ width, height, channels, bytes }: Bitmap): Plane {
  const values = new Float32Array(width * height);
  for (let i = 0; i < values.length; i++)
    values[i] = channels < 3 ? (bytes[channels * i] ?? 0) : luma(bytes, channels * i);
  return { width, height, values };
}

/** Blurs by a Gaussian of `sigma` pixels; the border repeats. */
export function gaussianBlur(plane: Plane, sigma: number): Plane {
  const radius = Math.max(1, Math.ceil(3 * sigma));
  const bell = Float32Array.from({ length: 2 * radius + 1 }, (_, i) =>
    Math.exp(-((i - radius) ** 2) / (2 * sigma ** 2)),
  );
  const total = bell.reduce((sum, weight) => sum + weight, 0);
  const weights = bell.map((weight) => weight / total);
  return separably(plane, radius, (line, filtered) => {
    for (let place = 0; place < filtered.length; place++) {
      let sum = 0;
      for (let i = 0; i < weights.length; i++) sum += weights[i]! * line[place + i]!;
      filtered[place] = sum;
    }
  });
}

/** The greatest value within a square of side 2 radius + 1. */
export function dilate(plane: Plane, radius: number): Plane {
  return separably(plane, radius, (line, filtered) => {
    for (let place = 0; place < filtered.length; place++) {
      let greatest = line[place]!;
      for (let i = place + 1; i <= place + 2 * radius; i++) if (line[i]! > greatest) greatest = line[i]!;
      filtered[place] = greatest;
    }
  });
}

/** The least value within a square of side 2 radius + 1. */
export function erode(plane: Plane, radius: number): Plane {
  const negative = mapPlane(plane, (value) => -value);
  return mapPlane(dilate(negative, radius), (value) => -value);
}

/** Fills dark details narrower than the square of side 2 radius + 1. */
export function close(plane: Plane, radius: number): Plane {
  return erode(dilate(plane, radius), radius);
}

export function mapPlane({ width, height, values }: Plane, change: (value: number, index: number) => number): Plane {
  return { width, height, values: values.map(change) };
}

/**
 * The threshold that best parts a histogram of values from 0 to 255 into two classes.
 * @see Otsu, "A Threshold Selection Method from Gray-Level Histograms", 1979
 */
export function otsuThreshold(values: Float32Array): number {
  const histogram = new Float64Array(256);
  for (const value of values) histogram[Math.min(255, Math.max(0, Math.round(value)))]! += 1;
  const total = values.length;
  const sum = histogram.reduce((all, count, level) => all + count * level, 0);
  let [below, sumBelow, best, threshold] = [0, 0, -1, 0];
  for (let level = 0; level < 255; level++) {
    below += histogram[level] ?? 0;
    sumBelow += level * (histogram[level] ?? 0);
    if (below === 0 || below === total) continue;
    const difference = sumBelow / below - (sum - sumBelow) / (total - below);
    const spread = below * (total - below) * difference ** 2;
    if (spread > best) [best, threshold] = [spread, level];
  }
  return threshold;
}

/** One channel of 0 and 255: 255 where a value is above the threshold and its connected patch has so many pixels. */
export function keepPatches(
  { width, height, values }: Plane,
  { threshold, minPixels }: { threshold: number; minPixels: number },
): Bitmap {
  const bytes = new Uint8Array(width * height);
  const seen = new Uint8Array(width * height);
  for (let start = 0; start < bytes.length; start++) {
    const patch = patchFrom(start);
    if (patch.length >= minPixels) for (const pixel of patch) bytes[pixel] = 255;
  }
  return { width, height, channels: 1, bytes };

  function patchFrom(start: number): number[] {
    const patch: number[] = [];
    const visit = (pixel: number) => {
      if (pixel < 0 || pixel >= seen.length || seen[pixel] === 1 || (values[pixel] ?? 0) <= threshold) return;
      seen[pixel] = 1;
      patch.push(pixel);
    };
    visit(start);
    for (let i = 0; i < patch.length; i++) {
      const pixel = patch[i] ?? 0;
      const x = pixel % width;
      for (const row of [-width, 0, width]) {
        visit(pixel + row);
        if (x > 0) visit(pixel + row - 1);
        if (x < width - 1) visit(pixel + row + 1);
      }
    }
    return patch;
  }
}

/**
 * Filters along the rows, then along the columns.
 * @param filter  takes a line with `radius` repeated values before and after it, and writes as many as the line has
 */
function separably(plane: Plane, radius: number, filter: (line: Float32Array, filtered: Float32Array) => void): Plane {
  const { width, height } = plane;
  const rows = filterLines(plane.values, {
    length: width,
    stride: 1,
    lines: height,
    lineStride: width,
    radius,
    filter,
  });
  const values = filterLines(rows, { length: height, stride: width, lines: width, lineStride: 1, radius, filter });
  return { width, height, values };
}

interface Lines {
  length: number;
  /** From one value of a line to the next. */
  stride: number;
  lines: number;
  /** From one line to the next. */
  lineStride: number;
  radius: number;
  filter: (line: Float32Array, filtered: Float32Array) => void;
}

function filterLines(values: Float32Array, { length, stride, lines, lineStride, radius, filter }: Lines): Float32Array {
  const result = new Float32Array(values.length);
  const line = new Float32Array(length + 2 * radius);
  const filtered = new Float32Array(length);
  for (let start = 0; start < lines * lineStride; start += lineStride) {
    for (let i = 0; i < line.length; i++)
      line[i] = values[start + Math.min(Math.max(i - radius, 0), length - 1) * stride]!;
    filter(line, filtered);
    for (let place = 0; place < length; place++) result[start + place * stride] = filtered[place]!;
  }
  return result;
}
