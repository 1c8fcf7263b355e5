/** Vector-Jacobian products: from the cotangent of a result to the cotangents of the inputs, one rule per operator. */

import { geluDerivative, siluDerivative } from './activation-derivatives.ts';
import { attentionVjp } from './attention-vjp.ts';
import { type Dim, equalDims, multiplyDims, shapeToString } from './dim.ts';
import { groupNormalizationVjp, layerNormalizationVjp } from './normalization-vjp.ts';
import {
  add,
  cast,
  concat,
  constant,
  convInputGradient,
  convWeightGradient,
  cos,
  div,
  exp,
  expand,
  flattenSpatial,
  gatherGradient,
  gelu,
  greater,
  matMul,
  mul,
  reduceSum,
  reshape,
  resizeNearest,
  scalar,
  sigmoid,
  sin,
  slice,
  sub,
  transpose,
  unflattenSpatial,
  where,
} from './operators.ts';
import { GraphError, type Value, type ValueOf } from './value.ts';
import type { Cotangent, DifferentiableOp, VjpRule } from './vjp-rule.ts';

/** In the formulas y is the result, ȳ its cotangent `ct`, and x̄ the cotangent of input x. */
export const vjpRules: { readonly [Op in DifferentiableOp]: VjpRule<Op> } = {
  Input: () => [],
  Parameter: () => [],
  Constant: () => [],
  // y = a + b: ā = ȳ, b̄ = ȳ
  Add: (ct, { inputs: [a, b] }) => [() => reduceTo(ct, a), () => reduceTo(ct, b)],
  // y = a - b: ā = ȳ, b̄ = -ȳ
  Sub: (ct, { inputs: [a, b] }) => [() => reduceTo(ct, a), () => reduceTo(negate(ct), b)],
  // y = a·b: ā = ȳ·b, b̄ = ȳ·a
  Mul: (ct, { inputs: [a, b] }) => [() => reduceTo(mul(ct, b), a), () => reduceTo(mul(ct, a), b)],
  // y = a/b: ā = ȳ/b, b̄ = -ȳ·a/b²
  Div: (ct, { inputs: [a, b] }) => [
    () => reduceTo(div(ct, b), a),
    () => reduceTo(negate(div(mul(ct, a), mul(b, b))), b),
  ],
  // x̄ = ȳ·s·(1 - s) with s = sigmoid(x)
  Sigmoid: (ct, { inputs: [x] }) => {
    const s = sigmoid(x);
    return [() => mul(ct, mul(s, sub(scalar(1, x), s)))];
  },
  Silu: (ct, { inputs: [x] }) => [() => mul(ct, siluDerivative(x, 1))],
  Gelu: (ct, { inputs: [x] }) => [() => mul(ct, geluDerivative(x))],
  QuickGelu: (ct, { inputs: [x] }) => [() => mul(ct, siluDerivative(x, 1.702))],
  Relu: (ct, { inputs: [x] }) => [() => where(greater(x, scalar(0, x)), ct, scalar(0, ct))],
  Sin: (ct, { inputs: [x] }) => [() => mul(ct, cos(x))],
  Cos: (ct, { inputs: [x] }) => [() => negate(mul(ct, sin(x)))],
  Exp: (ct, { inputs: [x] }) => [() => mul(ct, exp(x))],
  // x̄ = ȳ/x
  Log: (ct, { inputs: [x] }) => [() => div(ct, x)],
  // x̄ = ȳ·2/√π·exp(-x²)
  Erf: (ct, { inputs: [x] }) => [() => mul(ct, mul(scalar(2 / Math.sqrt(Math.PI), x), exp(negate(mul(x, x)))))],
  // y = √x: x̄ = ȳ/(2y)
  Sqrt: (ct, value) => [() => div(ct, mul(scalar(2, value), value))],
  // y = softmax(x): x̄ = y·(ȳ - Σ ȳ·y)
  Softmax: (ct, value) => {
    const weighted = mul(ct, value);
    return [() => sub(weighted, mul(value, reduceSum(weighted, [value.shape.length - 1])))];
  },
  Greater: () => [undefined, undefined],
  Cast: (ct, { inputs: [x] }) => [isFloat(x) ? () => cast(ct, x.dtype) : undefined],
  Linear: (ct, { inputs: [x, weight, bias] }) => linearVjp(ct, x, weight, bias),
  // y = x·Wᵀ + b + gate·(x·Dᵀ)·Uᵀ, gate 0 or 1
  LoraLinear: (ct, { inputs: [x, weight, enabled, down, up, bias] }) => {
    const [toX, toWeight, toBias] = linearVjp(ct, x, weight, bias);
    const gated = mul(ct, cast(enabled, ct.dtype));
    const low = matMul(rows(x), down, { transposeA: false, transposeB: true });
    const lowCt = matMul(rows(gated), up, { transposeA: false, transposeB: false });
    return [
      () => add(toX!(), reshape(matMul(lowCt, down, { transposeA: false, transposeB: false }), x.shape)),
      toWeight,
      undefined,
      () => matMul(lowCt, rows(x), { transposeA: true, transposeB: false }),
      () => matMul(rows(gated), low, { transposeA: true, transposeB: false }),
      toBias,
    ];
  },
  Conv: (ct, value) => {
    const [, , bias] = value.inputs;
    return [...convVjp(ct, value.inputs[0], value.inputs[1], value.attributes), bias && (() => sumChannels(ct))];
  },
  LoraConv: () => {
    throw new GraphError(
      'LoraConv is for pictures: a network that learns is described with the factors as convolutions',
    );
  },
  GroupNormalization: groupNormalizationVjp,
  LayerNormalization: layerNormalizationVjp,
  Attention: attentionVjp,
  // y = a·gelu(b) with a and b the halves of x
  Geglu: (ct, { inputs: [x] }) => {
    const axis = x.shape.length - 1;
    const half = Number(x.shape[axis]) / 2;
    const [a, b] = [slice(x, axis, [0, half]), slice(x, axis, [half, 2 * half])];
    return [() => concat([mul(ct, gelu(b)), mul(mul(ct, a), geluDerivative(b))], axis)];
  },
  ResizeNearest: (ct, { inputs: [x], attributes }) => [() => sumBlocks(ct, x, attributes)],
  AveragePool2x2: (ct, { inputs: [x] }) => [() => spreadAverages(ct, x)],
  PixelUnshuffle: (ct, { inputs: [x], attributes: { factor } }) => {
    const [batch, channels, height, width] = x.shape as [Dim, Dim, Dim, Dim];
    const [rowCount, columnCount] = [Number(height) / factor, Number(width) / factor];
    const blocks = () => reshape(ct, [batch, channels, factor, factor, rowCount, columnCount]);
    return [() => reshape(transpose(blocks(), [0, 1, 4, 2, 5, 3]), x.shape)];
  },
  FlattenSpatial: (ct, { inputs: [x] }) => [() => unflattenSpatial(ct, x.shape[2]!, x.shape[3]!)],
  UnflattenSpatial: (ct) => [() => flattenSpatial(ct)],
  Reshape: (ct, { inputs: [x] }) => [() => reshape(ct, x.shape)],
  Transpose: (ct, { attributes: { perm } }) => [
    () =>
      transpose(
        ct,
        perm.map((_, i) => perm.indexOf(i)),
      ),
  ],
  Expand: (ct, { inputs: [x] }) => [() => reduceTo(ct, x)],
  Concat: (ct, { inputs, attributes: { axis } }) => {
    let end = 0;
    return inputs.map((input) => {
      const start = end;
      end += Number(input.shape[axis]);
      const bounds = [start, end] as const;
      return () => slice(ct, axis, bounds);
    });
  },
  Slice: (ct, { inputs: [x], attributes: { axis, start, end } }) => {
    const zeros = (size: number) =>
      expand(
        scalar(0, ct),
        ct.shape.map((dim, i) => (i === axis ? size : dim)),
      );
    const pads = [zerosBefore(zeros, Number(start)), [ct], zerosBefore(zeros, Number(x.shape[axis]) - Number(end))];
    return [() => concat(pads.flat(), axis)];
  },
  // ONNX Runtime adds rows in float32 only.
  Gather: (ct, { inputs: [table, indices] }) => [
    () => cast(gatherGradient(cast(ct, 'float32'), indices, Number(table.shape[0])), table.dtype),
    undefined,
  ],
  Where: (ct, { inputs: [condition, a, b] }) => [
    undefined,
    () => reduceTo(where(condition, ct, scalar(0, ct)), a),
    () => reduceTo(where(condition, scalar(0, ct), ct), b),
  ],
  ReduceMean: (ct, { inputs: [x], attributes: { axes } }) => {
    const count = axes.reduce((product, axis) => product * Number(x.shape[axis]), 1);
    return [() => expand(mul(ct, scalar(1 / count, ct)), x.shape)];
  },
  ReduceSum: (ct, { inputs: [x] }) => [() => expand(ct, x.shape)],
  // y = A·B: Ā = ȳ·Bᵀ, B̄ = Aᵀ·ȳ, with what is transposed taken into account
  MatMul: (ct, { inputs: [a, b], attributes: { transposeA, transposeB } }) => [
    () =>
      transposeA
        ? matMul(b, ct, { transposeA: transposeB, transposeB: true })
        : matMul(ct, b, { transposeA: false, transposeB: !transposeB }),
    () =>
      transposeB
        ? matMul(ct, a, { transposeA: true, transposeB: transposeA })
        : matMul(a, ct, { transposeA: !transposeA, transposeB: false }),
  ],
};

