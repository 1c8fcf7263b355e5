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

function steepestGradients(picture: Bitmap): Gradients {
  const { width, height, channels, bytes } = picture;
  const size = width * height;
  const dx = new Int16Array(size);
  const dy = new Int16Array(size);
  const magnitude = new Int32Array((width + 2) * (height + 2));
  for (let y = 0; y < height; y++) {
    const above = Math.max(y - 1, 0) * width;
    const below = Math.min(y + 1, height - 1) * width;
    for (let x = 0; x < width; x++) {
      const left = Math.max(x - 1, 0);
      const right = Math.min(x + 1, width - 1);
      const bordered = (y + 1) * (width + 2) + x + 1;
      for (let channel = 0; channel < channels; channel++) {
        const slant = bytes[channels * (below + right) + channel]! - bytes[channels * (above + left) + channel]!;
        const counter = bytes[channels * (above + right) + channel]! - bytes[channels * (below + left) + channel]!;
        const row = bytes[channels * (y * width + right) + channel]! - bytes[channels * (y * width + left) + channel]!;
        const column = bytes[channels * (below + x) + channel]! - bytes[channels * (above + x) + channel]!;
        const across = slant + counter + 2 * row;
        const down = slant - counter + 2 * column;
        const steepness = Math.abs(across) + Math.abs(down);
        if (channel > 0 && steepness <= magnitude[bordered]!) continue;
        magnitude[bordered] = steepness;
        dx[y * width + x] = across;
        dy[y * width + x] = down;
      }
    }
  }
  return { width, height, dx, dy, magnitude };
}

/** Keeps a magnitude that is the greatest across its edge, and zero elsewhere. */
function thin({ width, height, dx, dy, magnitude }: Gradients): Int32Array {
  const ridges = new Int32Array(width * height);
  const stride = width + 2;
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const pixel = y * width + x;
      const bordered = (y + 1) * stride + x + 1;
      const here = magnitude[bordered]!;
      if (here === 0) continue;
      const offset = offsetAcross(dx[pixel]!, dy[pixel]!, stride);
      const isStraight = offset === 1 || offset === stride;
      const after = magnitude[bordered + offset]!;
      // Of two equal pixels across a straight edge the first is kept; across a slanting one neither.
      if (here > magnitude[bordered - offset]! && (isStraight ? here >= after : here > after)) ridges[pixel] = here;
    }
  }
  return ridges;
}

/** From a pixel to the next one in the direction of its gradient, to the right or downwards. */
function offsetAcross(dx: number, dy: number, stride: number): number {
  const [across, down] = [Math.abs(dx), Math.abs(dy)];
  if (down < TANGENT * across) return 1;
  if (across < TANGENT * down) return stride;
  return dx < 0 === dy < 0 ? stride + 1 : stride - 1;
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
