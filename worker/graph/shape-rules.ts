/** Shape and dtype of every operator's result, and the checks that its inputs fit together. */
import { addDims, type Dim, equalDims, floorDivideDim, multiplyDims, shapeToString, subtractDims } from './dim.ts';
import type { TensorType, Value } from './value.ts';
import { type Attributes, type ConvAttributes, type Dtype, GraphError, type Inputs, type OpName } from './value.ts';

type ShapeRule<Op extends OpName> = (inputs: Inputs<Op>, attributes: Attributes<Op>) => TensorType;

export const shapeRules: { [Op in OpName]: ShapeRule<Op> } = {
  Input: (_, { shape, dtype }) => ({ shape, dtype }),
  Parameter: (_, { shape, dtype }) => ({ shape, dtype }),
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
  Sigmoid: same,
  Silu: same,
  Gelu: same,
  QuickGelu: same,
  Relu: same,
  Sin: same,
  Cos: same,
  Cast: ([x], { to }) => ({ shape: x.shape, dtype: to }),
  Linear: ([x, weight, bias]) => linear(x, weight, bias),
  LoraLinear: ([x, weight, enabled, down, up, bias]) => {
    requireRank(down, 2, 'down');
    requireRank(up, 2, 'up');
    requireScalarBool(enabled);
    requireSameDim(down.shape[1]!, weight.shape[1]!, 'down to have the input features of weight', down);
    requireSameDim(up.shape[0]!, weight.shape[0]!, 'up to have the output features of weight', up);
    requireSameDim(down.shape[0]!, up.shape[1]!, 'down and up to have one rank', up);
    return linear(x, weight, bias);
  },
  Conv: ([x, weight, bias], attributes) => conv(x, weight, bias, attributes),
  LoraConv: ([x, weight, enabled, down, up, bias], attributes) => {
    requireRank(down, 4, 'down');
    requireRank(up, 4, 'up');
    requireScalarBool(enabled);
    const kernel = weight.shape.slice(1);
    require(sameShape(down.shape.slice(1), kernel), `down to be [rank, ${kernel.join(', ')}]`, shapeToString(
      down.shape,
    ));
    requireSameDim(up.shape[0]!, weight.shape[0]!, 'up to have the output channels of weight', up);
    requireSameDim(down.shape[0]!, up.shape[1]!, 'down and up to have one rank', up);
    return conv(x, weight, bias, attributes);
  },
  GroupNormalization: ([x, weight, bias], { numGroups }) => {
    requireRank(x, 4, 'x');
    const channels = staticDim(x.shape[1]!, 'the channels of x');
    require(channels % numGroups === 0, `channels divisible by ${numGroups} groups`, channels);
    requireVector(weight, channels, 'weight');
    requireVector(bias, channels, 'bias');
    return x;
  },
  LayerNormalization: ([x, weight, bias]) => {
    const features = staticDim(x.shape.at(-1)!, 'the last axis of x');
    requireVector(weight, features, 'weight');
    requireVector(bias, features, 'bias');
    return x;
  },
  Attention: ([query, key, value, bias], { numHeads }) => {
    for (const [name, input] of Object.entries({ query, key, value })) requireRank(input, 3, name);
    const features = staticDim(query.shape[2]!, 'the last axis of query');
    require(features % numHeads === 0, `features divisible by ${numHeads} heads`, features);
    requireSameDim(key.shape[2]!, features, 'key and query to have equally many features', key);
    requireSameDim(value.shape[1]!, key.shape[1]!, 'value to be as long as key', value);
    requireSameDtype(query, key, value, bias);
    if (bias) broadcastShapes(bias.shape, [query.shape[0]!, numHeads, query.shape[1]!, key.shape[1]!]);
    return { shape: [query.shape[0]!, query.shape[1]!, value.shape[2]!], dtype: query.dtype };
  },
  Geglu: ([x]) => {
    const features = staticDim(x.shape.at(-1)!, 'the last axis of x');
    require(features % 2 === 0, 'an even number of features', features);
    return { shape: [...x.shape.slice(0, -1), features / 2], dtype: x.dtype };
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
  Expand: ([x], { shape }) => {
    require(sameShape(
      broadcastShapes(x.shape, shape),
      shape,
    ), `a shape that expands to ${shapeToString(shape)}`, shapeToString(x.shape));
    return { shape, dtype: x.dtype };
  },
  Concat: (inputs, { axis }) => {
    const [first] = inputs;
    require(first !== undefined, 'at least one input', 0);
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
    require(axis >= 0 && axis < x.shape.length, `an axis of ${shapeToString(x.shape)}`, axis);
    return { shape: x.shape.map((dim, i) => (i === axis ? subtractDims(end, start) : dim)), dtype: x.dtype };
  },
  Gather: ([table, indices]) => {
    require(indices.dtype === 'int64', 'int64 indices', indices.dtype);
    return { shape: [...indices.shape, ...table.shape.slice(1)], dtype: table.dtype };
  },
  Where: ([condition, a, b]) => {
    require(condition.dtype === 'bool', 'a bool condition', condition.dtype);
    requireSameDtype(a, b);
    return { shape: broadcastShapes(broadcastShapes(condition.shape, a.shape), b.shape), dtype: a.dtype };
  },
  ReduceMean: ([x], { axes }) => ({ shape: x.shape.map((dim, i) => (axes.includes(i) ? 1 : dim)), dtype: x.dtype }),
};

function same([x]: [Value]): TensorType {
  return x;
}

function broadcast([a, b]: [Value, Value]): TensorType {
  requireSameDtype(a, b);
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
    x.shape.at(-1)!,
    features,
  ), `weight [out, in] with the features of x ${shapeToString(x.shape)}`, shapeToString(weight.shape));
  if (bias) requireVector(bias, out, 'bias');
  return { shape: [...x.shape.slice(0, -1), out], dtype: x.dtype };
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
  const extent = (size: Dim, kernel: Dim, padding: number, stride: number) =>
    addDims(floorDivideDim(addDims(size, padding, multiplyDims(-1, kernel)), stride), 1);
  return {
    shape: [
      batch,
      out,
      extent(height, kernelHeight, top + bottom, strides[0]),
      extent(width, kernelWidth, left + right, strides[1]),
    ],
    dtype: x.dtype,
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

function requireScalarBool(x: Value): void {
  require(x.dtype === 'bool' &&
    x.shape.length === 0, 'enabled to be a bool scalar', `${x.dtype} ${shapeToString(x.shape)}`);
}

function requireSameDtype(...values: readonly (Value | undefined)[]): void {
  const dtypes = new Set<Dtype>(values.flatMap((value) => (value ? [value.dtype] : [])));
  require(dtypes.size === 1, 'inputs of one dtype', [...dtypes].join(' and '));
}

function sameShape(a: readonly Dim[], b: readonly Dim[]): boolean {
  return a.length === b.length && a.every((dim, i) => equalDims(dim, b[i]!));
}

function staticDim(dim: Dim, what: string): number {
  require(typeof dim === 'number', `${what} to be known`, shapeToString([dim]));
  return dim;
}
