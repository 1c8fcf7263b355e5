/** The lowering that runs on every execution provider: channels first, standard operators and contrib ones that CPU, WebGPU and CUDA have. */
import { type Dim, equalDims, multiplyDims } from './dim.ts';
import { gradientLowering } from './gradient-lowering.ts';
import type { Lowering, LowerRule, LowerRules } from './lowering.ts';
import { float, int, ints, string } from './onnx-graph.ts';
import type { ConvAttributes, OpName, Value, ValueOf } from './value.ts';

export const portableRules: LowerRules = {
  ...gradientLowering,
  Input: (lowering, { attributes: { name }, dtype }) => (dtype === 'float16' ? lowering.cast(name, dtype) : name),
  Parameter: (lowering, value) => lowering.parameterAs(value, value.dtype),
  Constant: (lowering, { attributes: { values, shape }, dtype }) => lowering.constant(values, shape as number[], dtype),
  Add: binary('Add'),
  Sub: binary('Sub'),
  Mul: binary('Mul'),
  Div: binary('Div'),
  Sigmoid: unary('Sigmoid'),
  Silu: (lowering, { inputs: [x] }) => silu(lowering, lowering.plain(x)),
  Gelu: (lowering, { inputs: [x] }) => lowering.node('Gelu', [lowering.plain(x)], {}, 'com.microsoft'),
  QuickGelu: (lowering, { inputs: [x] }) =>
    lowering.node('QuickGelu', [lowering.plain(x)], { alpha: float(1.702) }, 'com.microsoft'),
  Relu: unary('Relu'),
  Sin: unary('Sin'),
  Cos: unary('Cos'),
  Cast: (lowering, { inputs: [x], attributes: { to } }) => lowering.cast(lowering.plain(x), to),
  Linear: (lowering, { inputs: [x, weight, bias], shape }) =>
    linear(lowering, x, shape, (flat) => gemm(lowering, flat, lowering.plain(weight), bias && lowering.plain(bias))),
  LoraLinear: (lowering, { inputs: [x, weight, enabled, down, up, bias], shape, dtype }) =>
    linear(lowering, x, shape, (flat) => {
      const base = bias ? lowering.plain(bias) : lowering.constant([0], [1], dtype);
      const addend = loraAddend(lowering, flat, { enabled, down, up: lowering.plain(up), base });
      return gemm(lowering, flat, lowering.plain(weight), addend);
    }),
  Conv: (lowering, { inputs: [x, weight, bias], attributes }) =>
    conv(lowering, lowering.plain(x), { weight, bias, attributes }),
  LoraConv: (lowering, value) => {
    const { inputs, attributes } = value;
    const [x, weight, , , , bias] = inputs;
    return addLoraUpdate(lowering, value, conv(lowering, lowering.plain(x), { weight, bias, attributes }));
  },
  GroupNormalization: (lowering, { inputs: [x, weight, bias], attributes, dtype, shape }) => {
    const { numGroups, epsilon, activation } = attributes;
    const source = asFloat32(lowering, x);
    const grouped = lowering.node('Reshape', [source, lowering.constant([0, numGroups, -1], [3], 'int64')]);
    const ones = lowering.constant(Array(numGroups).fill(1), [numGroups], 'float32');
    const zeros = lowering.constant(Array(numGroups).fill(0), [numGroups], 'float32');
    const normalized = lowering.node('InstanceNormalization', [grouped, ones, zeros], { epsilon: float(epsilon) });
    const restored = lowering.node('Reshape', [normalized, lowering.reshapeTensor(shape)]);
    const scaled = lowering.node('Mul', [restored, perChannel(lowering, weight)]);
    const shifted = lowering.node('Add', [scaled, perChannel(lowering, bias)]);
    const activated = activation === 'silu' ? silu(lowering, shifted) : shifted;
    return dtype === 'float16' ? lowering.cast(activated, 'float16') : activated;
  },
  LayerNormalization: (lowering, { inputs: [x, weight, bias], attributes: { epsilon } }) =>
    lowering.node(
      'LayerNormalization',
      [x, weight, bias].map((value) => lowering.plain(value)),
      {
        axis: int(-1),
        epsilon: float(epsilon),
      },
    ),
  Attention: (lowering, value) => attention(lowering, value),
  Geglu: (lowering, { inputs: [x] }) => {
    const [linearHalf, gate] = lowering.nodes('Split', [lowering.plain(x)], {
      attributes: { axis: int(-1), num_outputs: int(2) },
      outputCount: 2,
    });
    return lowering.node('Mul', [linearHalf!, lowering.node('Gelu', [gate!], {}, 'com.microsoft')]);
  },
  ResizeNearest: (lowering, { inputs: [x], shape }) => resizeNearest(lowering, lowering.plain(x), shape),
  AveragePool2x2: (lowering, { inputs: [x] }) =>
    lowering.node('AveragePool', [lowering.plain(x)], {
      kernel_shape: ints(2, 2),
      strides: ints(2, 2),
      ceil_mode: int(1),
      count_include_pad: int(0),
    }),
  PixelUnshuffle: (lowering, { inputs: [x], attributes: { factor }, shape }) => {
    const [batch, , height, width] = shape as [Dim, Dim, Dim, Dim];
    const blocks = lowering.reshape(lowering.plain(x), [batch, x.shape[1]!, height, factor, width, factor]);
    const moved = lowering.node('Transpose', [blocks], { perm: ints(0, 1, 3, 5, 2, 4) });
    return lowering.reshape(moved, shape);
  },
  FlattenSpatial: (lowering, { inputs: [x], shape }) => {
    const [batch, length, channels] = shape as [Dim, Dim, Dim];
    const flat = lowering.reshape(lowering.plain(x), [batch, channels, length]);
    return lowering.node('Transpose', [flat], { perm: ints(0, 2, 1) });
  },
  UnflattenSpatial: (lowering, { inputs: [x], shape }) => {
    const moved = lowering.node('Transpose', [lowering.plain(x)], { perm: ints(0, 2, 1) });
    return lowering.reshape(moved, shape);
  },
  Reshape: (lowering, { inputs: [x], attributes: { shape } }) => lowering.reshape(lowering.plain(x), shape),
  Expand: (lowering, { inputs: [x], attributes: { shape } }) =>
    lowering.node('Expand', [lowering.plain(x), lowering.openShapeTensor(expansion(x.shape, shape))]),
  Concat: (lowering, { inputs, attributes: { axis } }) =>
    lowering.node(
      'Concat',
      inputs.map((input) => lowering.plain(input)),
      { axis: int(axis) },
    ),
  Slice: (lowering, { inputs: [x], attributes: { axis, start, end } }) => {
    const bounds = [
      lowering.shapeTensor([start]),
      lowering.shapeTensor([end]),
      lowering.constant([axis], [1], 'int64'),
    ];
    return lowering.node('Slice', [lowering.plain(x), ...bounds]);
  },
  Gather: (lowering, { inputs: [table, indices] }) =>
    lowering.node('Gather', [lowering.plain(table), lowering.plain(indices)], { axis: int(0) }),
  Where: (lowering, { inputs }) =>
    lowering.node(
      'Where',
      inputs.map((input) => lowering.plain(input)),
    ),
  ReduceMean: (lowering, { inputs: [x], attributes: { axes } }) =>
    lowering.node('ReduceMean', [lowering.plain(x), lowering.constant(axes, [axes.length], 'int64')], {
      keepdims: int(1),
    }),
};

