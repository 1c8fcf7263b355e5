/** Shape and dtype of every operator's result, and the checks that its inputs fit together. */
import { addDims, type Dim, equalDims, floorDivideDim, multiplyDims, shapeToString, subtractDims } from './dim.ts';
import type { TensorType, Value } from './value.ts';
import { type Attributes, type ConvAttributes, type Dtype, GraphError, type Inputs, type OpName } from './value.ts';

type ShapeRule<Op extends OpName> = (inputs: Inputs<Op>, attributes: Attributes<Op>) => TensorType;

export const shapeRules: { [Op in OpName]: ShapeRule<Op> } = {
  Input: (_, { shape, dtype }) => ({ shape: sizes(shape), dtype }),
  Parameter: (_, { shape, dtype }) => {
    for (const dim of shape) staticDim(dim, 'every axis');
    return { shape: sizes(shape), dtype };
  },
  Constant: (_, { shape, dtype, values }) => {
    const size = multiplyDims(...shape);
    require(size ===
      values.length, 'as many values as the shape has elements', `${values.length} for ${shapeToString(shape)}`);
    return { shape, dtype };
  },
  Add: broadcast,
  Sub: broadcast,
  Mul: broadcast,
  Div: broadcast,
  Sigmoid: floating,
  Silu: floating,
  Gelu: floating,
  QuickGelu: floating,
  Relu: floating,
  Sin: floating,
  Cos: floating,
  Exp: floating,
  Log: floating,
  Erf: floating,
  Sqrt: floating,
  Softmax: floating,
  Greater: ([a, b]) => ({ ...broadcast([a, b]), dtype: 'bool' }),
  MatMul: ([a, b], { transposeA, transposeB }) => matMul(a, b, { transposeA, transposeB }),
  Cast: ([x], { to }) => ({ shape: x.shape, dtype: to }),
  Linear: ([x, weight, bias]) => linear(x, weight, bias),
  LoraLinear: ([x, weight, enabled, down, up, bias]) => {
    const type = linear(x, weight, bias);
    requireFactors({ weight, enabled, down, up });
    return type;
  },
  Conv: ([x, weight, bias], attributes) => conv(x, weight, bias, attributes),
  LoraConv: ([x, weight, enabled, down, up, bias], attributes) => {
    const type = conv(x, weight, bias, attributes);
    requireFactors({ weight, enabled, down, up });
    return type;
  },
  GroupNormalization: ([x, weight, bias], { numGroups }) => {
    requireRank(x, 4, 'x');
    const channels = staticDim(x.shape[1]!, 'the channels of x');
    require(channels % numGroups === 0, `channels divisible by ${numGroups} groups`, channels);
    requireVector(weight, channels, 'weight');
    requireVector(bias, channels, 'bias');
    requireSameDtype(x, weight, bias);
    return floating([x]);
  },
  LayerNormalization: ([x, weight, bias]) => {
    const features = staticDim(lastDim(x), 'the last axis of x');
    requireVector(weight, features, 'weight');
    requireVector(bias, features, 'bias');
    requireSameDtype(x, weight, bias);
    return floating([x]);
  },
  Attention: ([query, key, value, bias], { numHeads }) => {
    for (const [name, input] of Object.entries({ query, key, value })) requireRank(input, 3, name);
    const features = staticDim(query.shape[2]!, 'the last axis of query');
    require(features % numHeads === 0, `features divisible by ${numHeads} heads`, features);
    requireSameDim(key.shape[0]!, query.shape[0]!, 'key and query to have one batch', key);
    requireSameDim(key.shape[2]!, features, 'key and query to have equally many features', key);
    require(sameShape(value.shape, key.shape), `value ${shapeToString(key.shape)}`, shapeToString(value.shape));
    requireSameDtype(query, key, value, bias);
    if (bias) {
      requireRank(bias, 4, 'bias');
      requireExpandable(bias, [query.shape[0]!, numHeads, query.shape[1]!, key.shape[1]!], 'bias');
    }
    return floating([query]);
  },
  Geglu: ([x]) => {
    const features = staticDim(lastDim(x), 'the last axis of x');
    require(features % 2 === 0, 'an even number of features', features);
    return { shape: [...x.shape.slice(0, -1), features / 2], dtype: floating([x]).dtype };
  },
  ResizeNearest: ([x], { height, width }) => {
    requireRank(x, 4, 'x');
    return { shape: [x.shape[0]!, x.shape[1]!, height, width], dtype: x.dtype };
  },
  AveragePool2x2: ([x]) => {
    requireRank(x, 4, 'x');
    const half = (dim: Dim) => floorDivideDim(addDims(dim, 1), 2);
    return { shape: [x.shape[0]!, x.shape[1]!, half(x.shape[2]!), half(x.shape[3]!)], dtype: x.dtype };
  },
  PixelUnshuffle: ([x], { factor }) => {
    requireRank(x, 4, 'x');
    const [batch, channels, height, width] = x.shape as [Dim, Dim, Dim, Dim];
    const shrink = (dim: Dim) => {
      const shrunk = floorDivideDim(dim, factor);
      require(equalDims(multiplyDims(shrunk, factor), dim), `height and width divisible by ${factor}`, shapeToString(
        x.shape,
      ));
      return shrunk;
    };
    return { shape: [batch, multiplyDims(channels, factor * factor), shrink(height), shrink(width)], dtype: x.dtype };
  },
  FlattenSpatial: ([x]) => {
    requireRank(x, 4, 'x');
    const [batch, channels, height, width] = x.shape as [Dim, Dim, Dim, Dim];
    return { shape: [batch, multiplyDims(height, width), channels], dtype: x.dtype };
  },
  UnflattenSpatial: ([x], { height, width }) => {
    requireRank(x, 3, 'x');
    requireSameDim(x.shape[1]!, multiplyDims(height, width), 'height times width positions', x);
    return { shape: [x.shape[0]!, x.shape[2]!, height, width], dtype: x.dtype };
  },
  Reshape: ([x], { shape }) => {
    const sizes = [multiplyDims(...x.shape), multiplyDims(...shape)] as const;
    require(equalDims(...sizes), `as many elements as ${shapeToString(shape)}`, shapeToString(x.shape));
    return { shape, dtype: x.dtype };
  },
  Transpose: ([x], { perm }) => {
    const axes = [...perm].sort((a, b) => a - b);
    require(axes.length === x.shape.length &&
      axes.every((axis, i) => axis === i), `a permutation of the axes of ${shapeToString(x.shape)}`, `[${perm}]`);
    return { shape: perm.map((axis) => x.shape[axis]!), dtype: x.dtype };
  },
  Expand: ([x], { shape }) => {
    requireExpandable(x, shape, 'x');
    return { shape, dtype: x.dtype };
  },
  Concat: (inputs, { axis }) => {
    const [first] = inputs;
    require(first !== undefined, 'at least one input', 0);
    requireAxis(first, axis);
    requireSameDtype(...inputs);
    for (const input of inputs) {
      const others = input.shape.map((dim, i) => (i === axis ? first.shape[axis]! : dim));
      require(sameShape(others, first.shape), `shapes equal but for axis ${axis}`, inputs
        .map((x) => shapeToString(x.shape))
        .join(' and '));
    }
    const total = addDims(...inputs.map((input) => input.shape[axis]!));
    return { shape: first.shape.map((dim, i) => (i === axis ? total : dim)), dtype: first.dtype };
  },
  Slice: ([x], { axis, start, end }) => {
    requireAxis(x, axis);
    const bounds = [0, start, end, x.shape[axis]!].filter((bound) => typeof bound === 'number');
    require(bounds.every(
      (bound, i) => i === 0 || bounds[i - 1]! <= bound,
    ), `0 <= start <= end <= ${shapeToString([x.shape[axis]!]).slice(1, -1)}`, shapeToString([start, end]));
    return { shape: x.shape.map((dim, i) => (i === axis ? subtractDims(end, start) : dim)), dtype: x.dtype };
  },
  Gather: ([table, indices]) => {
    require(indices.dtype === 'int64', 'int64 indices', indices.dtype);
    require(table.shape.length > 0, 'table of at least 1 axis', shapeToString(table.shape));
    return { shape: [...indices.shape, ...table.shape.slice(1)], dtype: table.dtype };
  },
  Where: ([condition, a, b]) => {
    require(condition.dtype === 'bool', 'a bool condition', condition.dtype);
    requireSameDtype(a, b);
    return { shape: broadcastShapes(broadcastShapes(condition.shape, a.shape), b.shape), dtype: a.dtype };
  },
  ReduceMean: reduced,
  ReduceSum: reduced,
  ConvInputGradient: ([cotangent, weight], { height, width, strides, pads }) => {
    requireRank(cotangent, 4, 'cotangent');
    requireRank(weight, 4, 'weight');
    const shape = [cotangent.shape[0]!, weight.shape[1]!, height, width];
    const forward = conv({ ...cotangent, shape }, weight, undefined, { strides, pads });
    require(sameShape(forward.shape, cotangent.shape), `a cotangent ${shapeToString(forward.shape)}`, shapeToString(
      cotangent.shape,
    ));
    return { shape, dtype: cotangent.dtype };
  },
  ConvWeightGradient: ([x, cotangent], { kernel, strides, pads }) => {
    requireRank(x, 4, 'x');
    requireRank(cotangent, 4, 'cotangent');
    const shape = [cotangent.shape[1]!, x.shape[1]!, ...kernel];
    const forward = conv(x, { ...x, shape }, undefined, { strides, pads });
    require(sameShape(forward.shape, cotangent.shape), `a cotangent ${shapeToString(forward.shape)}`, shapeToString(
      cotangent.shape,
    ));
    requireSameDtype(x, cotangent);
    return { shape, dtype: x.dtype };
  },
  GatherGradient: ([cotangent, indices], { rows }) => {
    require(indices.dtype === 'int64', 'int64 indices', indices.dtype);
    const leading = cotangent.shape.slice(0, indices.shape.length);
    require(sameShape(leading, indices.shape), `cotangent to begin with ${shapeToString(indices.shape)}`, shapeToString(
      cotangent.shape,
    ));
    return { shape: [rows, ...cotangent.shape.slice(indices.shape.length)], dtype: cotangent.dtype };
  },
};

