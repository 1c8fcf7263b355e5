import { describe, expect, test } from 'vitest';
import { gradients } from '../../../worker/graph/gradient.ts';
import * as op from '../../../worker/graph/operators.ts';
import type { Value } from '../../../worker/graph/value.ts';
import { compile } from '../../../worker/runtime/compile.ts';
import { float32Tensor, int64Tensor, type Tensor } from '../../../worker/runtime/session.ts';
import { goldenStream } from '../../support/golden.ts';
import { floats } from '../../support/tiny-models.ts';

/** Inputs of a function under test: name to shape. */
type Shapes = Readonly<Record<string, readonly number[]>>;
type Build<S extends Shapes> = (inputs: { [N in keyof S]: Value }) => Value;

const count = (shape: readonly number[]) => shape.reduce((product, size) => product * size, 1);

/** Values in [-1, 1) that differ per name; kept off 0, where relu has no derivative. */
function sample(name: string, shape: readonly number[]): Float64Array {
  return goldenStream(`gradient:${name}`, count(shape)).map((value) => value + Math.sign(value) * 0.05);
}

/**
 * Compares the gradients of Σ w·f(x), for fixed random w, with central differences of second and fourth order combined.
 * ONNX Runtime computes in float32, so the differences are taken with a large step and extrapolated (Richardson): their
 * error is about 1e-3 of the gradient's size.
 */
async function expectGradients<S extends Shapes>(
  shapes: S,
  build: Build<S>,
  fixed: Record<string, Tensor> = {},
): Promise<void> {
  const names = Object.keys(shapes);
  const inputs = Object.fromEntries(
    names.map((name) => [name, op.input(name, { shape: shapes[name]!, dtype: 'float32' })]),
  );
  const result = build(inputs as { [N in keyof S]: Value });
  const shape = result.shape.map(Number);
  const weights = op.constant([...sample('weights', shape)], shape, 'float32');
  const loss = op.reduceSum(op.reshape(op.mul(result, weights), [count(shape)]), [0]);
  const wrt = names.map((name) => inputs[name]!);
  const outputs = Object.fromEntries(gradients(loss, wrt).map((gradient, i) => [`gradient:${names[i]}`, gradient]));
  const session = await compile(
    { ...outputs, loss, result },
    { device: 'cpu', threads: 1, checkpoints: {}, lowering: 'portable' },
  );
  const point = Object.fromEntries(names.map((name) => [name, sample(name, shapes[name]!)]));
  const run = async (at: Record<string, Float64Array>) => {
    const feeds = names.map((name) => [name, float32Tensor(Float32Array.from(at[name]!), shapes[name]!)]);
    return session.run({ ...Object.fromEntries(feeds), ...fixed });
  };
  /** The loss summed in float64, so that only the operator's own rounding is left. */
  const lossAt = async (at: Record<string, Float64Array>) => {
    const values = floats((await run(at))['result']);
    const weighted = sample('weights', shape);
    return values.reduce((sum, value, i) => sum + value * Math.fround(weighted[i]!), 0);
  };
  const computed = await run(point);
  for (const name of names) {
    const gradient = floats(computed[`gradient:${name}`]);
    const size = Math.sqrt(gradient.reduce((sum, value) => sum + value ** 2, 0) / gradient.length) + 1e-3;
    for (const i of spread(gradient.length, 12)) {
      const slope = async (step: number) => {
        const moved = (sign: number) => ({
          ...point,
          [name]: point[name]!.map((value, k) => (k === i ? value + sign * step : value)),
        });
        return ((await lossAt(moved(1))) - (await lossAt(moved(-1)))) / (2 * step);
      };
      const [coarse, fine] = [await slope(0.04), await slope(0.02)];
      const expected = (4 * fine - coarse) / 3;
      expect(
        Math.abs(gradient[i]! - expected),
        `${name}[${i}] is ${gradient[i]}, differences give ${expected}`,
      ).toBeLessThan(4e-3 * Math.max(size, Math.abs(expected)));
    }
  }
  await session.dispose();
}

/** At most `most` indices, evenly spread, the first and last among them. */
function spread(length: number, most: number): number[] {
  if (length <= most) return Array.from({ length }, (_, i) => i);
  return Array.from({ length: most }, (_, i) => Math.round((i * (length - 1)) / (most - 1)));
}

