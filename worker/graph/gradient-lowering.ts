/** Lowering of the operators that learning adds: matrix products of any orientation, reductions, and Conv's gradients. */
import { type Dim, multiplyDims } from './dim.ts';
import type { Lowering, LowerRules } from './lowering.ts';
import { int, ints } from './onnx-graph.ts';
import type { Value, ValueOf } from './value.ts';

type GradientRules = Pick<
  LowerRules,
  | 'Exp'
  | 'Log'
  | 'Erf'
  | 'Sqrt'
  | 'Softmax'
  | 'Greater'
  | 'MatMul'
  | 'Transpose'
  | 'ReduceSum'
  | 'ConvInputGradient'
  | 'ConvWeightGradient'
  | 'GatherGradient'
>;

export const gradientLowering: GradientRules = {
  Exp: (lowering, { inputs: [x] }) => lowering.node('Exp', [lowering.plain(x)]),
  Log: (lowering, { inputs: [x] }) => lowering.node('Log', [lowering.plain(x)]),
  Erf: (lowering, { inputs: [x] }) => lowering.node('Erf', [lowering.plain(x)]),
  Sqrt: (lowering, { inputs: [x] }) => lowering.node('Sqrt', [lowering.plain(x)]),
  Softmax: (lowering, { inputs: [x] }) => lowering.node('Softmax', [lowering.plain(x)], { axis: int(-1) }),
  Greater: (lowering, { inputs }) =>
    lowering.node(
      'Greater',
      inputs.map((input) => lowering.plain(input)),
    ),
  MatMul: (lowering, { inputs: [a, b], attributes: { transposeA, transposeB } }) => {
    const names = [lowering.plain(a), lowering.plain(b)];
    const [forA, forB] = [int(transposeA ? 1 : 0), int(transposeB ? 1 : 0)];
    return a.shape.length === 2
      ? lowering.node('Gemm', names, { transA: forA, transB: forB })
      : lowering.node('FusedMatMul', names, { transA: forA, transB: forB }, 'com.microsoft');
  },
  Transpose: (lowering, { inputs: [x], attributes: { perm } }) =>
    lowering.node('Transpose', [lowering.plain(x)], { perm: ints(...perm) }),
  ReduceSum: (lowering, { inputs: [x], attributes: { axes } }) => reduceSum(lowering, lowering.plain(x), axes),
  ConvInputGradient: (lowering, value) =>
    isFlipFaster(lowering, value) ? flippedConv(lowering, value) : transposedConv(lowering, value),
  ConvWeightGradient: (lowering, value) => patchProduct(lowering, value),
  GatherGradient: (lowering, { inputs: [cotangent, indices], shape }) => {
    const features = shape.slice(1);
    const zeros = lowering.node('Expand', [lowering.constant([0], [1], cotangent.dtype), lowering.shapeTensor(shape)]);
    const places = lowering.reshape(lowering.plain(indices), [multiplyDims(...indices.shape), 1]);
    const updates = lowering.reshape(lowering.plain(cotangent), [multiplyDims(...indices.shape), ...features]);
    return lowering.node('ScatterND', [zeros, places, updates], { reduction: { type: 'string', value: 'add' } });
  },
};

function reduceSum(lowering: Lowering, x: string, axes: readonly number[]): string {
  return lowering.node('ReduceSum', [x, lowering.constant(axes, [axes.length], 'int64')], { keepdims: int(1) });
}

/**
 * Turning a kernel takes passes over the weights, ConvTranspose takes passes over its products: kH·kW·C for each position. At
 * load, turned copies of the stored kernels of Stable Diffusion 1.5 would take 2 GiB and 20 s for 5 % of a step.
 */
function isFlipFaster(lowering: Lowering, { inputs: [cotangent], attributes }: ValueOf<'ConvInputGradient'>): boolean {
  if (attributes.strides.some((stride) => stride !== 1)) return false;
  const [batch, out, height, width] = cotangent.shape.map((dim) => lowering.typical(dim)) as [
    number,
    number,
    number,
    number,
  ];
  return batch * height * width > out;
}

/**
 * The input gradient of a convolution of stride 1: a convolution with the kernel turned by 180 degrees and its channels
 * exchanged. With padding p of a kernel of k the gradient is padded by k - 1 - p.
 */
