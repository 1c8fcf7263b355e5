import { expect, test } from 'vitest';
import { UserError } from '../../../shared/errors.ts';
import { RandomGenerator, randomSeed } from '../../../worker/runtime/random.ts';

/** Largest difference to the float32 approximations of log, cos and sin in PyTorch. */
const TOLERANCE = 1e-6;

// torch 2.13.0 (CPU, AVX512): torch.randn(size, generator=torch.Generator().manual_seed(42)); the sum is in double.
const NORMAL = [
  {
    size: 4,
    first: [0.33669036626815796, 0.12880940735340118, 0.23446236550807953, 0.23033303022384644],
    last: [0.33669036626815796, 0.12880940735340118, 0.23446236550807953, 0.23033303022384644],
    sum: 0.9302951693534851,
  },
  {
    size: 15,
    first: [0.33669036626815796, 0.12880940735340118, 0.23446236550807953, 0.23033303022384644],
    last: [0.809357225894928, 1.110290288925171, -1.6897989511489868, -0.9889599084854126],
    sum: 1.6961162984371185,
  },
  {
    size: 16,
    first: [1.9269152879714966, 1.4872840642929077, 0.9007171988487244, -2.1055209636688232],
    last: [-0.7278813123703003, -0.5594301819801331, -0.7688388824462891, 0.7624453902244568],
    sum: -2.1876682862639427,
  },
  {
    size: 17,
    first: [1.9269152879714966, -0.1595974713563919, -0.4973975419998169, 0.439589262008667],
    last: [0.041759490966796875, -0.2515752911567688, 0.859858512878418, -0.3097267746925354],
    sum: 8.21729576587677,
  },
  {
    size: 100,
    first: [1.9269152879714966, 1.4872840642929077, 0.9007171988487244, -2.1055209636688232],
    last: [-0.9864386320114136, 0.12329912185668945, 0.3498677611351013, 0.6172807216644287],
    sum: 5.976558558526449,
  },
  {
    size: 16384,
    first: [1.9269152879714966, 1.4872840642929077, 0.9007171988487244, -2.1055209636688232],
    last: [-0.8111438155174255, -0.6357504725456238, 0.9728097319602966, -0.29340609908103943],
    sum: 149.76480043913034,
  },
];

function expectClose(values: Float32Array, expected: readonly number[]): void {
  expect(values.length).toBe(expected.length);
  for (const [i, value] of values.entries()) expect(Math.abs(value - expected[i]!)).toBeLessThan(TOLERANCE);
}

test.each(NORMAL)('randn equals PyTorch when $size numbers are drawn with seed 42', ({ size, first, last, sum }) => {
  const values = new RandomGenerator(42).randn(size);
  expect(values.length).toBe(size);
  expectClose(values.subarray(0, 4), first);
  expectClose(values.subarray(-4), last);
  const total = values.reduce((partial, value) => partial + value, 0);
  expect(Math.abs(total - sum)).toBeLessThan(TOLERANCE * Math.sqrt(size));
});

test('randn equals PyTorch when one generator is asked again, the waiting half of a pair included', () => {
  // torch 2.13.0, seed 42: torch.randn of 3, 2, 20 and 1 numbers.
  const generator = new RandomGenerator(42);
  expectClose(generator.randn(3), [0.33669036626815796, 0.12880940735340118, 0.23446236550807953]);
  expectClose(generator.randn(2), [0.23033303022384644, -1.1228563785552979]);
  expectClose(
    generator.randn(20),
    [
      -0.24825750291347504, -1.2082147598266602, -0.4776674509048462, 0.5201311707496643, -1.3846737146377563,
      -0.8712361454963684, -0.223365917801857, 1.7173614501953125, 0.3188803195953369, -0.42451897263526917,
      0.3057209253311157, -0.7745925188064575, -1.5575724840164185, 0.9956361055374146, -0.8797858357429504,
      -0.6011420488357544, -1.2741512060165405, 2.1227850914001465, -1.234653115272522, -0.4879138767719269,
    ],
  );
  expectClose(generator.randn(1), [-0.18632829189300537]);
});

test('uniform equals PyTorch exactly', () => {
  // torch 2.13.0, seed 7: torch.rand(5).
  expect([...new RandomGenerator(7).uniform(5)]).toEqual([
    0.5349225401878357, 0.19880318641662598, 0.6592116951942444, 0.6568902730941772, 0.23276156187057495,
  ]);
});

test.each([
  { below: 10, expected: [2, 7, 6] },
  { below: 1000, expected: [542, 67, 876] },
  { below: 2 ** 28 - 1, expected: [266460267, 199900607, 56755051] },
])('randint equals PyTorch exactly when below is $below', ({ below, expected }) => {
  // torch 2.13.0, seed 42: torch.randint(0, below, (3,)).
  const generator = new RandomGenerator(42);
  expect(expected.map(() => generator.randint(below))).toEqual(expected);
});

test.each([0, -1, 1.5, 2 ** 28, Number.NaN])('randint refuses the bound %s', (below) => {
  expect(() => new RandomGenerator(0).randint(below)).toThrow('Cannot draw an integer');
});

test('generator uses the lowest 32 bits when the seed is longer', () => {
  // torch 2.13.0: torch.randn(4) with seed 2^40 + 7, and with seed 2^53 - 1, which equals seed -1.
  expectClose(
    new RandomGenerator(2 ** 40 + 7).randn(4),
    [-0.1467950940132141, 0.7861412763595581, 0.9468216300010681, -1.1143440008163452],
  );
  expectClose(
    new RandomGenerator(2 ** 53 - 1).randn(4),
    [1.2197630405426025, -0.3929794728755951, 1.0230751037597656, -0.3734211325645447],
  );
  expect(new RandomGenerator(2 ** 32).uniform(3)).toEqual(new RandomGenerator(0).uniform(3));
});

test.each([-1, 0.5, 2 ** 53, Number.NaN])('generator refuses the seed %s', (seed) => {
  expect(() => new RandomGenerator(seed)).toThrow(UserError);
});

test('randn has mean 0, variance 1 and kurtosis 3 when a million numbers are drawn', () => {
  const values = new RandomGenerator(0).randn(1_000_000);
  const moment = (power: number) => values.reduce((sum, value) => sum + value ** power, 0) / values.length;
  // Five standard errors: sqrt(1, 2 and 96) / 1000.
  expect(Math.abs(moment(1))).toBeLessThan(0.005);
  expect(Math.abs(moment(2) - 1)).toBeLessThan(0.0071);
  expect(Math.abs(moment(4) - 3)).toBeLessThan(0.049);
});

test('randomSeed draws uint32 values that differ', () => {
  const seeds = Array.from({ length: 100 }, randomSeed);
  for (const seed of seeds) expect(seed).toBe(seed >>> 0);
  expect(new Set(seeds).size).toBeGreaterThan(98);
});
