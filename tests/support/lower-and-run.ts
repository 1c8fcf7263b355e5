import { onTestFinished } from 'vitest';
import { type LowerRules, lowerGraph } from '../../worker/graph/lowering.ts';
import { encodeOnnxModel } from '../../worker/graph/onnx-model.ts';
import type { Value } from '../../worker/graph/value.ts';
import { createSession, type Tensor } from '../../worker/runtime/session.ts';
import { floats } from './tiny-models.ts';

/** Lowers a description without parameters by the rules given, and runs it once on the CPU. */
export async function lowerAndRun(
  out: Value,
  rules: LowerRules,
  feeds: Readonly<Record<string, Tensor>>,
): Promise<{ dims: readonly number[]; data: Float32Array }> {
  const findParameter = (_: string, name: string) => {
    throw new Error(`Cannot lower the test's graph: it must have no parameters, got ${name}`);
  };
  const session = await createSession(encodeOnnxModel(lowerGraph({ out }, rules, { findParameter })), {
    device: 'cpu',
    threads: 1,
  });
  onTestFinished(() => session.dispose());
  const { out: result } = await session.run(feeds);
  return { dims: result!.dims, data: floats(result) };
}

export interface Picture {
  /** [N, C, H, W]. */
  readonly dims: readonly number[];
  readonly data: ArrayLike<number>;
}

/** One value of a 3 x 3 convolution with stride 1 and padding 1, in float64. */
export function convolvedAt({ dims, data }: Picture, weight: ArrayLike<number>, at: readonly number[]): number {
  const [, channels, height, width] = dims as [number, number, number, number];
  const [n, m, y, x] = at as [number, number, number, number];
  let sum = 0;
  for (let c = 0; c < channels; c++) {
    for (let tap = 0; tap < 9; tap++) {
      const [row, column] = [y + Math.floor(tap / 3) - 1, x + (tap % 3) - 1];
      if (row < 0 || row >= height || column < 0 || column >= width) continue;
      sum += data[((n * channels + c) * height + row) * width + column]! * weight[(m * channels + c) * 9 + tap]!;
    }
  }
  return sum;
}

/** Largest difference between a result [N, M, H, W] and the float64 convolution at `count` spread positions, over its rms. */
export function convolutionError(
  result: Picture,
  { picture, weight, count }: { picture: Picture; weight: ArrayLike<number>; count: number },
): number {
  const size = result.data.length;
  const stride = Math.max(1, Math.floor(size / count));
  let [largest, squares, compared] = [0, 0, 0];
  for (let i = 0; i < size; i += stride) {
    const expected = convolvedAt(picture, weight, indices(i, result.dims));
    largest = Math.max(largest, Math.abs(result.data[i]! - expected));
    squares += expected ** 2;
    compared++;
  }
  return largest / Math.sqrt(squares / compared);
}

function indices(flat: number, dims: readonly number[]): number[] {
  let rest = flat;
  return dims
    .toReversed()
    .map((dim) => {
      const index = rest % dim;
      rest = Math.floor(rest / dim);
      return index;
    })
    .toReversed();
}