describe('gradient matches finite differences', () => {
  test.each([
    ['Add', op.add],
    ['Sub', op.sub],
    ['Mul', op.mul],
  ] as const)('of %s with broadcasting on both sides', async (_, binary) => {
    await expectGradients({ a: [2, 1, 3], b: [4, 1] }, ({ a, b }) => binary(a, b));
  });

  test('of Div away from zero', async () => {
    await expectGradients({ a: [2, 3], b: [3] }, ({ a, b }) => op.div(a, op.add(op.mul(b, b), op.scalar(1, b))));
  });

  test.each([
    ['Sigmoid', op.sigmoid],
    ['Silu', op.silu],
    ['Gelu', op.gelu],
    ['QuickGelu', op.quickGelu],
    ['Relu', op.relu],
    ['Sin', op.sin],
    ['Cos', op.cos],
    ['Exp', op.exp],
    ['Erf', op.erf],
    ['Softmax', op.softmax],
    ['Geglu', op.geglu],
  ] as const)('of %s', async (_, unary) => {
    await expectGradients({ x: [3, 6] }, ({ x }) => unary(x));
  });

  test('of Log of a positive value', async () => {
    await expectGradients({ x: [5] }, ({ x }) => op.log(op.add(op.mul(x, x), op.scalar(0.5, x))));
  });

  test('of Sqrt of a positive value', async () => {
    await expectGradients({ x: [5] }, ({ x }) => op.sqrt(op.add(op.mul(x, x), op.scalar(0.5, x))));
  });

  test('of Linear with bias on three axes', async () => {
    await expectGradients({ x: [2, 3, 5], weight: [4, 5], bias: [4] }, ({ x, weight, bias }) =>
      op.linear(x, weight, bias),
    );
  });

  test.each([
    [false, false],
    [false, true],
    [true, false],
    [true, true],
  ])('of MatMul in a batch, transposed %s and %s', async (transposeA, transposeB) => {
    const shapes = { a: transposeA ? [2, 4, 3] : [2, 3, 4], b: transposeB ? [2, 5, 4] : [2, 4, 5] };
    await expectGradients(shapes, ({ a, b }) => op.matMul(a, b, { transposeA, transposeB }));
  });

  test.each([
    ['3 x 3', [2, 3, 6, 5], [4, 3, 3, 3], [1, 1], [1, 1, 1, 1]],
    ['3 x 3 of stride 2', [2, 3, 6, 5], [4, 3, 3, 3], [2, 2], [1, 1, 1, 1]],
    ['3 x 3 of stride 2 padded at the end', [1, 2, 6, 8], [3, 2, 3, 3], [2, 2], [0, 0, 1, 1]],
    ['1 x 1', [2, 3, 4, 5], [6, 3, 1, 1], [1, 1], [0, 0, 0, 0]],
    ['2 x 3 without padding', [1, 2, 5, 7], [3, 2, 2, 3], [1, 1], [0, 0, 0, 0]],
    ['4 x 4 patches of stride 4', [2, 3, 8, 12], [5, 3, 4, 4], [4, 4], [0, 0, 0, 0]],
    ['3 x 3 of unequal strides and pads', [1, 2, 7, 9], [3, 2, 3, 3], [2, 3], [1, 0, 2, 1]],
  ] as const)('of Conv %s', async (_, x, weight, strides, pads) => {
    await expectGradients({ x, weight, bias: [weight[0]] }, (v) => op.conv(v.x, v.weight, v.bias, { strides, pads }));
  });

  test.each([[undefined], ['silu']] as const)('of GroupNormalization with activation %s', async (activation) => {
    await expectGradients({ x: [2, 6, 3, 2], weight: [6], bias: [6] }, ({ x, weight, bias }) =>
      op.groupNormalization(x, weight, bias, { numGroups: 3, epsilon: 1e-5, activation }),
    );
  });

  test('of LayerNormalization', async () => {
    await expectGradients({ x: [2, 3, 7], weight: [7], bias: [7] }, ({ x, weight, bias }) =>
      op.layerNormalization(x, weight, bias, 1e-5),
    );
  });

  test.each([
    ['self-attention', 5, false],
    ['causal self-attention', 5, true],
    ['cross-attention', 3, false],
  ])('of %s', async (_, keys, isCausal) => {
    const shapes = { query: [2, 5, 6], key: [2, keys, 6], value: [2, keys, 6] };
    await expectGradients(shapes, ({ query, key, value }) =>
      op.attention(query, key, value, { numHeads: 2, isCausal }),
    );
  });

  test('of ResizeNearest by whole factors', async () => {
    await expectGradients({ x: [2, 2, 3, 2] }, ({ x }) => op.resizeNearest(x, 6, 6));
  });

  test('of AveragePool2x2 on odd sizes', async () => {
    await expectGradients({ x: [1, 2, 5, 4] }, ({ x }) => op.averagePool2x2(x));
  });

  test('of PixelUnshuffle, FlattenSpatial and UnflattenSpatial', async () => {
    await expectGradients({ x: [2, 3, 4, 6] }, ({ x }) =>
      op.unflattenSpatial(op.flattenSpatial(op.pixelUnshuffle(x, 2)), 2, 3),
    );
  });

  test('of Reshape, Transpose, Expand, Concat and Slice', async () => {
    await expectGradients({ a: [2, 3, 4], b: [1, 3, 4] }, ({ a, b }) => {
      const joined = op.concat([a, op.expand(b, [2, 3, 4])], 1);
      return op.transpose(op.slice(op.reshape(joined, [4, 3, 4]), 1, [1, 2]), [2, 0, 1]);
    });
  });

  test('of Gather, where rows that are read twice add up', async () => {
    const indices = op.input('indices', { shape: [2, 3], dtype: 'int64' });
    await expectGradients({ table: [5, 4] }, ({ table }) => op.gather(table, indices), {
      indices: int64Tensor([0, 2, 2, 4, 2, 0], [2, 3]),
    });
  });

  test('of Where', async () => {
    const signs = op.constant([1, -1, 1, -1, 1, 1], [2, 3], 'float32');
    await expectGradients({ a: [2, 3], b: [3] }, ({ a, b }) =>
      op.where(op.greater(signs, op.scalar(0, a)), op.mul(a, a), b),
    );
  });

  test.each([
    ['ReduceMean', op.reduceMean],
    ['ReduceSum', op.reduceSum],
  ] as const)('of %s', async (_, reduce) => {
    await expectGradients({ x: [2, 3, 4] }, ({ x }) => op.mul(reduce(x, [0, 2]), reduce(x, [0, 2])));
  });
});

