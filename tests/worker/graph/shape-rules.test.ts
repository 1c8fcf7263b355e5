import { describe, expect, test } from 'vitest';
import { type Dim, multiplyDims, shapeToString, symbol } from '../../../worker/graph/dim.ts';
import { apply, constant, input } from '../../../worker/graph/operators.ts';
import { type Dtype, GraphError, type OpName, type Value } from '../../../worker/graph/value.ts';

const [n, h, w] = [symbol('n'), symbol('h'), symbol('w')];
const typed =
  (dtype: Dtype) =>
  (...shape: Dim[]): Value =>
    input('x', { shape, dtype });
const [f32, f16, i64, bool] = [typed('float32'), typed('float16'), typed('int64'), typed('bool')];

interface Case {
  /** What the accepted case makes: dtype and shape. */
  readonly makes: string;
  readonly accepted: () => Value;
  /** Rule and value of each refusal, as they stand in the message. */
  readonly refused: readonly (readonly [message: string, build: () => Value])[];
}

type UnaryOp =
  | 'Sigmoid'
  | 'Silu'
  | 'Gelu'
  | 'QuickGelu'
  | 'Relu'
  | 'Sin'
  | 'Cos'
  | 'Exp'
  | 'Log'
  | 'Erf'
  | 'Sqrt'
  | 'Softmax';
const unary = (op: UnaryOp): Case => ({
  makes: 'float16 [n, 3]',
  accepted: () => apply(op, [f16(n, 3)], {}),
  refused: [['floating point numbers, got int64', () => apply(op, [i64(n, 3)], {})]],
});

const binary = (op: 'Add' | 'Sub' | 'Mul' | 'Div'): Case => ({
  makes: 'float32 [n, 3, 2*h]',
  accepted: () => apply(op, [f32(n, 1, multiplyDims(2, h)), f32(3, 1)], {}),
  refused: [
    ['shapes that broadcast, got [n, 3] and [n, 4]', () => apply(op, [f32(n, 3), f32(n, 4)], {})],
    ['shapes that broadcast, got [h] and [w]', () => apply(op, [f32(h), f32(w)], {})],
    ['inputs of one dtype, got float32 and float16', () => apply(op, [f32(n), f16(n)], {})],
    ['numbers, got bool', () => apply(op, [bool(n), bool(n)], {})],
  ],
});

const reduction = (op: 'ReduceMean' | 'ReduceSum'): Case => ({
  makes: 'float32 [n, 3, 1, 1]',
  accepted: () => apply(op, [f32(n, 3, h, w)], { axes: [2, 3] }),
  refused: [
    ['an axis of [n, 3], got 2', () => apply(op, [f32(n, 3)], { axes: [0, 2] })],
    ['floating point numbers, got int64', () => apply(op, [i64(n, 3)], { axes: [0] })],
  ],
});

const asTheyAre = { transposeA: false, transposeB: false };
const halved = { strides: [2, 2], pads: [1, 1, 1, 1] } as const;
const plain = { strides: [1, 1], pads: [1, 1, 1, 1] } as const;
const norm = { numGroups: 4, epsilon: 1e-5, activation: undefined };
const heads = { numHeads: 2, isCausal: false };

