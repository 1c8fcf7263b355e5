/**
 * A 3 x 3 convolution of a picture doubled by nearest neighbour, computed on the small picture: each of the four
 * positions inside a doubled pixel sees only 2 x 2 source pixels, which takes 4/9 of the products.
 */
import { type Dim, equalDims, multiplyDims } from './dim.ts';
import type { Lowering } from './lowering.ts';
import { int, ints, string } from './onnx-graph.ts';
import type { Convolution } from './portable-rules.ts';
import type { Value, ValueOf } from './value.ts';

/** Which taps of a 3-tap kernel fall on each of the 2 source pixels, for the first and the second half of a pixel. */
const TAPS: readonly (readonly (readonly number[])[])[] = [
  [[0], [1, 2]],
  [[0, 1], [2]],
];

/** Whether a value is twice its source in both axes, by its description. */
export function isDoubled(lowering: Lowering, value: Value): value is ValueOf<'ResizeNearest'> {
  if (value.op !== 'ResizeNearest') return false;
  const source = value.inputs[0].shape;
  return [2, 3].every((axis) =>
    equalDims(lowering.resolve(value.shape[axis]!), lowering.resolve(multiplyDims(2, source[axis]!))),
  );
}

/**
 * Emits a 3 x 3 convolution of stride 1 and padding 1 of a doubled picture.
 * The sums of taps are of constants only: ONNX Runtime folds them at load, to 16/9 of the memory.
 */
export function upsamplingConv(
  lowering: Lowering,
  { inputs: [source] }: ValueOf<'ResizeNearest'>,
  { weight, bias }: Convolution,
): string {
  const [outChannels, channels] = weight.shape as [Dim, Dim];
  const kernels = lowering.reshape(lowering.plain(weight), [multiplyDims(outChannels, channels), 9]);
  const positions = [0, 1].flatMap((row) =>
    [0, 1].map((column) => {
      const sums = lowering.node('Gemm', [kernels, lowering.constant(tapSums(row, column), [9, 4], 'float32')]);
      const inputs = [lowering.plain(source), lowering.reshape(sums, [outChannels, channels, 2, 2])];
      const pads = ints(1 - row, 1 - column, row, column);
      return lowering.node('Conv', bias ? [...inputs, lowering.plain(bias)] : inputs, { pads });
    }),
  );
  const joined = lowering.node('Concat', positions, { axis: int(1) });
  return lowering.node('DepthToSpace', [joined], { blocksize: int(2), mode: string('DCR') });
}

/** The [9, 4] matrix from the taps of a kernel to their sums per source pixel. */
function tapSums(row: number, column: number): number[] {
  return [0, 1, 2].flatMap((y) =>
    [0, 1, 2].flatMap((x) =>
      TAPS[row]!.flatMap((ys) => TAPS[column]!.map((xs) => (ys.includes(y) && xs.includes(x) ? 1 : 0))),
    ),
  );
}