function floating([x]: [Value]): TensorType {
  require(x.dtype === 'float32' || x.dtype === 'float16', 'floating point numbers', x.dtype);
  return x;
}

function broadcast([a, b]: [Value, Value]): TensorType {
  requireSameDtype(a, b);
  require(a.dtype !== 'bool', 'numbers', a.dtype);
  return { shape: broadcastShapes(a.shape, b.shape), dtype: a.dtype };
}

/** @throws GraphError unless the shapes broadcast by NumPy's rule */
function broadcastShapes(a: readonly Dim[], b: readonly Dim[]): Dim[] {
  const rank = Math.max(a.length, b.length);
  return Array.from({ length: rank }, (_, i) => {
    const [x, y] = [a[i - rank + a.length] ?? 1, b[i - rank + b.length] ?? 1];
    require(x === 1 ||
      y === 1 ||
      equalDims(x, y), 'shapes that broadcast', `${shapeToString(a)} and ${shapeToString(b)}`);
    return x === 1 ? y : x;
  });
}

function linear(x: Value, weight: Value, bias: Value | undefined): TensorType {
  requireRank(weight, 2, 'weight');
  requireSameDtype(x, weight, bias);
  const [out, features] = weight.shape as [Dim, Dim];
  require(equalDims(
    lastDim(x),
    features,
  ), `weight [out, in] with the features of x ${shapeToString(x.shape)}`, shapeToString(weight.shape));
  if (bias) requireVector(bias, out, 'bias');
  return { shape: [...x.shape.slice(0, -1), out], dtype: floating([x]).dtype };
}

