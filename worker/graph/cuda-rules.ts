/** The lowering for CUDA: channels last, with fused operators of which some have no kernel on other devices. */
import { type Dim, equalDims } from './dim.ts';
import type { Lowered, Lowering, LowerRule, LowerRules } from './lowering.ts';
import { float, int, ints } from './onnx-graph.ts';
import { type Convolution, portableRules, resizeNearest } from './portable-rules.ts';
import type { ConvAttributes, Value, ValueOf } from './value.ts';

/** Half widths that the kernel of BiasSplitGelu has been compiled for. */
export const BIAS_SPLIT_GELU_WIDTHS: readonly number[] = [1280, 2560, 3072, 5120, 6144];
/** Channels of one block of threads of the kernel of GroupNorm: a group must fit in. */
export const GROUP_NORM_MAX_CHANNELS_PER_GROUP = 512;

/**
 * Rules for networks that run on CUDA only. Attention is the portable MultiHeadAttention, in float16 also where the
 * configuration says upcast_attention: on compute capability 8.0 and newer it runs as flash attention, and with an
 * attention bias or wide heads as memory-efficient attention, both of which keep q·k and the softmax in float32
 * registers. Scaling q beforehand and setting `scale` to 1 is no remedy on older cards: their fused kernel for at most
 * 128 keys always divides by √d.
 */
export const cudaRules: LowerRules = {
  ...portableRules,
  Add: (lowering, value) =>
    skipGroupNorm(lowering, value) ??
    skipLayerNormalization(lowering, value) ??
    biasAdd(lowering, value) ??
    elementwise('Add')(lowering, value),
  Sub: elementwise('Sub'),
  Mul: elementwise('Mul'),
  Div: elementwise('Div'),
  Sigmoid: unary((lowering, x) => lowering.node('Sigmoid', [x])),
  Silu: unary((lowering, x) => lowering.node('QuickGelu', [x], { alpha: float(1) }, 'com.microsoft')),
  Relu: unary((lowering, x) => lowering.node('Relu', [x])),
  Cast: (lowering, value) => unary((_, x) => lowering.cast(x, value.attributes.to))(lowering, value),
  Conv: (lowering, { inputs: [x, weight, bias], attributes }) => ({
    channelsLast: conv(lowering, lowering.channelsLast(x), { weight, bias, attributes }),
  }),
  LoraConv: (lowering, { inputs: [x, weight, enabled, down, up, bias], attributes, dtype }) => {
    // Named before the branch is emitted: what is emitted inside a branch is not known outside.
    const source = lowering.channelsLast(x);
    const update = lowering.ifElse(lowering.plain(enabled), dtype, {
      ifTrue: () => {
        const low = conv(lowering, source, { weight: down, bias: undefined, attributes });
        return conv(lowering, low, { weight: up, bias: undefined, attributes: POINTWISE });
      },
      ifFalse: () => lowering.constant([0], [1, 1, 1, 1], dtype),
    });
    return { channelsLast: lowering.node('Add', [conv(lowering, source, { weight, bias, attributes }), update]) };
  },
  GroupNormalization: (lowering, value) => {
    const parameters = groupNormParameters(lowering, value);
    if (!parameters) return portableRules.GroupNormalization(lowering, value);
    const inputs = [lowering.channelsLast(value.inputs[0]), ...parameters];
    return { channelsLast: lowering.node('GroupNorm', inputs, groupNormAttributes(value), 'com.microsoft') };
  },
  Geglu: (lowering, value) => {
    const [x] = value.inputs;
    const projection = biasedProduct(lowering, x);
    if (!projection || x.shape.length !== 3 || !BIAS_SPLIT_GELU_WIDTHS.includes(Number(value.shape[2]))) {
      return portableRules.Geglu(lowering, value);
    }
    return lowering.node('BiasSplitGelu', productAndBias(lowering, projection), {}, 'com.microsoft');
  },
  ResizeNearest: (lowering, value) => {
    const [x] = value.inputs;
    if (!lowering.isChannelsLast(x)) return portableRules.ResizeNearest(lowering, value);
    return { channelsLast: resizeNearest(lowering, lowering.channelsLast(x), channelsLastShape(value)) };
  },
  FlattenSpatial: (lowering, { inputs: [x], shape }) => lowering.reshape(lowering.channelsLast(x), shape),
  UnflattenSpatial: (lowering, value) => ({
    channelsLast: lowering.reshape(lowering.plain(value.inputs[0]), channelsLastShape(value)),
  }),
  Concat: (lowering, value) => {
    const { inputs, attributes } = value;
    if (!inputs.some((input) => lowering.isChannelsLast(input))) return portableRules.Concat(lowering, value);
    const names = inputs.map((input) => lowering.channelsLast(input));
    return { channelsLast: lowering.node('Concat', names, { axis: int(CHANNELS_LAST_AXES[attributes.axis]!) }) };
  },
  Slice: (lowering, value) => {
    const { inputs, attributes } = value;
    if (!lowering.isChannelsLast(inputs[0])) return portableRules.Slice(lowering, value);
    const bounds = [
      lowering.shapeTensor([attributes.start]),
      lowering.shapeTensor([attributes.end]),
      lowering.constant([CHANNELS_LAST_AXES[attributes.axis]!], [1], 'int64'),
    ];
    return { channelsLast: lowering.node('Slice', [lowering.channelsLast(inputs[0]), ...bounds]) };
  },
  ReduceMean: (lowering, value) => {
    const { inputs, attributes } = value;
    if (!lowering.isChannelsLast(inputs[0])) return portableRules.ReduceMean(lowering, value);
    const axes = attributes.axes.map((axis) => CHANNELS_LAST_AXES[axis]!);
    const operands = [lowering.channelsLast(inputs[0]), lowering.constant(axes, [axes.length], 'int64')];
    return { channelsLast: lowering.node('ReduceMean', operands, { keepdims: int(1) }) };
  },
};