/** One entry per operator: an operator without one does not compile. */
const cases: { [Op in OpName]: Case } = {
  Input: {
    makes: 'int64 [n, 4]',
    accepted: () => apply('Input', [], { name: 'x', shape: [n, 4], dtype: 'int64' }),
    refused: [
      ['sizes of at least 1, got [n, 0]', () => f32(n, 0)],
      ['sizes of at least 1, got [1.5]', () => f32(1.5)],
    ],
  },
  Parameter: {
    makes: 'float32 [4, 3]',
    accepted: () => apply('Parameter', [], { name: 'p', component: 'c', shape: [4, 3], dtype: 'float32' }),
    refused: [
      [
        'every axis to be known, got [n]',
        () => apply('Parameter', [], { name: 'p', component: 'c', shape: [n], dtype: 'float32' }),
      ],
      [
        'sizes of at least 1, got [-4]',
        () => apply('Parameter', [], { name: 'p', component: 'c', shape: [-4], dtype: 'float32' }),
      ],
    ],
  },
  Constant: {
    makes: 'int64 [2, 2]',
    accepted: () => constant([1, 2, 3, 4], [2, 2], 'int64'),
    refused: [
      ['as many values as the shape has elements, got 3 for [2, 2]', () => constant([1, 2, 3], [2, 2], 'int64')],
    ],
  },
  Add: binary('Add'),
  Sub: binary('Sub'),
  Mul: binary('Mul'),
  Div: binary('Div'),
  Sigmoid: unary('Sigmoid'),
  Silu: unary('Silu'),
  Gelu: unary('Gelu'),
  QuickGelu: unary('QuickGelu'),
  Relu: unary('Relu'),
  Sin: unary('Sin'),
  Cos: unary('Cos'),
  Exp: unary('Exp'),
  Log: unary('Log'),
  Erf: unary('Erf'),
  Sqrt: unary('Sqrt'),
  Softmax: unary('Softmax'),
  Greater: {
    makes: 'bool [n, 3]',
    accepted: () => apply('Greater', [f32(n, 3), f32()], {}),
    refused: [['inputs of one dtype, got float32 and float16', () => apply('Greater', [f32(n), f16(n)], {})]],
  },
  MatMul: {
    makes: 'float32 [n, 3, 5]',
    accepted: () => apply('MatMul', [f32(n, 4, 3), f32(n, 5, 4)], { transposeA: true, transposeB: true }),
    refused: [
      ['b to continue a [n, 4], got [5, 3]', () => apply('MatMul', [f32(n, 4), f32(5, 3)], asTheyAre)],
      ['b of the batch of a [n, 3, 4], got [h, 4, 3]', () => apply('MatMul', [f32(n, 3, 4), f32(h, 4, 3)], asTheyAre)],
      [
        'b of as many axes as a [n, 3, 4], at least 2, got [4, 3]',
        () => apply('MatMul', [f32(n, 3, 4), f32(4, 3)], asTheyAre),
      ],
      ['inputs of one dtype, got float32 and float16', () => apply('MatMul', [f32(n, 4), f16(4, 3)], asTheyAre)],
    ],
  },
  // Every dtype can be cast to every other.
  Cast: { makes: 'float16 [n]', accepted: () => apply('Cast', [bool(n)], { to: 'float16' }), refused: [] },
  Linear: {
    makes: 'float32 [n, h, 6]',
    accepted: () => apply('Linear', [f32(n, h, 4), f32(6, 4), f32(6)], {}),
    refused: [
      ['weight [out, in] with the features of x [n, 5], got [6, 4]', () => apply('Linear', [f32(n, 5), f32(6, 4)], {})],
      ['bias [6], got [4]', () => apply('Linear', [f32(n, 4), f32(6, 4), f32(4)], {})],
      ['weight of 2 axes, got [6, 4, 1]', () => apply('Linear', [f32(n, 4), f32(6, 4, 1)], {})],
      ['x of at least 1 axis, got []', () => apply('Linear', [f32(), f32(6, 4)], {})],
      ['inputs of one dtype, got float16 and float32', () => apply('Linear', [f16(n, 4), f32(6, 4)], {})],
      ['floating point numbers, got int64', () => apply('Linear', [i64(n, 4), i64(6, 4)], {})],
    ],
  },
  LoraLinear: {
    makes: 'float32 [n, 6]',
    accepted: () => apply('LoraLinear', [f32(n, 4), f32(6, 4), bool(), f32(h, 4), f32(6, h), f32(6)], {}),
    refused: [
      ['down [h, 4], got [h, 5]', () => apply('LoraLinear', [f32(n, 4), f32(6, 4), bool(), f32(h, 5), f32(6, h)], {})],
      ['up [6, h], got [5, h]', () => apply('LoraLinear', [f32(n, 4), f32(6, 4), bool(), f32(h, 4), f32(5, h)], {})],
      ['up [6, h], got [6, w]', () => apply('LoraLinear', [f32(n, 4), f32(6, 4), bool(), f32(h, 4), f32(6, w)], {})],
      ['down [1, 4], got []', () => apply('LoraLinear', [f32(n, 4), f32(6, 4), bool(), f32(), f32(6, h)], {})],
      [
        'enabled to be a bool scalar, got bool [1]',
        () => apply('LoraLinear', [f32(n, 4), f32(6, 4), bool(1), f32(h, 4), f32(6, h)], {}),
      ],
      [
        'inputs of one dtype, got float16 and float32',
        () => apply('LoraLinear', [f16(n, 4), f16(6, 4), bool(), f32(h, 4), f32(6, h)], {}),
      ],
      ['weight of 2 axes, got []', () => apply('LoraLinear', [f32(n, 4), f32(), bool(), f32(h, 4), f32(6, h)], {})],
    ],
  },
  Conv: {
    makes: 'float32 [n, 6, floor((h + 1)/2), 8]',
    accepted: () => apply('Conv', [f32(n, 4, h, 8), f32(6, 4, 3, 3), f32(6)], { strides: [2, 1], pads: [1, 1, 1, 1] }),
    refused: [
      [
        'weight [out, in, kH, kW] with the channels of x [n, 5, h, w], got [6, 4, 3, 3]',
        () => apply('Conv', [f32(n, 5, h, w), f32(6, 4, 3, 3)], plain),
      ],
      ['x of 4 axes, got [n, 4, h]', () => apply('Conv', [f32(n, 4, h), f32(6, 4, 3, 3)], plain)],
      ['weight of 4 axes, got [6, 4]', () => apply('Conv', [f32(n, 4, h, w), f32(6, 4)], plain)],
      ['bias [6], got [1, 6]', () => apply('Conv', [f32(n, 4, h, w), f32(6, 4, 3, 3), f32(1, 6)], plain)],
      [
        'x to be as large as the kernel, got [n, 4, 8, 8]',
        () => apply('Conv', [f32(n, 4, 8, 8), f32(6, 4, 14, 14)], { strides: [14, 14], pads: [0, 0, 0, 0] }),
      ],
    ],
  },
  LoraConv: {
    makes: 'float32 [n, 6, h, w]',
    accepted: () =>
      apply('LoraConv', [f32(n, 4, h, w), f32(6, 4, 3, 3), bool(), f32(2, 4, 3, 3), f32(6, 2, 1, 1)], plain),
    refused: [
      [
        'down [2, 4, 3, 3], got [2, 4, 1, 1]',
        () => apply('LoraConv', [f32(n, 4, h, w), f32(6, 4, 3, 3), bool(), f32(2, 4, 1, 1), f32(6, 2, 1, 1)], plain),
      ],
      [
        'up [6, 2, 1, 1], got [6, 2, 3, 3]',
        () => apply('LoraConv', [f32(n, 4, h, w), f32(6, 4, 3, 3), bool(), f32(2, 4, 3, 3), f32(6, 2, 3, 3)], plain),
      ],
      [
        'enabled to be a bool scalar, got int64 []',
        () => apply('LoraConv', [f32(n, 4, h, w), f32(6, 4, 3, 3), i64(), f32(2, 4, 3, 3), f32(6, 2, 1, 1)], plain),
      ],
    ],
  },
  GroupNormalization: {
    makes: 'float32 [n, 8, h, w]',
    accepted: () => apply('GroupNormalization', [f32(n, 8, h, w), f32(8), f32(8)], norm),
    refused: [
      [
        'channels divisible by 4 groups, got 6',
        () => apply('GroupNormalization', [f32(n, 6, h, w), f32(6), f32(6)], norm),
      ],
      ['weight [8], got [4]', () => apply('GroupNormalization', [f32(n, 8, h, w), f32(4), f32(8)], norm)],
      ['bias [8], got [8, 1]', () => apply('GroupNormalization', [f32(n, 8, h, w), f32(8), f32(8, 1)], norm)],
      [
        'the channels of x to be known, got [h]',
        () => apply('GroupNormalization', [f32(n, h, h, w), f32(8), f32(8)], norm),
      ],
      ['x of 4 axes, got [n, 8]', () => apply('GroupNormalization', [f32(n, 8), f32(8), f32(8)], norm)],
      [
        'inputs of one dtype, got float16 and float32',
        () => apply('GroupNormalization', [f16(n, 8, h, w), f32(8), f32(8)], norm),
      ],
    ],
  },
  LayerNormalization: {
    makes: 'float32 [n, h, 8]',
    accepted: () => apply('LayerNormalization', [f32(n, h, 8), f32(8), f32(8)], { epsilon: 1e-5 }),
    refused: [
      ['weight [8], got [7]', () => apply('LayerNormalization', [f32(n, 8), f32(7), f32(8)], { epsilon: 1e-5 })],
      ['bias [8], got []', () => apply('LayerNormalization', [f32(n, 8), f32(8), f32()], { epsilon: 1e-5 })],
      ['x of at least 1 axis, got []', () => apply('LayerNormalization', [f32(), f32(8), f32(8)], { epsilon: 1e-5 })],
      [
        'the last axis of x to be known, got [w]',
        () => apply('LayerNormalization', [f32(n, w), f32(8), f32(8)], { epsilon: 1e-5 }),
      ],
    ],
  },
  Attention: {
    makes: 'float32 [n, h, 8]',
    accepted: () => apply('Attention', [f32(n, h, 8), f32(n, 77, 8), f32(n, 77, 8), f32(n, 1, 1, 77)], heads),
    refused: [
      [
        'features divisible by 2 heads, got 7',
        () => apply('Attention', [f32(n, h, 7), f32(n, w, 7), f32(n, w, 7)], heads),
      ],
      [
        'key and query to have equally many features, got [n, w, 4]',
        () => apply('Attention', [f32(n, h, 8), f32(n, w, 4), f32(n, w, 4)], heads),
      ],
      [
        'key and query to have one batch, got [1, w, 8]',
        () => apply('Attention', [f32(n, h, 8), f32(1, w, 8), f32(1, w, 8)], heads),
      ],
      ['value [n, w, 8], got [n, h, 8]', () => apply('Attention', [f32(n, h, 8), f32(n, w, 8), f32(n, h, 8)], heads)],
      ['value [n, w, 8], got [n, w, 6]', () => apply('Attention', [f32(n, h, 8), f32(n, w, 8), f32(n, w, 6)], heads)],
      ['query of 3 axes, got [n, 8]', () => apply('Attention', [f32(n, 8), f32(n, w, 8), f32(n, w, 8)], heads)],
      [
        'bias of 4 axes, got [h, w]',
        () => apply('Attention', [f32(n, h, 8), f32(n, w, 8), f32(n, w, 8), f32(h, w)], heads),
      ],
      [
        'shapes that broadcast, got [n, 3, h, w] and [n, 2, h, w]',
        () => apply('Attention', [f32(n, h, 8), f32(n, w, 8), f32(n, w, 8), f32(n, 3, h, w)], heads),
      ],
      [
        'bias to expand to [1, 2, h, w], got [5, 1, h, w]',
        () => apply('Attention', [f32(1, h, 8), f32(1, w, 8), f32(1, w, 8), f32(5, 1, h, w)], heads),
      ],
    ],
  },
  Geglu: {
    makes: 'float32 [n, h, 4]',
    accepted: () => apply('Geglu', [f32(n, h, 8)], {}),
    refused: [
      ['an even number of features, got 7', () => apply('Geglu', [f32(n, 7)], {})],
      ['the last axis of x to be known, got [h]', () => apply('Geglu', [f32(n, h)], {})],
      ['x of at least 1 axis, got []', () => apply('Geglu', [f32()], {})],
      ['floating point numbers, got bool', () => apply('Geglu', [bool(2)], {})],
    ],
  },
  ResizeNearest: {
    makes: 'float32 [n, 3, 2*h, 16]',
    accepted: () => apply('ResizeNearest', [f32(n, 3, h, w)], { height: multiplyDims(2, h), width: 16 }),
    refused: [['x of 4 axes, got [n, h, w]', () => apply('ResizeNearest', [f32(n, h, w)], { height: 8, width: 8 })]],
  },
  AveragePool2x2: {
    makes: 'float32 [n, 3, floor((h + 1)/2), 4]',
    accepted: () => apply('AveragePool2x2', [f32(n, 3, h, 7)], {}),
    refused: [['x of 4 axes, got [n]', () => apply('AveragePool2x2', [f32(n)], {})]],
  },
  PixelUnshuffle: {
    makes: 'float32 [n, 192, h, 2]',
    accepted: () => apply('PixelUnshuffle', [f32(n, 3, multiplyDims(8, h), 16)], { factor: 8 }),
    refused: [
      [
        'height and width divisible by 8, got [n, 3, 8*h, 15]',
        () => apply('PixelUnshuffle', [f32(n, 3, multiplyDims(8, h), 15)], { factor: 8 }),
      ],
      [
        'height and width divisible by 8, got [n, 3, h, 16]',
        () => apply('PixelUnshuffle', [f32(n, 3, h, 16)], { factor: 8 }),
      ],
      ['x of 4 axes, got [3, 8, 8]', () => apply('PixelUnshuffle', [f32(3, 8, 8)], { factor: 8 })],
    ],
  },
  FlattenSpatial: {
    makes: 'float32 [n, h*w, 3]',
    accepted: () => apply('FlattenSpatial', [f32(n, 3, h, w)], {}),
    refused: [['x of 4 axes, got [n, 3, h]', () => apply('FlattenSpatial', [f32(n, 3, h)], {})]],
  },
  UnflattenSpatial: {
    makes: 'float32 [n, 3, w, h]',
    accepted: () => apply('UnflattenSpatial', [f32(n, multiplyDims(h, w), 3)], { height: w, width: h }),
    refused: [
      [
        'height times width positions, got [n, h*w, 3]',
        () => apply('UnflattenSpatial', [f32(n, multiplyDims(h, w), 3)], { height: h, width: h }),
      ],
      ['x of 3 axes, got [12]', () => apply('UnflattenSpatial', [f32(12)], { height: 3, width: 4 })],
    ],
  },
  Reshape: {
    makes: 'bool [2*n, h, 3]',
    accepted: () => apply('Reshape', [bool(n, 6, h)], { shape: [multiplyDims(2, n), h, 3] }),
    refused: [
      ['as many elements as [n, 5], got [n, 6]', () => apply('Reshape', [f32(n, 6)], { shape: [n, 5] })],
      ['as many elements as [h], got [w]', () => apply('Reshape', [f32(w)], { shape: [h] })],
    ],
  },
  Expand: {
    makes: 'int64 [n, 4, h]',
    accepted: () => apply('Expand', [i64(4, 1)], { shape: [n, 4, h] }),
    refused: [
      ['x to expand to [1, 3], got [2, 3]', () => apply('Expand', [f32(2, 3)], { shape: [1, 3] })],
      ['x to expand to [3], got [1, 3]', () => apply('Expand', [f32(1, 3)], { shape: [3] })],
      ['shapes that broadcast, got [2, 3] and [2, 4]', () => apply('Expand', [f32(2, 3)], { shape: [2, 4] })],
    ],
  },
  Concat: {
    makes: 'float32 [n, h + 5, 3]',
    accepted: () => apply('Concat', [f32(n, 2, 3), f32(n, h, 3), f32(n, 3, 3)], { axis: 1 }),
    refused: [
      [
        'shapes equal but for axis 1, got [n, 2, 3] and [n, 2, 4]',
        () => apply('Concat', [f32(n, 2, 3), f32(n, 2, 4)], { axis: 1 }),
      ],
      [
        'shapes equal but for axis 1, got [n, 2] and [n, 2, 1]',
        () => apply('Concat', [f32(n, 2), f32(n, 2, 1)], { axis: 1 }),
      ],
      ['an axis of [n, 2], got 2', () => apply('Concat', [f32(n, 2), f32(n, 2)], { axis: 2 })],
      ['an axis of [n, 2], got -1', () => apply('Concat', [f32(n, 2), f32(n, 2)], { axis: -1 })],
      ['at least one input, got 0', () => apply('Concat', [], { axis: 0 })],
      ['inputs of one dtype, got float32 and int64', () => apply('Concat', [f32(n), i64(n)], { axis: 0 })],
    ],
  },
  Slice: {
    makes: 'float32 [n, 4]',
    accepted: () => apply('Slice', [f32(multiplyDims(2, n), 4)], { axis: 0, start: n, end: multiplyDims(2, n) }),
    refused: [
      ['an axis of [n, 4], got 2', () => apply('Slice', [f32(n, 4)], { axis: 2, start: 0, end: 1 })],
      ['0 <= start <= end <= 4, got [0, 5]', () => apply('Slice', [f32(n, 4)], { axis: 1, start: 0, end: 5 })],
      ['0 <= start <= end <= n, got [-1, 5]', () => apply('Slice', [f32(n, 4)], { axis: 0, start: -1, end: 5 })],
      ['0 <= start <= end <= 4, got [3, 2]', () => apply('Slice', [f32(n, 4)], { axis: 1, start: 3, end: 2 })],
    ],
  },
  Gather: {
    makes: 'float16 [n, 77, 8]',
    accepted: () => apply('Gather', [f16(100, 8), i64(n, 77)], {}),
    refused: [
      ['int64 indices, got float32', () => apply('Gather', [f32(100, 8), f32(n)], {})],
      ['table of at least 1 axis, got []', () => apply('Gather', [f32(), i64(n)], {})],
    ],
  },
  Where: {
    makes: 'float32 [n, 77, 8]',
    accepted: () => apply('Where', [bool(n, 77, 1), f32(8), f32(n, 1, 8)], {}),
    refused: [
      ['a bool condition, got int64', () => apply('Where', [i64(n), f32(n), f32(n)], {})],
      ['inputs of one dtype, got float32 and float16', () => apply('Where', [bool(n), f32(n), f16(n)], {})],
      ['shapes that broadcast, got [n] and [3]', () => apply('Where', [bool(n), f32(3), f32(3)], {})],
    ],
  },
  ReduceMean: reduction('ReduceMean'),
  ReduceSum: reduction('ReduceSum'),
  Transpose: {
    makes: 'float32 [h, n, 3]',
    accepted: () => apply('Transpose', [f32(n, 3, h)], { perm: [2, 0, 1] }),
    refused: [
      ['a permutation of the axes of [n, 3], got [0,0]', () => apply('Transpose', [f32(n, 3)], { perm: [0, 0] })],
      ['a permutation of the axes of [n, 3], got [1]', () => apply('Transpose', [f32(n, 3)], { perm: [1] })],
    ],
  },
  ConvInputGradient: {
    makes: 'float32 [n, 4, 9, 9]',
    accepted: () => apply('ConvInputGradient', [f32(n, 6, 5, 5), f32(6, 4, 3, 3)], { ...halved, height: 9, width: 9 }),
    refused: [
      [
        'a cotangent [n, 6, 5, 5], got [n, 6, 4, 5]',
        () => apply('ConvInputGradient', [f32(n, 6, 4, 5), f32(6, 4, 3, 3)], { ...halved, height: 9, width: 9 }),
      ],
      [
        'a cotangent [n, 6, 5, 5], got [n, 7, 5, 5]',
        () => apply('ConvInputGradient', [f32(n, 7, 5, 5), f32(6, 4, 3, 3)], { ...halved, height: 9, width: 9 }),
      ],
    ],
  },
  ConvWeightGradient: {
    makes: 'float32 [6, 4, 3, 3]',
    accepted: () => apply('ConvWeightGradient', [f32(n, 4, 9, 9), f32(n, 6, 5, 5)], { ...halved, kernel: [3, 3] }),
    refused: [
      [
        'a cotangent [n, 6, 5, 5], got [h, 6, 5, 5]',
        () => apply('ConvWeightGradient', [f32(n, 4, 9, 9), f32(h, 6, 5, 5)], { ...halved, kernel: [3, 3] }),
      ],
    ],
  },
  GatherGradient: {
    makes: 'float32 [7, 4]',
    accepted: () => apply('GatherGradient', [f32(n, 3, 4), i64(n, 3)], { rows: 7 }),
    refused: [
      [
        'cotangent to begin with [n, 3], got [n, 2, 4]',
        () => apply('GatherGradient', [f32(n, 2, 4), i64(n, 3)], { rows: 7 }),
      ],
      ['int64 indices, got float32', () => apply('GatherGradient', [f32(n, 4), f32(n)], { rows: 7 })],
    ],
  },
};

describe.each(Object.entries(cases))('%s', (op, { makes, accepted, refused }) => {
  test(`makes ${makes}`, () => {
    const { dtype, shape } = accepted();
    expect(`${dtype} ${shapeToString(shape)}`).toBe(makes);
  });

  test.each(refused)('refuses what needs %s', (message, build) => {
    expect(build).toThrow(GraphError);
    expect(build).toThrow(new GraphError(`cannot apply ${op}: needs ${message}`));
  });
});
