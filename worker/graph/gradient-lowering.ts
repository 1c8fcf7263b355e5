/** Lowering of the operators that learning adds: matrix products of any orientation, reductions, and Conv's gradients. */
import { type Dim, multiplyDims } from './dim.ts';
import type { Lowering, LowerRules } from './lowering.ts';
import { int, ints } from './onnx-graph.ts';
import type { ValueOf } from './value.ts';

type GradientRules = Pick<
  LowerRules,
  | 'Exp'
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
  ConvInputGradient: (lowering, value) => {
    const [strideHeight, strideWidth] = value.attributes.strides;
    return strideHeight === 1 && strideWidth === 1 ? flippedConv(lowering, value) : transposedConv(lowering, value);
  },
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
 * The input gradient of a convolution of stride 1: a convolution with the kernel turned by 180 degrees and its channels
 * exchanged. With padding p of a kernel of k the gradient is padded by k - 1 - p.
 */
function flippedConv(
  lowering: Lowering,
  { inputs: [cotangent, weight], attributes }: ValueOf<'ConvInputGradient'>,
): string {
  const [height, width] = weight.shape.slice(2).map(Number) as [number, number];
  const exchanged = lowering.node('Transpose', [lowering.plain(weight)], { perm: ints(1, 0, 2, 3) });
  const flipped = height === 1 && width === 1 ? exchanged : flipKernel(lowering, exchanged);
  const [top, left, bottom, right] = attributes.pads;
  const pads = ints(height - 1 - top, width - 1 - left, height - 1 - bottom, width - 1 - right);
  return lowering.node('Conv', [lowering.plain(cotangent), flipped], { strides: ints(1, 1), pads });
}

/** Slices with a step of -1 from the last element to before the first. */
function flipKernel(lowering: Lowering, weight: string): string {
  const vector = (value: number) => lowering.constant([value, value], [2], 'int64');
  const axes = lowering.constant([2, 3], [2], 'int64');
  return lowering.node('Slice', [weight, vector(-1), vector(-(2 ** 31)), axes, vector(-1)]);
}

/** A larger stride leaves gaps between the cotangents, which ConvTranspose fills with zeros. */
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
 * The weight gradient as one matrix product: cotangents [M, N·H·W] times the patches [N·H·W, kH·kW·C] that the kernel saw.
 * Patches are slices of the padded input with channels last, so that each copies whole runs of channels.
 */
function patchProduct(
  lowering: Lowering,
  { inputs: [x, cotangent], attributes }: ValueOf<'ConvWeightGradient'>,
): string {
  const { strides, pads, kernel } = attributes;
  const [, channels] = x.shape.map((dim) => Number(lowering.resolve(dim))) as [number, number];
  const [, out, height, width] = cotangent.shape.map((dim) => Number(lowering.resolve(dim))) as [
    number,
    number,
    number,
    number,
  ];
  const last = lowering.node('Transpose', [lowering.plain(x)], { perm: ints(0, 2, 3, 1) });
  const [top, left, bottom, right] = pads;
  const padding = lowering.constant([0, top, left, 0, 0, bottom, right, 0], [8], 'int64');
  const padded = pads.some((pad) => pad > 0) ? lowering.node('Pad', [last, padding]) : last;
  const axes = lowering.constant([1, 2], [2], 'int64');
  const steps = lowering.constant(strides, [2], 'int64');
  const taps = Array.from({ length: kernel[0] * kernel[1] }, (_, tap) => {
    const [row, column] = [Math.floor(tap / kernel[1]), tap % kernel[1]];
    const start = lowering.constant([row, column], [2], 'int64');
    const end = lowering.constant(
      [row + (height - 1) * strides[0] + 1, column + (width - 1) * strides[1] + 1],
      [2],
      'int64',
    );
    return kernel[0] * kernel[1] === 1 && strides[0] === 1 && strides[1] === 1
      ? padded
      : lowering.node('Slice', [padded, start, end, axes, steps]);
  });
  const patches = taps.length === 1 ? taps[0]! : lowering.node('Concat', taps, { axis: int(3) });
  const columns = lowering.reshape(patches, [multiplyDims(x.shape[0]!, height, width), taps.length * channels]);
  const moved = lowering.node('Transpose', [lowering.plain(cotangent)], { perm: ints(0, 2, 3, 1) });
  const rows = lowering.reshape(moved, [multiplyDims(x.shape[0]!, height, width), out]);
  const product = lowering.node('Gemm', [rows, columns], { transA: int(1) });
  const ordered = lowering.reshape(product, [out, kernel[0], kernel[1], channels]);
  return lowering.node('Transpose', [ordered], { perm: ints(0, 3, 1, 2) });
}