/** Where each axis of [N, C, H, W] lies in [N, H, W, C]. */
const CHANNELS_LAST_AXES = [0, 3, 1, 2];

function channelsLastShape({ shape: [batch, channels, height, width] }: Value): Dim[] {
  return [batch!, height!, width!, channels!];
}

/** Computes the sum and the group norm that reads it at once: y = GroupNorm(s), s = x + skip. */
function skipGroupNorm(lowering: Lowering, sum: ValueOf<'Add'>): Lowered | undefined {
  const norm = lowering.usersOf(sum).find((user) => user.op === 'GroupNormalization');
  if (norm?.op !== 'GroupNormalization') return undefined;
  const parameters = groupNormParameters(lowering, norm);
  const x = sum.inputs.find((operand) => sameShape(operand.shape, sum.shape));
  const skip = sum.inputs.find((operand) => operand !== x) ?? x;
  if (!parameters || !x || !skip) return undefined;
  const isPerChannel = sameShape(skip.shape, [...sum.shape.slice(0, 2), 1, 1]);
  if (!isPerChannel && !sameShape(skip.shape, sum.shape)) return undefined;
  const inputs = [lowering.channelsLast(x), ...parameters, pixels(lowering, skip)];
  const [normalized, total] = lowering.nodes('SkipGroupNorm', inputs, {
    attributes: groupNormAttributes(norm),
    domain: 'com.microsoft',
    outputCount: 2,
  });
  lowering.settle(norm, { channelsLast: normalized! });
  return { channelsLast: total! };
}

/**
 * Scale and shift, which the kernel reads as float32 whatever x is; undefined where it cannot take the node. Each of its
 * threads normalizes two neighbouring channels, which must be of one group.
 */
function groupNormParameters(
  lowering: Lowering,
  { inputs: [x, weight, bias], attributes: { numGroups } }: ValueOf<'GroupNormalization'>,
): string[] | undefined {
  const channelsPerGroup = Number(x.shape[1]) / numGroups;
  const fits = channelsPerGroup % 2 === 0 && channelsPerGroup <= GROUP_NORM_MAX_CHANNELS_PER_GROUP;
  if (!fits || weight.op !== 'Parameter' || bias.op !== 'Parameter') return undefined;
  return [weight, bias].map((parameter) => lowering.parameterAs(parameter, 'float32'));
}

function groupNormAttributes({ attributes }: ValueOf<'GroupNormalization'>) {
  return {
    groups: int(attributes.numGroups),
    epsilon: float(attributes.epsilon),
    activation: int(attributes.activation === 'silu' ? 1 : 0),
    channels_last: int(1),
  };
}

/** Computes the sum and the layer norm that reads it at once, and the bias of a projection in the sum with them. */
function skipLayerNormalization(lowering: Lowering, sum: ValueOf<'Add'>): Lowered | undefined {
  const norm = lowering.usersOf(sum).find((user) => user.op === 'LayerNormalization');
  if (norm?.op !== 'LayerNormalization' || !isResidualSum(sum)) return undefined;
  const [, weight, bias] = norm.inputs;
  if (weight.op !== 'Parameter' || bias.op !== 'Parameter') return undefined;
  const { x, skip, projectionBias } = residualOperands(lowering, sum);
  const parameters = [weight, bias].map((value) => lowering.parameterAs(value, value.dtype));
  const inputs = [x, skip, ...parameters, ...(projectionBias === undefined ? [] : [projectionBias])];
  // The second and third output are for training.
  const [normalized, , , total] = lowering.nodes('SkipLayerNormalization', inputs, {
    attributes: { epsilon: float(norm.attributes.epsilon) },
    domain: 'com.microsoft',
    outputCount: 4,
  });
  lowering.settle(norm, { plain: normalized! });
  return { plain: total! };
}