/** The factors of a low-rank update: down [rank, in, ...] as the weight, up [out, rank] with a kernel of 1. */
function requireFactors({ weight, enabled, down, up }: Record<'weight' | 'enabled' | 'down' | 'up', Value>): void {
  require(enabled.dtype === 'bool' &&
    enabled.shape.length === 0, 'enabled to be a bool scalar', `${enabled.dtype} ${shapeToString(enabled.shape)}`);
  requireSameDtype(weight, down, up);
  const [out, ...kernel] = weight.shape as [Dim, ...Dim[]];
  const rank = down.shape[0] ?? 1;
  const pointwise = kernel.slice(1).map(() => 1);
  for (const [name, factor, shape] of [
    ['down', down, [rank, ...kernel]],
    ['up', up, [out, rank, ...pointwise]],
  ] as const) {
    require(sameShape(factor.shape, shape), `${name} ${shapeToString(shape)}`, shapeToString(factor.shape));
  }
}

function conv(x: Value, weight: Value, bias: Value | undefined, { strides, pads }: ConvAttributes): TensorType {
  requireRank(x, 4, 'x');
  requireRank(weight, 4, 'weight');
  requireSameDtype(x, weight, bias);
  const [batch, channels, height, width] = x.shape as [Dim, Dim, Dim, Dim];
  const [out, inChannels, kernelHeight, kernelWidth] = weight.shape as [Dim, Dim, Dim, Dim];
  require(equalDims(
    channels,
    inChannels,
  ), `weight [out, in, kH, kW] with the channels of x ${shapeToString(x.shape)}`, shapeToString(weight.shape));
  if (bias) requireVector(bias, out, 'bias');
  const [top, left, bottom, right] = pads;
  const extent = (size: Dim, kernel: Dim, padding: number, stride: number) => {
    const positions = addDims(floorDivideDim(addDims(size, padding, multiplyDims(-1, kernel)), stride), 1);
    require(typeof positions !== 'number' || positions > 0, 'x to be as large as the kernel', shapeToString(x.shape));
    return positions;
  };
  return {
    shape: [
      batch,
      out,
      extent(height, kernelHeight, top + bottom, strides[0]),
      extent(width, kernelWidth, left + right, strides[1]),
    ],
    dtype: floating([x]).dtype,
  };
}

