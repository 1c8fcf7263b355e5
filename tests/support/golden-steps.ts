/** Training steps on tiny networks, and the numbers that they are to have. */
import { expect } from 'vitest';
import { alphasCumprod } from '../../worker/diffusion/schedulers/noise-schedule.ts';
import { parseSchedulerConfig } from '../../worker/diffusion/schedulers/scheduler-config.ts';
import { input } from '../../worker/graph/operators.ts';
import type { Scope } from '../../worker/graph/scope.ts';
import type { Value } from '../../worker/graph/value.ts';
import { unet } from '../../worker/networks/unet.ts';
import { parseUnetConfig } from '../../worker/networks/unet-config.ts';
import { float32Tensor, type Tensor } from '../../worker/runtime/session.ts';
import type { Trainable } from '../../worker/training/adamw.ts';
import { diffusionLoss, type LossTarget, lossInputs } from '../../worker/training/diffusion-loss.ts';
import { type GoldenStatistics, loadGolden } from './golden.ts';
import { goldenInput, tinyConfigs } from './tiny-models.ts';

// diffusers 0.40.0.dev0 modules with torch 2.13's AdamW, CPU fp32, in a loop written for these numbers.
export interface StepGolden {
  loss: number;
  grad_norm: number;
}
export const golden: Record<string, unknown> = await loadGolden('training.json');

export const statistics = (name: string) => golden[name] as GoldenStatistics;
export const stepOf = (name: string) => golden[name] as StepGolden & Record<string, number>;
export const near = (actual: number, expected: number) =>
  expect(Math.abs(actual - expected)).toBeLessThan(1e-3 * Math.abs(expected));

export const SCHEDULER = parseSchedulerConfig({
  _class_name: 'DDPMScheduler',
  beta_start: 0.00085,
  beta_end: 0.012,
  beta_schedule: 'scaled_linear',
});
export const TIMESTEPS = [10, 250, 600, 950];

/** The batch that every golden step sees. */
export function batchFeeds(weights: readonly number[]): Record<string, Tensor> {
  const table = alphasCumprod(SCHEDULER);
  const perSample = (values: number[], ...ones: number[]) => float32Tensor(Float32Array.from(values), [4, ...ones]);
  return {
    [lossInputs.latents]: goldenInput('train_latents', [4, 4, 8, 8]),
    [lossInputs.noise]: goldenInput('train_noise', [4, 4, 8, 8]),
    [lossInputs.timestep]: perSample(TIMESTEPS),
    [lossInputs.signal]: perSample(
      TIMESTEPS.map((t) => Math.sqrt(table[t]!)),
      1,
      1,
      1,
    ),
    [lossInputs.sigma]: perSample(
      TIMESTEPS.map((t) => Math.sqrt(1 - table[t]!)),
      1,
      1,
      1,
    ),
    [lossInputs.weights]: perSample([...weights]),
  };
}

export const context = input('context', { shape: [4, 77, 12], dtype: 'float32' });
export const contextFeed = { context: goldenInput('train_ctx', [4, 77, 12]) };

export function describeLoss(predict: (noisy: Value, timestep: Value) => Value, target: LossTarget = 'epsilon') {
  return diffusionLoss({ batch: 4, latentShape: [4, 8, 8], target, predict });
}

export function sd1Unet(scope: Scope) {
  const config = parseUnetConfig(tinyConfigs['unet-sd1']);
  return (sample: Value, timestep: Value) => unet(scope, config, { sample, timestep, encoderHiddenStates: context });
}

/** Makes a substitute that lets every tensor of a component learn, and the list that it fills. */
export function learnAll() {
  const trainables: Trainable[] = [];
  const substitute = (name: string, shape: readonly number[]): Value => {
    const known = trainables.find((trainable) => trainable.name === name);
    if (known) return known.value;
    const value = input(name, { shape, dtype: 'float32' });
    trainables.push({ name, shape, value });
    return value;
  };
  return { trainables, substitute };
}

export function expectClose(actual: Float32Array, expected: readonly number[], tolerance: number): void {
  const size = Math.sqrt(expected.reduce((sum, value) => sum + value ** 2, 0) / expected.length);
  expected.forEach((value, i) => {
    expect(Math.abs(actual[i]! - value), `[${i}] is ${actual[i]}, expected ${value}`).toBeLessThan(tolerance * size);
  });
}