function flippedConv(
  lowering: Lowering,
  { inputs: [cotangent, weight], attributes }: ValueOf<'ConvInputGradient'>,
): string {
  const [out, channels, height, width] = weight.shape.map(Number) as [number, number, number, number];
  const exchanged = lowering.node('Transpose', [lowering.plain(weight)], { perm: ints(1, 0, 2, 3) });
  const flipped =
    height === 1 && width === 1 ? exchanged : flipKernel(lowering, exchanged, [channels, out, height, width]);
  const [top, left, bottom, right] = attributes.pads;
  const pads = ints(height - 1 - top, width - 1 - left, height - 1 - bottom, width - 1 - right);
  return lowering.node('Conv', [lowering.plain(cotangent), flipped], { strides: ints(1, 1), pads });
}

/** Takes the taps of [C, M, kH, kW] from the last to the first; a Slice with steps of -1 takes twice as long. */
function flipKernel(lowering: Lowering, weight: string, shape: readonly [number, number, number, number]): string {
  const [channels, out, height, width] = shape;
  const taps = height * width;
  const backwards = lowering.constant(
    Array.from({ length: taps }, (_, i) => taps - 1 - i),
    [taps],
    'int64',
  );
  const kernels = lowering.reshape(weight, [channels, out, taps]);
  return lowering.reshape(lowering.node('Gather', [kernels, backwards], { axis: int(2) }), shape);
}

/** Reads the kernel as it lies; a larger stride leaves gaps between the cotangents, which ConvTranspose fills with zeros. */
function transposedConv(
  lowering: Lowering,
  { inputs: [cotangent, weight], attributes }: ValueOf<'ConvInputGradient'>,
): string {
  const { strides, pads, height, width } = attributes;
  const [kernelHeight, kernelWidth] = weight.shape.slice(2).map(Number) as [number, number];
  const [, , outHeight, outWidth] = cotangent.shape as [Dim, Dim, Dim, Dim];
  // Rows at the bottom and right that no window reached still need their zeros.
  const missing = (size: Dim, out: Dim, stride: number, kernel: number, padding: number) =>
    Number(lowering.resolve(size)) - ((Number(lowering.resolve(out)) - 1) * stride + kernel - padding);
  return lowering.node('ConvTranspose', [lowering.plain(cotangent), lowering.plain(weight)], {
    strides: ints(...strides),
    pads: ints(...pads),
    output_padding: ints(
      missing(height, outHeight, strides[0], kernelHeight, pads[0] + pads[2]),
      missing(width, outWidth, strides[1], kernelWidth, pads[1] + pads[3]),
    ),
  });
}

/**
 * The weight gradient as one matrix product: cotangents [M, N·H·W] times the patches [C·kH·kW, N·H·W] that the kernel saw,
 * transposed. In this order the product is the gradient as it lies in memory.
 */
function patchProduct(
  lowering: Lowering,
  { inputs: [x, cotangent], attributes, shape }: ValueOf<'ConvWeightGradient'>,
): string {
  const [batch, out, height, width] = cotangent.shape as [Dim, Dim, Dim, Dim];
  const positions = multiplyDims(height, width);
  const features = multiplyDims(...shape.slice(1));
  const patches = batchInside(lowering, patchesOf(lowering, x, attributes), [batch, features, positions]);
  const rows = batchInside(lowering, lowering.plain(cotangent), [batch, out, positions]);
  return lowering.reshape(lowering.node('Gemm', [rows, patches], { transB: int(1) }), shape);
}

/** Patches [N·C, kH·kW, H, W] by one kernel per tap that is 1 there and 0 elsewhere. */
function patchesOf(
  lowering: Lowering,
  x: Value,
  { strides, pads, kernel }: ValueOf<'ConvWeightGradient'>['attributes'],
): string {
  const taps = kernel[0] * kernel[1];
  if (taps === 1 && strides.every((stride) => stride === 1)) return lowering.plain(x);
  const [batch, channels, height, width] = x.shape as [Dim, Dim, Dim, Dim];
  const planes = lowering.reshape(lowering.plain(x), [multiplyDims(batch, channels), 1, height, width]);
  const identity = Array.from({ length: taps * taps }, (_, i) => (i % (taps + 1) === 0 ? 1 : 0));
  const picks = lowering.constant(identity, [taps, 1, ...kernel], x.dtype);
  return lowering.node('Conv', [planes, picks], { strides: ints(...strides), pads: ints(...pads) });
}

/** [N, rows, positions], however split, to [rows, N·positions]. */
function batchInside(lowering: Lowering, x: string, [batch, rows, positions]: readonly [Dim, Dim, Dim]): string {
  const isSingle = lowering.resolve(batch) === 1;
  const moved = isSingle
    ? x
    : lowering.node('Transpose', [lowering.reshape(x, [batch, rows, positions])], { perm: ints(1, 0, 2) });
  return lowering.reshape(moved, [rows, multiplyDims(batch, positions)]);
}
