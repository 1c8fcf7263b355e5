import { expect, test } from 'vitest';
import type { Predict } from '../../../worker/diffusion/stable-diffusion.ts';
import { measureDrift, recordDriftProbe } from '../../../worker/training/drift.ts';

const SCHEDULER = {
  solver: 'euler',
  betaSchedule: 'scaled_linear',
  betaStart: 0.00085,
  betaEnd: 0.012,
  stepsOffset: 1,
} as const;
const OPTIONS = { scheduler: SCHEDULER, latentShape: [4, 8, 8] } as const;

/** A model of its own: the noise that a sample would hold if the picture were grey. */
const base: Predict = async ({ data }, timestep) =>
  (data as Float32Array).map((value) => value * (0.4 + (0.5 * timestep) / 1000));

test('drift is 0 for a model that says the same, and the share of the change for one that exaggerates', async () => {
  const probe = await recordDriftProbe(base, OPTIONS);
  expect(await measureDrift(base, probe)).toBe(0);
  const louder: Predict = async (sample, timestep) => (await base(sample, timestep)).map((value) => 1.25 * value);
  expect(await measureDrift(louder, probe)).toBeCloseTo(25, 4);
  const opposite: Predict = async (sample, timestep) => (await base(sample, timestep)).map((value) => -value);
  expect(await measureDrift(opposite, probe)).toBeCloseTo(200, 4);
});

test('drift weighs differences by their energy, so that one in a single step counts by its share', async () => {
  const probe = await recordDriftProbe(base, OPTIONS);
  const timestep = probe.points[3]!.timestep;
  const changed: Predict = async (sample, t) => (t === timestep ? new Float32Array(256) : base(sample, t));
  const energy = ({ prediction }: { prediction: Float32Array }) =>
    prediction.reduce((sum, value) => sum + value ** 2, 0);
  const total = probe.points.reduce((sum, point) => sum + energy(point), 0);
  const lost = probe.points
    .filter((point) => point.timestep === timestep)
    .reduce((sum, point) => sum + energy(point), 0);
  expect(await measureDrift(changed, probe)).toBeCloseTo(100 * Math.sqrt(lost / total), 6);
});

test('drift is measured from noise to picture, from the same noises each time', async () => {
  const [first, second] = [await recordDriftProbe(base, OPTIONS), await recordDriftProbe(base, OPTIONS)];
  expect(first).toEqual(second);
  expect(first.points.map(({ timestep }) => timestep)).toEqual([
    831, 665, 499, 333, 167, 1, 831, 665, 499, 333, 167, 1,
  ]);
  expect(first.points[0]!.sample.data).not.toEqual(first.points[6]!.sample.data);
  const deviation = ({ data }: { data: ArrayLike<unknown> }) =>
    Math.sqrt(Array.from(data, Number).reduce((sum, value) => sum + value ** 2, 0) / data.length);
  expect(deviation(first.points[0]!.sample)).toBeCloseTo(1, 0);
});
