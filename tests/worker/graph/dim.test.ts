import { describe, expect, test } from 'vitest';
import {
  addDims,
  type Dim,
  type DimAlgebra,
  dimToString,
  equalDims,
  floorDivideDim,
  foldDim,
  multiplyDims,
  type SymbolValues,
  shapeToString,
  substituteDim,
  subtractDims,
  symbol,
} from '../../../worker/graph/dim.ts';
import { goldenStream } from '../../support/golden.ts';

const [h, w] = [symbol('h'), symbol('w')];
const half = (dim: Dim) => floorDivideDim(dim, 2);

describe('dimension has one canonical form', () => {
  test.each<[string, Dim, Dim]>([
    ['sums in any order', addDims(h, 3, w), addDims(w, 1, h, 2)],
    ['products in any order', multiplyDims(h, w, h), multiplyDims(h, h, w)],
    ['products of sums', multiplyDims(addDims(h, 1), addDims(h, -1)), addDims(multiplyDims(h, h), -1)],
    ['terms that cancel', subtractDims(addDims(h, 5), h), 5],
    ['zero', multiplyDims(0, h), 0],
    ['no factors', multiplyDims(), 1],
    ['no summands', addDims(), 0],
    ['floor of whole multiples', floorDivideDim(multiplyDims(8, h), 8), h],
    ['floor of whole multiples and a constant', floorDivideDim(addDims(multiplyDims(8, h), 7), 8), h],
    ['floor of a negative constant', floorDivideDim(addDims(multiplyDims(2, h), -1), 2), addDims(h, -1)],
    ['floor with whole multiples beside others', half(addDims(multiplyDims(2, h), w)), addDims(h, half(w))],
    ['floor of more than one whole', half(multiplyDims(3, h)), addDims(h, half(h))],
    ['floor of a negative multiple', half(multiplyDims(-1, h)), addDims(half(h), multiplyDims(-1, h))],
    ['nested floors', half(half(half(h))), floorDivideDim(h, 8)],
    ['nested floors with constants', half(addDims(half(addDims(h, 1)), 1)), floorDivideDim(addDims(h, 3), 4)],
    ['common divisors', floorDivideDim(multiplyDims(2, h), 6), floorDivideDim(h, 3)],
    ['common divisors with a constant', floorDivideDim(addDims(multiplyDims(2, h), 1), 6), floorDivideDim(h, 3)],
    ['division by one', floorDivideDim(h, 1), h],
    ['stride 2 as convolutions count it', addDims(half(addDims(h, 2, -3)), 1), half(addDims(h, 1))],
  ])('for %s', (_, a, b) => {
    expect(dimToString(a)).toBe(dimToString(b));
    expect(equalDims(a, b)).toBe(true);
  });

  test('and different dimensions have different ones', () => {
    const dims = [
      h,
      w,
      2,
      -2,
      addDims(h, w),
      multiplyDims(h, w),
      half(h),
      half(addDims(h, 1)),
      multiplyDims(2, half(h)),
    ];
    expect(new Set(dims.map(dimToString)).size).toBe(dims.length);
  });
});

test('dimension is written so that a person can read it', () => {
  expect(shapeToString([1, multiplyDims(2, h), addDims(half(addDims(w, 1)), 3)])).toBe(
    '[1, 2*h, floor((w + 1)/2) + 3]',
  );
});

test('dimension becomes simpler as symbols are fixed, and a number in the end', () => {
  const dim = addDims(multiplyDims(h, half(w)), floorDivideDim(addDims(h, w), 3));
  const partly = substituteDim(dim, { h: 6 });
  expect(equalDims(partly, addDims(multiplyDims(6, half(w)), floorDivideDim(w, 3), 2))).toBe(true);
  expect(substituteDim(partly, { w: 5 })).toBe(6 * 2 + 3);
  expect(substituteDim(7, { h: 6 })).toBe(7);
});

/** An expression as it is written, kept beside the dimension that it builds. */
type Expression =
  | { kind: 'symbol'; name: string }
  | { kind: 'number'; value: number }
  | { kind: 'add' | 'subtract' | 'multiply'; a: Expression; b: Expression }
  | { kind: 'floorDivide'; a: Expression; divisor: number };

const SYMBOLS = ['batch', 'h', 'w'];