function negate(x: Value): Value {
  return mul(x, scalar(-1, x));
}

function isFloat({ dtype }: Value): boolean {
  return dtype === 'float32' || dtype === 'float16';
}

/** Sums over the axes along which `like` was broadcast. */
function reduceTo(ct: Value, like: Value): Value {
  const added = ct.shape.length - like.shape.length;
  const axes = ct.shape.flatMap((dim, i) => {
    const own = like.shape[i - added] ?? 1;
    return equalDims(own, dim) && i >= added ? [] : [i];
  });
  const summed = axes.length === 0 ? ct : reduceSum(ct, axes);
  return added === 0 ? summed : reshape(summed, like.shape);
}

/** Merges all axes but the last. */
function rows(x: Value): Value {
  return x.shape.length === 2 ? x : reshape(x, [multiplyDims(...x.shape.slice(0, -1)), x.shape.at(-1)!]);
}

/** y = x·Wᵀ + b: x̄ = ȳ·W, W̄ = ȳᵀ·x, b̄ = Σ ȳ */
function linearVjp(ct: Value, x: Value, weight: Value, bias: Value | undefined): [Cotangent, Cotangent, Cotangent] {
  return [
    () => reshape(matMul(rows(ct), weight, { transposeA: false, transposeB: false }), x.shape),
    () => matMul(rows(ct), rows(x), { transposeA: true, transposeB: false }),
    bias && (() => reshape(reduceSum(rows(ct), [0]), bias.shape)),
  ];
}

