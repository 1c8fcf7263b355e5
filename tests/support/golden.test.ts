import { expect, test } from 'vitest';
import { expectGolden, fnv1a, type GoldenStatistics, goldenStream, goldenTensor } from './golden.ts';

// Mean, rms and dot of the four published check values, computed by hand from their printed digits.
const STATISTICS: GoldenStatistics = {
  shape: [4],
  first: [0.150086, -0.920558, -0.629819, 0.717641],
  last: 0.717641,
  mean: -0.170663,
  rms: 0.667389,
  dot: 1.78163,
};

test('name hash gives the published check value', () => {
  expect(fnv1a('check')).toBe(3010534471);
  expect(fnv1a('')).toBe(0x811c9dc5);
});

test('name-seeded stream gives the published check values', () => {
  const published = [0.150085525, -0.920558278, -0.629819462, 0.717641042];
  for (const [index, value] of goldenStream('check', 4).entries()) expect(value).toBeCloseTo(published[index]!, 9);
});

test('golden tensors follow the rule of their name and rank', () => {
  const [v] = goldenStream('a.bias', 1);
  expect(goldenTensor('a.bias', [1])[0]).toBeCloseTo(0.1 * v!, 7);
  const [w] = goldenStream('a.weight', 1);
  expect(goldenTensor('a.weight', [1])[0]).toBeCloseTo(1 + 0.1 * w!, 6);
  expect(goldenTensor('a.weight', [2, 3, 2, 2])[0]).toBeCloseTo(w! * Math.sqrt(3 / 12), 7);
  const [e] = goldenStream('class_embedding', 1);
  expect(goldenTensor('class_embedding', [5])[0]).toBeCloseTo(0.1 * e!, 7);
  const [x] = goldenStream('in:x', 1);
  expect(goldenTensor('in:x', [1, 4])[0]).toBeCloseTo(x! * Math.sqrt(3), 6);
});

test('golden comparison passes on the values it was made from', () => {
  expectGolden(goldenStream('check', 4), STATISTICS, 1e-6);
});

test('golden comparison names the statistic and both values when one differs', () => {
  const actual = goldenStream('check', 4);
  actual[1] = -0.9;
  expect(() => expectGolden(actual, STATISTICS, 1e-4)).toThrow(/first\[1\] is -0.9, the golden value is -0.920558/);
  expect(() => expectGolden(goldenStream('check', 4), { ...STATISTICS, dot: 1.9 }, 1e-4)).toThrow(/dot is 1.7816/);
  expect(() => expectGolden(actual.fill(Number.NaN), STATISTICS, 1e-4)).toThrow(/first\[0\] is NaN/);
});

test('golden comparison fails when the element count differs from the shape', () => {
  expect(() => expectGolden(goldenStream('check', 5), STATISTICS, 1e-4)).toThrow(/element count of shape \[4\]/);
});