function randomExpressions(seed: string, { depth, hasFloors }: { depth: number; hasFloors: boolean }) {
  const stream = goldenStream(seed, 2 ** 20);
  let position = 0;
  const below = (limit: number) => Math.floor(((stream[position++]! + 1) / 2) * limit);
  const expression = (levels: number): Expression => {
    const kind = levels === 0 ? below(2) : below(hasFloors ? 7 : 5);
    if (kind === 0) return { kind: 'number', value: below(13) - 4 };
    if (kind === 1) return { kind: 'symbol', name: SYMBOLS[below(SYMBOLS.length)]! };
    if (kind >= 5) return { kind: 'floorDivide', a: expression(levels - 1), divisor: 1 + below(8) };
    const operation = (['add', 'subtract', 'multiply'] as const)[kind - 2]!;
    return { kind: operation, a: expression(levels - 1), b: expression(levels - 1) };
  };
  return {
    next: () => expression(depth),
    values: (): SymbolValues => Object.fromEntries(SYMBOLS.map((name) => [name, 1 + below(40)])),
  };
}

function build(expression: Expression): Dim {
  if (expression.kind === 'symbol') return symbol(expression.name);
  if (expression.kind === 'number') return expression.value;
  if (expression.kind === 'floorDivide') return floorDivideDim(build(expression.a), expression.divisor);
  const operation = { add: addDims, subtract: subtractDims, multiply: multiplyDims }[expression.kind];
  return operation(build(expression.a), build(expression.b));
}

function evaluate(expression: Expression, values: SymbolValues): number {
  if (expression.kind === 'symbol') return values[expression.name]!;
  if (expression.kind === 'number') return expression.value;
  if (expression.kind === 'floorDivide') return Math.floor(evaluate(expression.a, values) / expression.divisor);
  const [a, b] = [evaluate(expression.a, values), evaluate(expression.b, values)];
  return { add: a + b, subtract: a - b, multiply: a * b }[expression.kind];
}

/** Numbers, with the division of a graph's integers: towards zero. */
function numbers(values: SymbolValues): DimAlgebra<number> {
  return {
    constant: (value) => value,
    symbol: (name) => values[name]!,
    add: (a, b) => a + b,
    multiply: (a, b) => a * b,
    floorDivide: (a, divisor) => Math.trunc(a / divisor),
  };
}

describe('dimension of a random expression', () => {
  test('has the value of the expression, even where division rounds towards zero', () => {
    const random = randomExpressions('dims', { depth: 4, hasFloors: true });
    for (let i = 0; i < 5000; i++) {
      const expression = random.next();
      const dim = build(expression);
      for (let sample = 0; sample < 4; sample++) {
        const values = random.values();
        const expected = evaluate(expression, values);
        const context = `${JSON.stringify(expression)} with ${JSON.stringify(values)} as ${dimToString(dim)}`;
        // Adding 0 turns -0 into 0.
        expect(foldDim(dim, numbers(values)) + 0, context).toBe(expected + 0);
        expect(Number(substituteDim(dim, values)) + 0, context).toBe(expected + 0);
      }
    }
  });

  test('equals another only where their values agree', () => {
    const random = randomExpressions('equal dims', { depth: 2, hasFloors: true });
    const samples = Array.from({ length: 30 }, () => random.values());
    const valuesByDim = new Map<string, string>();
    let repeated = 0;
    for (let i = 0; i < 5000; i++) {
      const expression = random.next();
      const key = dimToString(build(expression));
      const values = samples.map((sample) => evaluate(expression, sample) + 0).join();
      if (valuesByDim.has(key)) repeated++;
      expect(valuesByDim.get(key) ?? values, key).toBe(values);
      valuesByDim.set(key, values);
    }
    expect(repeated).toBeGreaterThan(1000);
  });

  test('without division equals another wherever their values agree', () => {
    const random = randomExpressions('polynomials', { depth: 3, hasFloors: false });
    const samples = Array.from({ length: 30 }, () => random.values());
    const dimByValues = new Map<string, Dim>();
    for (let i = 0; i < 5000; i++) {
      const expression = random.next();
      const dim = build(expression);
      const values = samples.map((sample) => evaluate(expression, sample) + 0).join();
      const known = dimByValues.get(values) ?? dim;
      expect(equalDims(known, dim), `${dimToString(known)} and ${dimToString(dim)}`).toBe(true);
      dimByValues.set(values, known);
    }
  });
});