/** Adds the bias of a projection together with the residual. */
function biasAdd(lowering: Lowering, sum: ValueOf<'Add'>): Lowered | undefined {
  if (!isResidualSum(sum)) return undefined;
  const { x, skip, projectionBias } = residualOperands(lowering, sum);
  if (projectionBias === undefined) return undefined;
  return { plain: lowering.node('BiasAdd', [x, projectionBias, skip], {}, 'com.microsoft') };
}

/** The kernels of residual sums take [N, S, C] and broadcast nothing. */
function isResidualSum({ inputs, shape }: ValueOf<'Add'>): boolean {
  return shape.length === 3 && inputs.every((operand) => sameShape(operand.shape, shape));
}

/** The operands of a sum; the bias of a projection is given apart, because Gemm would add it in a pass of its own. */
function residualOperands(lowering: Lowering, { inputs: [a, b] }: ValueOf<'Add'>) {
  for (const [operand, other] of [
    [a, b],
    [b, a],
  ] as const) {
    const projection = biasedProduct(lowering, operand);
    if (!projection) continue;
    const [x, projectionBias] = productAndBias(lowering, projection);
    return { x, projectionBias, skip: lowering.plain(other) };
  }
  return { x: lowering.plain(a), projectionBias: undefined, skip: lowering.plain(b) };
}

interface BiasedProduct {
  /** The same operator without its bias. */
  readonly product: Value;
  readonly bias: Value;
}

/** Takes the bias off a linear layer that nobody else reads. */
function biasedProduct(lowering: Lowering, value: Value): BiasedProduct | undefined {
  if (lowering.usersOf(value).length > 1) return undefined;
  if (value.op === 'Linear') {
    const [x, weight, bias] = value.inputs;
    return bias && { product: { ...value, inputs: [x, weight] }, bias };
  }
  if (value.op === 'LoraLinear') {
    const [x, weight, enabled, down, up, bias] = value.inputs;
    return bias && { product: { ...value, inputs: [x, weight, enabled, down, up] }, bias };
  }
  return undefined;
}

function productAndBias(lowering: Lowering, { product, bias }: BiasedProduct): [product: string, bias: string] {
  return [lowering.plain(lowering.derive(product)), lowering.plain(bias)];
}

const POINTWISE: ConvAttributes = { strides: [1, 1], pads: [0, 0, 0, 0] };

/** x [N, H, W, C] with weight [M, C, kH, kW], which the operator wants as [M, kH, kW, C]; folded at load. */
function conv(lowering: Lowering, x: string, { weight, bias, attributes: { strides, pads } }: Convolution): string {
  const kernel = lowering.node('Transpose', [lowering.plain(weight)], { perm: ints(0, 2, 3, 1) });
  const attributes = {
    kernel_shape: ints(...weight.shape.slice(2).map(Number)),
    strides: ints(...strides),
    pads: ints(...pads),
    dilations: ints(1, 1),
    group: int(1),
  };
  const inputs = [x, kernel, ...(bias ? [lowering.plain(bias)] : [])];
  return lowering.node('NhwcConv', inputs, attributes, 'com.microsoft');
}

function unary<Op extends 'Sigmoid' | 'Silu' | 'Relu' | 'Cast'>(
  emit: (lowering: Lowering, x: string) => string,
): (lowering: Lowering, value: ValueOf<Op>) => string | Lowered {
  return (lowering, { inputs: [x] }) =>
    lowering.isChannelsLast(x)
      ? { channelsLast: emit(lowering, lowering.channelsLast(x)) }
      : emit(lowering, lowering.plain(x));
}

type BinaryOp = 'Add' | 'Sub' | 'Mul' | 'Div';

function elementwise<Op extends BinaryOp>(op: Op): LowerRule<BinaryOp> {
  return (lowering, { inputs }) => {
    const isChannelsLast =
      inputs.some((input) => lowering.isChannelsLast(input)) &&
      inputs.every(({ shape }) => [0, 4].includes(shape.length));
    if (!isChannelsLast) {
      return lowering.node(
        op,
        inputs.map((input) => lowering.plain(input)),
      );
    }
    return {
      channelsLast: lowering.node(
        op,
        inputs.map((input) => (input.shape.length === 0 ? lowering.plain(input) : pixels(lowering, input))),
      ),
    };
  };
}

/** Name of the value as [N, H, W, C]; one pixel is moved there without a transpose. */
function pixels(lowering: Lowering, value: Value): string {
  const [, , height, width] = value.shape;
  if (lowering.isChannelsLast(value) || height !== 1 || width !== 1) return lowering.channelsLast(value);
  return lowering.reshape(lowering.plain(value), channelsLastShape(value));
}

function sameShape(a: readonly Dim[], b: readonly Dim[]): boolean {
  return a.length === b.length && a.every((dim, i) => equalDims(dim, b[i]!));
}