/** The shape to give to Expand: 1 where the size stays. */
function expansion(from: readonly Dim[], to: readonly Dim[]): Dim[] {
  const added = to.length - from.length;
  return to.map((dim, i) => (i >= added && equalDims(dim, from[i - added]!) ? 1 : dim));
}

/** Resize on [N, C, H, W], or on any other axis order when `shape` is given in that order. */
export function resizeNearest(lowering: Lowering, x: string, shape: readonly Dim[]): string {
  return lowering.node('Resize', [x, '', '', lowering.openShapeTensor(shape)], {
    mode: string('nearest'),
    coordinate_transformation_mode: string('asymmetric'),
    nearest_mode: string('floor'),
  });
}

export function attention(
  lowering: Lowering,
  { inputs, attributes: { numHeads, isCausal } }: ValueOf<'Attention'>,
): string {
  const [query, key, value, bias] = inputs;
  const bias4d = bias && expandBias(lowering, bias, [query.shape[1]!, key.shape[1]!]);
  return lowering.node(
    'MultiHeadAttention',
    [...[query, key, value].map((input) => lowering.plain(input)), ...(bias4d === undefined ? [] : ['', '', bias4d])],
    { num_heads: int(numHeads), ...(isCausal && { unidirectional: int(1) }) },
    'com.microsoft',
  );
}

