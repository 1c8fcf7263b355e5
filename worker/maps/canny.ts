import type { Bitmap } from '../diffusion/resize.ts';

export interface CannyOptions {
  /** Gradients above it belong to an edge if the edge also has one above `high`; 0 to 2040. */
  readonly low?: number;
  /** Gradients above it begin an edge. */
  readonly high?: number;
}

/** tan(22.5 degrees): below it a gradient counts as horizontal, above its inverse as vertical. */
const TANGENT = Math.SQRT2 - 1;

/** Gradients of a picture, in each pixel those of the channel where they are steepest. */
interface Gradients {
  readonly width: number;
  readonly height: number;
  readonly dx: Int16Array;
  readonly dy: Int16Array;
  /** |dx| + |dy|, with a border of zeros one pixel wide. */
  readonly magnitude: Int32Array;
}

/**
 * Finds edges as `cv2.Canny(image, low, high)` does, which published Canny ControlNets were trained on: Sobel gradients
 * without blur, thinned to their ridges, kept where they connect to a steep one.
 * @param picture  1 or 3 channels
 * @returns one channel of 0 and 255, of the same size
 * @see Canny, "A Computational Approach to Edge Detection", 1986; OpenCV modules/imgproc/src/canny.cpp
 */
export function canny(picture: Bitmap, { low = 100, high = 200 }: CannyOptions = {}): Bitmap {
  const gradients = steepestGradients(picture);
  const ridges = thin(gradients);
  const { width, height } = picture;
  return { width, height, channels: 1, bytes: connect(ridges, { low, high, width }) };
}

function steepestGradients({ width, height, channels, bytes }: Bitmap): Gradients {
  const size = width * height;
  const gradients = {
    width,
    height,
    dx: new Int16Array(size),
    dy: new Int16Array(size),
    magnitude: new Int32Array((width + 2) * (height + 2)),
  };
  for (let y = 0; y < height; y++) {
    const rows = [Math.max(y - 1, 0), y, Math.min(y + 1, height - 1)].map((row) => row * width) as [
      number,
      number,
      number,
    ];
    for (let x = 0; x < width; x++) {
      const columns = [Math.max(x - 1, 0), x, Math.min(x + 1, width - 1)] as [number, number, number];
      for (let channel = 0; channel < channels; channel++) {
        const at = (row: 0 | 1 | 2, column: 0 | 1 | 2) =>
          bytes[channels * (rows[row] + columns[column]) + channel] ?? 0;
        const dx = at(0, 2) - at(0, 0) + 2 * (at(1, 2) - at(1, 0)) + at(2, 2) - at(2, 0);
        const dy = at(2, 0) - at(0, 0) + 2 * (at(2, 1) - at(0, 1)) + at(2, 2) - at(0, 2);
        const magnitude = Math.abs(dx) + Math.abs(dy);
        const bordered = (y + 1) * (width + 2) + x + 1;
        if (channel > 0 && magnitude <= (gradients.magnitude[bordered] ?? 0)) continue;
        gradients.magnitude[bordered] = magnitude;
        gradients.dx[y * width + x] = dx;
        gradients.dy[y * width + x] = dy;
      }
    }
  }
  return gradients;
}

/** Keeps a magnitude that is the greatest across its edge, and zero elsewhere. */
function thin({ width, height, dx, dy, magnitude }: Gradients): Int32Array {
  const ridges = new Int32Array(width * height);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const pixel = y * width + x;
      const bordered = (y + 1) * (width + 2) + x + 1;
      const [before, after] = neighboursAcross(dx[pixel] ?? 0, dy[pixel] ?? 0, width + 2);
      const here = magnitude[bordered] ?? 0;
      const isStraight = Math.abs(before) === 1 || Math.abs(before) === width + 2;
      const [first, second] = [magnitude[bordered + before] ?? 0, magnitude[bordered + after] ?? 0];
      // Of two equal pixels across a straight edge the first is kept; across a slanting one neither.
      if (here > first && (isStraight ? here >= second : here > second)) ridges[pixel] = here;
    }
  }
  return ridges;
}

/** The offsets of the two pixels next to this one in the direction of its gradient. */
function neighboursAcross(dx: number, dy: number, stride: number): [before: number, after: number] {
  const [across, down] = [Math.abs(dx), Math.abs(dy)];
  if (down < TANGENT * across) return [-1, 1];
  if (across < TANGENT * down) return [-stride, stride];
  const slant = dx < 0 === dy < 0 ? 1 : -1;
  return [-stride - slant, stride + slant];
}

/** Grows the ridges above `high` along those above `low`. */
function connect(ridges: Int32Array, { low, high, width }: { low: number; high: number; width: number }): Uint8Array {
  const edges = new Uint8Array(ridges.length);
  const open: number[] = [];
  const keep = (pixel: number, threshold: number) => {
    if (edges[pixel] !== 0 || (ridges[pixel] ?? 0) <= threshold) return;
    edges[pixel] = 255;
    open.push(pixel);
  };
  for (let pixel = 0; pixel < ridges.length; pixel++) keep(pixel, high);
  for (let pixel = open.pop(); pixel !== undefined; pixel = open.pop()) {
    const x = pixel % width;
    for (const row of [-width, 0, width]) {
      if (x > 0) keep(pixel + row - 1, low);
      keep(pixel + row, low);
      if (x < width - 1) keep(pixel + row + 1, low);
    }
  }
  return edges;
}