function convVjp(
  ct: Value,
  x: Value,
  weight: Value,
  attributes: ValueOf<'Conv'>['attributes'],
): [Cotangent, Cotangent] {
  const [, , height, width] = x.shape as [Dim, Dim, Dim, Dim];
  const [, , kernelHeight, kernelWidth] = weight.shape as [Dim, Dim, Dim, Dim];
  return [
    () => convInputGradient(ct, weight, { ...attributes, height, width }),
    () => convWeightGradient(x, ct, { ...attributes, kernel: [Number(kernelHeight), Number(kernelWidth)] }),
  ];
}

function sumChannels(ct: Value): Value {
  return reshape(reduceSum(ct, [0, 2, 3]), [ct.shape[1]!]);
}

/** Each source pixel gets the sum over the block that it was copied to. */
function sumBlocks(ct: Value, x: Value, { height, width }: { height: Dim; width: Dim }): Value {
  const [batch, channels, rowCount, columnCount] = x.shape as [Dim, Dim, Dim, Dim];
  const [down, across] = [Number(height) / Number(rowCount), Number(width) / Number(columnCount)];
  if (!Number.isInteger(down) || !Number.isInteger(across)) {
    const sizes = `${shapeToString(x.shape)} to ${shapeToString(ct.shape)}`;
    throw new GraphError(`cannot differentiate ResizeNearest: sizes must grow by whole factors, got ${sizes}`);
  }
  return reshape(reduceSum(reshape(ct, [batch, channels, rowCount, down, columnCount, across]), [3, 5]), x.shape);
}

/** Each source pixel gets its window's cotangent over the number of pixels that the window has. */
function spreadAverages(ct: Value, x: Value): Value {
  const [height, width] = [Number(x.shape[2]), Number(x.shape[3])];
  const [rowCount, columnCount] = [Math.ceil(height / 2), Math.ceil(width / 2)];
  const counts = Array.from({ length: rowCount * columnCount }, (_, i) => {
    const [row, column] = [Math.floor(i / columnCount), i % columnCount];
    return 1 / (Math.min(2, height - 2 * row) * Math.min(2, width - 2 * column));
  });
  const shares = mul(ct, constant(counts, [1, 1, rowCount, columnCount], ct.dtype));
  const spread = resizeNearest(shares, 2 * rowCount, 2 * columnCount);
  return slice(slice(spread, 2, [0, height]), 3, [0, width]);
}

function zerosBefore(zeros: (size: number) => Value, size: number): Value[] {
  return size === 0 ? [] : [zeros(size)];
}