function require(holds: boolean, rule: string, got: string | number): asserts holds {
  if (!holds) throw new GraphError(`needs ${rule}, got ${got}`);
}

function requireRank(x: Value, rank: number, name: string): void {
  require(x.shape.length === rank, `${name} of ${rank} axes`, shapeToString(x.shape));
}

function requireSameDim(a: Dim, b: Dim, rule: string, shown: Value): void {
  require(equalDims(a, b), rule, shapeToString(shown.shape));
}

function requireVector(x: Value, length: Dim, name: string): void {
  require(sameShape(x.shape, [length]), `${name} [${shapeToString([length]).slice(1, -1)}]`, shapeToString(x.shape));
}

function requireAxis(x: Value, axis: number): void {
  require(axis in x.shape, `an axis of ${shapeToString(x.shape)}`, axis);
}

function requireExpandable(x: Value, shape: readonly Dim[], name: string): void {
  const expanded = broadcastShapes(x.shape, shape);
  require(sameShape(expanded, shape), `${name} to expand to ${shapeToString(shape)}`, shapeToString(x.shape));
}

function requireSameDtype(...values: readonly (Value | undefined)[]): void {
  const dtypes = new Set<Dtype>(values.flatMap((value) => (value ? [value.dtype] : [])));
  require(dtypes.size === 1, 'inputs of one dtype', [...dtypes].join(' and '));
}

/** @throws GraphError unless every known size is a whole number of at least 1 */
function sizes(shape: readonly Dim[]): readonly Dim[] {
  const isSize = (dim: Dim) => typeof dim !== 'number' || (Number.isInteger(dim) && dim > 0);
  require(shape.every(isSize), 'sizes of at least 1', shapeToString(shape));
  return shape;
}

function lastDim(x: Value): Dim {
  require(x.shape.length > 0, 'x of at least 1 axis', shapeToString(x.shape));
  return x.shape.at(-1)!;
}

function reduced([x]: [Value], { axes }: { axes: readonly number[] }): TensorType {
  for (const axis of axes) requireAxis(x, axis);
  return floating([{ ...x, shape: x.shape.map((dim, i) => (axes.includes(i) ? 1 : dim)) }]);
}

function matMul(a: Value, b: Value, { transposeA, transposeB }: Attributes<'MatMul'>): TensorType {
  require(a.shape.length >= 2 &&
    a.shape.length === b.shape.length, `b of as many axes as a ${shapeToString(a.shape)}, at least 2`, shapeToString(
    b.shape,
  ));
  requireSameDtype(a, b);
  const [leading, rank] = [a.shape.slice(0, -2), a.shape.length];
  require(sameShape(leading, b.shape.slice(0, -2)), `b of the batch of a ${shapeToString(a.shape)}`, shapeToString(
    b.shape,
  ));
  const [rows, inner] = transposeA
    ? [a.shape[rank - 1]!, a.shape[rank - 2]!]
    : [a.shape[rank - 2]!, a.shape[rank - 1]!];
  const [innerB, columns] = transposeB
    ? [b.shape[rank - 1]!, b.shape[rank - 2]!]
    : [b.shape[rank - 2]!, b.shape[rank - 1]!];
  require(equalDims(inner, innerB), `b to continue a ${shapeToString(a.shape)}`, shapeToString(b.shape));
  return floating([{ ...a, shape: [...leading, rows, columns] }]);
}

function sameShape(a: readonly Dim[], b: readonly Dim[]): boolean {
  return a.length === b.length && a.every((dim, i) => equalDims(dim, b[i]!));
}

function staticDim(dim: Dim, what: string): number {
  require(typeof dim === 'number', `${what} to be known`, shapeToString([dim]));
  return dim;
}
