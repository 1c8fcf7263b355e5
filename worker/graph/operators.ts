/** Builder functions: one per operator, from values to the value that the operator computes. */
import type { Dim } from './dim.ts';
import { shapeRules } from './shape-rules.ts';
import type { TensorType, Value, ValueOf } from './value.ts';
import { type Attributes, type ConvAttributes, type Dtype, GraphError, type Inputs, type OpName } from './value.ts';

/**
 * Makes the node for an operator.
 * @throws GraphError that names the operator and the rule that the inputs break
 */
export function apply<Op extends OpName>(op: Op, inputs: Inputs<Op>, attributes: Attributes<Op>): Value {
  try {
    const { shape, dtype } = shapeRules[op](inputs, attributes);
    // The mapped union cannot be built from a generic member without this: the fields agree by construction.
    return { op, inputs, attributes, shape, dtype } satisfies ValueOf<Op> as unknown as Value;
  } catch (error) {
    if (error instanceof GraphError) throw new GraphError(`cannot apply ${op}: ${error.rule}`);
    throw error;
  }
}

export function input(name: string, type: TensorType): Value {
  return apply('Input', [], { name, ...type });
}

export function constant(values: readonly number[], shape: readonly number[], dtype: Dtype): Value {
  return apply('Constant', [], { values, shape, dtype });
}

/** A constant scalar of the same dtype as `like`. */
export function scalar(value: number, like: Value): Value {
  return constant([value], [], like.dtype);
}

export const add = (a: Value, b: Value): Value => apply('Add', [a, b], {});
export const sub = (a: Value, b: Value): Value => apply('Sub', [a, b], {});
export const mul = (a: Value, b: Value): Value => apply('Mul', [a, b], {});
export const div = (a: Value, b: Value): Value => apply('Div', [a, b], {});
export const sigmoid = (x: Value): Value => apply('Sigmoid', [x], {});
export const silu = (x: Value): Value => apply('Silu', [x], {});
export const gelu = (x: Value): Value => apply('Gelu', [x], {});
export const quickGelu = (x: Value): Value => apply('QuickGelu', [x], {});
export const relu = (x: Value): Value => apply('Relu', [x], {});
export const sin = (x: Value): Value => apply('Sin', [x], {});
export const cos = (x: Value): Value => apply('Cos', [x], {});
export const exp = (x: Value): Value => apply('Exp', [x], {});
export const log = (x: Value): Value => apply('Log', [x], {});
export const erf = (x: Value): Value => apply('Erf', [x], {});
export const sqrt = (x: Value): Value => apply('Sqrt', [x], {});
export const softmax = (x: Value): Value => apply('Softmax', [x], {});
export const greater = (a: Value, b: Value): Value => apply('Greater', [a, b], {});
export const matMul = (a: Value, b: Value, attributes: Attributes<'MatMul'>): Value =>
  apply('MatMul', [a, b], attributes);
export const geglu = (x: Value): Value => apply('Geglu', [x], {});

/** The same value, marked as the end of a block: what a backward pass keeps where it computes activations again. */
export const endBlock = (x: Value): Value => ({ ...x, endsBlock: true });

/** Returns `x` itself where the dtype is already the one asked for. */
export const cast = (x: Value, to: Dtype): Value => (x.dtype === to ? x : apply('Cast', [x], { to }));

export const linear = (x: Value, weight: Value, bias?: Value): Value =>
  apply('Linear', bias ? [x, weight, bias] : [x, weight], {});

export const conv = (x: Value, weight: Value, bias: Value | undefined, attributes: ConvAttributes): Value =>
  apply('Conv', bias ? [x, weight, bias] : [x, weight], attributes);

/** The fed factors of a low-rank update: see LoraLinear and LoraConv in value.ts. */
export interface LoraFactors {
  /** Undefined where the update is always on, as it is while it learns. */
  readonly enabled?: Value;
  readonly down: Value;
  readonly up: Value;
}