describe('gradients', () => {
  test('add up over all uses of a value', async () => {
    await expectGradients({ x: [3] }, ({ x }) => op.add(op.mul(x, x), op.sin(x)));
  });

  test('emit nothing for what is frozen', () => {
    const [x, frozen, trained] = [
      op.input('x', { shape: [1, 3, 4, 4], dtype: 'float32' }),
      op.input('frozen', { shape: [3, 3, 3, 3], dtype: 'float32' }),
      op.input('trained', { shape: [3, 3, 3, 3], dtype: 'float32' }),
    ];
    const same = { strides: [1, 1], pads: [1, 1, 1, 1] } as const;
    const result = op.conv(op.conv(x, trained, undefined, same), frozen, undefined, same);
    const [gradient] = gradients(op.reduceSum(op.reshape(result, [48]), [0]), [trained]);
    const used = new Map<string, number>();
    const visit = (value: Value): void => {
      used.set(value.op, (used.get(value.op) ?? 0) + 1);
      for (const input of value.inputs) if (input) visit(input);
    };
    visit(gradient!);
    expect(used.get('ConvWeightGradient')).toBe(1);
    expect(used.get('ConvInputGradient')).toBe(1);
  });

  test('of a value that the loss does not depend on are refused by name', () => {
    const [x, other] = ['x', 'other'].map((name) => op.input(name, { shape: [1], dtype: 'float32' })) as [Value, Value];
    expect(() => gradients(op.mul(x, x), [other])).toThrow(/must depend on every value asked for, got other/);
  });

  test('of a resize that does not grow by whole factors are refused', () => {
    const x = op.input('x', { shape: [1, 1, 4, 4], dtype: 'float32' });
    const loss = op.reduceSum(op.reshape(op.resizeNearest(x, 7, 7), [49]), [0]);
    expect(() => gradients(loss, [x])).toThrow(/sizes must grow by whole factors/);
  });
});
