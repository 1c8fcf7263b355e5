/** The lowering for the CPU: the portable one, with fewer products in convolutions and fewer passes over memory. */
import type { Dim } from './dim.ts';
import type { Lowering, LowerRules } from './lowering.ts';
import { addLoraUpdate, type Convolution, conv, gemm, linear, loraAddend, portableRules } from './portable-rules.ts';
import { isDoubled, upsamplingConv } from './upsampling-conv.ts';
import type { Value, ValueOf } from './value.ts';
import { keepsSize3x3, winogradConv } from './winograd.ts';

export const cpuRules: LowerRules = {
  ...portableRules,
  Conv: (lowering, { inputs: [x, weight, bias], attributes }) => fastConv(lowering, x, { weight, bias, attributes }),
  LoraConv: (lowering, value) => {
    const { inputs, attributes } = value;
    const [x, weight, , , , bias] = inputs;
    return addLoraUpdate(lowering, value, fastConv(lowering, x, { weight, bias, attributes }));
  },
  Geglu: (lowering, value) => {
    const [projected] = value.inputs;
    // A backward pass reads the whole projection, which would then be computed twice.
    const isOnlyUser = lowering.usersOf(projected).length === 1;
    return isOnlyUser && (projected.op === 'Linear' || projected.op === 'LoraLinear')
      ? projectedGeglu(lowering, projected, value.shape)
      : portableRules.Geglu(lowering, value);
  },
};

/** Projects the two halves apart, with halves of the weight as they lie on the disk: nothing has to be split. */
function projectedGeglu(
  lowering: Lowering,
  projected: ValueOf<'Linear'> | ValueOf<'LoraLinear'>,
  shape: readonly Dim[],
): string {
  const features = Number(shape.at(-1));
  return linear(lowering, projected.inputs[0], shape, (flat) => {
    const linearHalf = projectRows(lowering, flat, projected, [0, features]);
    const gate = projectRows(lowering, flat, projected, [features, 2 * features]);
    return lowering.node('Mul', [linearHalf, lowering.node('Gelu', [gate], {}, 'com.microsoft')]);
  });
}

function projectRows(
  lowering: Lowering,
  flat: string,
  projected: ValueOf<'Linear'> | ValueOf<'LoraLinear'>,
  rows: readonly [number, number],
): string {
  if (projected.op === 'Linear') {
    const [, weight, bias] = projected.inputs;
    return gemm(lowering, flat, rowsOf(lowering, weight, rows), bias && rowsOf(lowering, bias, rows));
  }
  const [, weight, enabled, down, up, bias] = projected.inputs;
  const base = bias ? rowsOf(lowering, bias, rows) : lowering.constant([0], [1], projected.dtype);
  const addend = loraAddend(lowering, flat, { enabled, down, up: rowsOf(lowering, up, rows), base });
  return gemm(lowering, flat, rowsOf(lowering, weight, rows), addend);
}

function rowsOf(lowering: Lowering, value: Value, [start, end]: readonly [number, number]): string {
  if (value.op === 'Parameter') return lowering.parameterRows(value, [start, end]);
  const bounds = [start, end, 0].map((bound) => lowering.constant([bound], [1], 'int64'));
  return lowering.node('Slice', [lowering.plain(value), ...bounds]);
}

function fastConv(lowering: Lowering, x: Value, convolution: Convolution): string {
  const { weight, attributes } = convolution;
  // The transforms are for stored weights: a trained one changes at every step.
  if (x.dtype !== 'float32' || weight.op !== 'Parameter' || !keepsSize3x3(weight, attributes)) {
    return conv(lowering, lowering.plain(x), convolution);
  }
  if (isDoubled(lowering, x)) return upsamplingConv(lowering, x, convolution);
  return isWinogradFaster(lowering, x, weight)
    ? winogradConv(lowering, x, convolution)
    : conv(lowering, lowering.plain(x), convolution);
}

/** The products saved per pair of channels outweigh the transforms from about 256 x 256 channels on. */
const MIN_HARMONIC_CHANNELS = 128;

/** Transforming the weights costs as much as 16 x 16 positions save. */
const MIN_POSITIONS = 24 * 24;

function isWinogradFaster(lowering: Lowering, x: Value, weight: Value): boolean {
  const [outChannels, channels] = weight.shape.map(Number) as [number, number];
  const [height, width] = x.shape.slice(2).map((dim) => lowering.typical(dim)) as [number, number];
  const harmonicChannels = (outChannels * channels) / (outChannels + channels);
  return harmonicChannels >= MIN_HARMONIC_CHANNELS && height * width >= MIN_POSITIONS;
}