export function loraLinear(
  x: Value,
  weight: Value,
  bias: Value | undefined,
  { enabled, down, up }: LoraFactors,
): Value {
  return enabled === undefined
    ? add(linear(x, weight, bias), linear(linear(x, down), up))
    : apply('LoraLinear', withBias([x, weight, enabled, down, up], bias), {});
}

export function loraConv(
  x: Value,
  weight: Value,
  bias: Value | undefined,
  { lora: { enabled, down, up }, ...attributes }: ConvAttributes & { lora: LoraFactors },
): Value {
  return enabled === undefined
    ? add(conv(x, weight, bias, attributes), conv(conv(x, down, undefined, attributes), up, undefined, POINTWISE))
    : apply('LoraConv', withBias([x, weight, enabled, down, up], bias), attributes);
}

const POINTWISE: ConvAttributes = { strides: [1, 1], pads: [0, 0, 0, 0] };

export const groupNormalization = (
  x: Value,
  weight: Value,
  bias: Value,
  attributes: Attributes<'GroupNormalization'>,
): Value => apply('GroupNormalization', [x, weight, bias], attributes);

export const layerNormalization = (x: Value, weight: Value, bias: Value, epsilon: number): Value =>
  apply('LayerNormalization', [x, weight, bias], { epsilon });

/** @param options.bias added to the scores, broadcast to [N, numHeads, S, T] */
export const attention = (
  query: Value,
  key: Value,
  value: Value,
  { bias, numHeads, isCausal = false }: { bias?: Value | undefined; numHeads: number; isCausal?: boolean },
): Value => apply('Attention', bias ? [query, key, value, bias] : [query, key, value], { numHeads, isCausal });

export const resizeNearest = (x: Value, height: Dim, width: Dim): Value =>
  apply('ResizeNearest', [x], { height, width });
export const averagePool2x2 = (x: Value): Value => apply('AveragePool2x2', [x], {});
export const pixelUnshuffle = (x: Value, factor: number): Value => apply('PixelUnshuffle', [x], { factor });
export const flattenSpatial = (x: Value): Value => apply('FlattenSpatial', [x], {});
export const unflattenSpatial = (x: Value, height: Dim, width: Dim): Value =>
  apply('UnflattenSpatial', [x], { height, width });
export const reshape = (x: Value, shape: readonly Dim[]): Value => apply('Reshape', [x], { shape });
export const transpose = (x: Value, perm: readonly number[]): Value => apply('Transpose', [x], { perm });
export const expand = (x: Value, shape: readonly Dim[]): Value => apply('Expand', [x], { shape });
export const concat = (inputs: readonly Value[], axis: number): Value => apply('Concat', [...inputs], { axis });
export const slice = (x: Value, axis: number, [start, end]: readonly [Dim, Dim]): Value =>
  apply('Slice', [x], { axis, start, end });
export const gather = (table: Value, indices: Value): Value => apply('Gather', [table, indices], {});
export const where = (condition: Value, a: Value, b: Value): Value => apply('Where', [condition, a, b], {});
export const reduceMean = (x: Value, axes: readonly number[]): Value => apply('ReduceMean', [x], { axes });

export const reduceSum = (x: Value, axes: readonly number[]): Value => apply('ReduceSum', [x], { axes });

export const convInputGradient = (
  cotangent: Value,
  weight: Value,
  attributes: Attributes<'ConvInputGradient'>,
): Value => apply('ConvInputGradient', [cotangent, weight], attributes);

export const convWeightGradient = (x: Value, cotangent: Value, attributes: Attributes<'ConvWeightGradient'>): Value =>
  apply('ConvWeightGradient', [x, cotangent], attributes);

export const gatherGradient = (cotangent: Value, indices: Value, rows: number): Value =>
  apply('GatherGradient', [cotangent, indices], { rows });

type Five = [x: Value, weight: Value, enabled: Value, down: Value, up: Value];

function withBias(inputs: Five, bias: Value | undefined): Five | [...Five, bias: Value] {
  return bias ? [...inputs, bias] : inputs;
}