/** The operator broadcasts its bias over batch and heads only. */
function expandBias(lowering: Lowering, bias: Value, scores: readonly [Dim, Dim]): string {
  const [batch, heads, ...last] = bias.shape as [Dim, Dim, Dim, Dim];
  const isWhole = last.every((dim, i) => equalDims(dim, scores[i]!));
  return isWhole
    ? lowering.plain(bias)
    : lowering.node('Expand', [lowering.plain(bias), lowering.shapeTensor([batch, heads, ...scores])]);
}

/** A [C] parameter shaped to broadcast over [N, C, H, W]; folded at load. */
function perChannel(lowering: Lowering, value: Value): string {
  const vector = value.op === 'Parameter' ? lowering.parameterAs(value, 'float32') : asFloat32(lowering, value);
  return lowering.reshape(vector, [value.shape[0]!, 1, 1]);
}

function asFloat32(lowering: Lowering, value: Value): string {
  return value.dtype === 'float32' ? lowering.plain(value) : lowering.cast(lowering.plain(value), 'float32');
}

/** QuickGelu with alpha 1 is x·sigmoid(x) in one pass over memory instead of two. */
function silu(lowering: Lowering, x: string): string {
  return lowering.node('QuickGelu', [x], { alpha: float(1) }, 'com.microsoft');
}

export function linear(lowering: Lowering, x: Value, shape: readonly Dim[], product: (flat: string) => string): string {
  if (x.shape.length === 2) return product(lowering.plain(x));
  const features = x.shape.at(-1)!;
  const flat = lowering.reshape(lowering.plain(x), [multiplyDims(...x.shape.slice(0, -1)), features]);
  return lowering.reshape(product(flat), shape);
}

/** a [M, in] times weight [out, in] transposed, plus what broadcasts to [M, out]. */
export function gemm(lowering: Lowering, a: string, weight: string, addend?: string): string {
  return lowering.node('Gemm', addend === undefined ? [a, weight] : [a, weight, addend], { transB: int(1) });
}

/**
 * Low-rank update of a Linear as its Gemm's addend: `base` plus (x·downᵀ)·upᵀ.
 * Where the update is off, the addend is the bias and nothing is paid.
 */
export function loraAddend(
  lowering: Lowering,
  flat: string,
  { enabled, down, up, base }: { enabled: Value; down: Value; up: string; base: string },
): string {
  return lowering.ifElse(lowering.plain(enabled), down.dtype, {
    ifTrue: () => gemm(lowering, gemm(lowering, flat, lowering.plain(down)), up, base),
    ifFalse: () => base,
  });
}

/** The result `base` of a convolution plus its low-rank update, which is computed only where it is enabled. */
export function addLoraUpdate(
  lowering: Lowering,
  { inputs: [x, , enabled, down, up], attributes, dtype }: ValueOf<'LoraConv'>,
  base: string,
): string {
  const update = lowering.ifElse(lowering.plain(enabled), dtype, {
    ifTrue: () => {
      const low = conv(lowering, lowering.plain(x), { weight: down, bias: undefined, attributes });
      return conv(lowering, low, { weight: up, bias: undefined, attributes: POINTWISE });
    },
    ifFalse: () => lowering.constant([0], [1, 1, 1, 1], dtype),
  });
  return lowering.node('Add', [base, update]);
}

const POINTWISE: ConvAttributes = { strides: [1, 1], pads: [0, 0, 0, 0] };

export interface Convolution {
  readonly weight: Value;
  readonly bias: Value | undefined;
  readonly attributes: ConvAttributes;
}

export function conv(lowering: Lowering, x: string, { weight, bias, attributes }: Convolution): string {
  const inputs = [x, lowering.plain(weight), ...(bias ? [lowering.plain(bias)] : [])];
  return lowering.node('Conv', inputs, { strides: ints(...attributes.strides), pads: ints(...attributes.pads) });
}

type UnaryOp = 'Sigmoid' | 'Relu' | 'Sin' | 'Cos';
type BinaryOp = 'Add' | 'Sub' | 'Mul' | 'Div';

function unary<Op extends UnaryOp & OpName>(op: Op): LowerRule<UnaryOp> {
  return (lowering, { inputs: [x] }) => lowering.node(op, [lowering.plain(x)]);
}

function binary<Op extends BinaryOp & OpName>(op: Op): LowerRule<BinaryOp> {
  return (lowering, { inputs: [a, b] }) => lowering.node(op, [lowering.plain(a), lowering.plain(b)]);
}
