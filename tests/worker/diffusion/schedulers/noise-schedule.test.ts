import { expect, test } from 'vitest';
import {
  alphasCumprod,
  karrasSigmas,
  sigmaTable,
  timestepAt,
} from '../../../../worker/diffusion/schedulers/noise-schedule.ts';
import { parseSchedulerConfig, solverSettings } from '../../../../worker/diffusion/schedulers/scheduler-config.ts';

const SD1 = { _class_name: 'PNDMScheduler', beta_schedule: 'scaled_linear', beta_start: 0.00085, beta_end: 0.012 };

test('alphasCumprod and sigmas have the values of Stable Diffusion', () => {
  const config = parseSchedulerConfig(SD1);
  const alphas = alphasCumprod(config);
  const reference = {
    0: 0.99914998,
    1: 0.998296,
    250: 0.673792,
    500: 0.276332,
    750: 0.0561698,
    981: 0.0057755,
    999: 0.0046601,
  };
  for (const [timestep, value] of Object.entries(reference))
    expect(alphas[Number(timestep)]! / value).toBeCloseTo(1, 5);
  const sigmas = sigmaTable(solverSettings(config, 'euler'));
  expect(sigmas[0]).toBeCloseTo(0.0291675, 6);
  expect(sigmas[999]).toBeCloseTo(14.6146, 4);
});

test('zero terminal signal keeps the first level and removes the last', () => {
  const config = parseSchedulerConfig({ ...SD1, rescale_betas_zero_snr: true });
  const alphas = alphasCumprod(config);
  expect(alphas[0]).toBeCloseTo(0.99914998, 6);
  expect(alphas[999]).toBe(0);
  expect(sigmaTable(solverSettings(config, 'euler'))[999]).toBeCloseTo(4096, 0);
});

test('cosine schedule follows its formula where betas are not capped', () => {
  const alphas = alphasCumprod(parseSchedulerConfig({ ...SD1, beta_schedule: 'squaredcos_cap_v2' }));
  const alphaBar = (t: number) => Math.cos(((t + 0.008) / 1.008) * (Math.PI / 2)) ** 2;
  for (const timestep of [0, 250, 500, 900]) {
    expect(alphas[timestep]! / (alphaBar((timestep + 1) / 1000) / alphaBar(0))).toBeCloseTo(1, 4);
  }
});

test('trained betas replace the schedule', () => {
  const config = parseSchedulerConfig({ ...SD1, num_train_timesteps: 3, trained_betas: [0.5, 0.5, 0.75] });
  expect(Array.from(alphasCumprod(config))).toEqual([0.5, 0.25, 0.0625]);
});

test('timestep of a sigma inverts the table', () => {
  const sigmas = sigmaTable(solverSettings(parseSchedulerConfig(SD1), 'euler'));
  for (const timestep of [0, 1, 500, 999]) expect(timestepAt(sigmas, sigmas[timestep]!)).toBeCloseTo(timestep, 3);
  expect(timestepAt(sigmas, 100)).toBe(999);
  expect(timestepAt(sigmas, 0.001)).toBe(0);
});

test('Karras sigmas span their range, and a single one is the largest', () => {
  const sigmas = karrasSigmas(14.6146, 0.0291675, 10);
  expect(sigmas[0]).toBeCloseTo(14.6146, 9);
  expect(sigmas[4]).toBeCloseTo(1.74942, 4);
  expect(sigmas[9]).toBeCloseTo(0.0291675, 9);
  expect(karrasSigmas(14.6146, 0.0291675, 1)).toEqual(Float64Array.of(karrasSigmas(14.6146, 0.0291675, 2)[0]!));
});
