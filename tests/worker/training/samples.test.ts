import { describe, expect, test } from 'vitest';
import { lossInputs } from '../../../worker/training/diffusion-loss.ts';
import { lessonInputs } from '../../../worker/training/lessons.ts';
import { type Example, type SampleOptions, stepFeeds } from '../../../worker/training/samples.ts';
import type { StepFeeds } from '../../../worker/training/trainer.ts';
import { floats } from '../../support/tiny-models.ts';

const AREA = 4;
const TIMESTEPS = 1000;
/** ᾱ falls evenly from 0.999 to 0: the SNR of timestep t is known by heart. */
const alphasCumprod = Float64Array.from({ length: TIMESTEPS }, (_, t) => 1 - (t + 1) / (TIMESTEPS + 1));
const snrOf = (t: number) => (TIMESTEPS - t) / (t + 1);

/** A picture whose values all are `value`. */
function example(value: number): Example {
  const conditions = { [lessonInputs.encoderHiddenStates]: { dims: [1, 2], data: Float32Array.of(value, value) } };
  return { latents: new Float32Array(2 * AREA).fill(value), conditions };
}

function options(changed: Partial<SampleOptions> = {}): SampleOptions {
  return {
    seed: 7,
    alphasCumprod,
    target: 'epsilon',
    instances: [1, 2, 3].map(example),
    classes: [],
    trainBatchSize: 2,
    priorLossWeight: 0,
    latentShape: [2, 2, 2],
    ...changed,
  };
}

function valuesOf(feeds: StepFeeds, name: string): number[] {
  return [...floats(feeds[name])];
}

/** One value of every step. */
function overSteps(count: number, name: string, changed: Partial<SampleOptions> = {}): number[] {
  return Array.from({ length: count }, (_, step) => valuesOf(stepFeeds(step, options(changed)), name)).flat();
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

describe('the feeds of a step', () => {
  test('are the same whenever they are asked for', () => {
    const asked = options({ offsetNoise: 0.1, emptyPrompt: { share: 0.5, conditions: example(0).conditions } });
    const inOrder = [0, 1, 2, 3].map((step) => stepFeeds(step, asked));
    expect([3, 1, 0, 2].map((step) => stepFeeds(step, asked))).toEqual([3, 1, 0, 2].map((step) => inOrder[step]));
    expect(inOrder[1]![lossInputs.noise]).not.toEqual(inOrder[0]![lossInputs.noise]);
    expect(stepFeeds(0, { ...asked, seed: 8 })[lossInputs.noise]).not.toEqual(inOrder[0]![lossInputs.noise]);
  });

  test('go round all pictures, class pictures after the instances', () => {
    const latents = (step: number) =>
      valuesOf(stepFeeds(step, options({ classes: [10, 20].map(example) })), lossInputs.latents).filter(
        (_, i) => i % (2 * AREA) === 0,
      );
    expect([0, 1, 2, 3].map(latents)).toEqual([
      [1, 2, 10, 20],
      [3, 1, 10, 20],
      [2, 3, 10, 20],
      [1, 2, 10, 20],
    ]);
  });

  test('noise by the schedule: signal² + sigma² is 1 and signal² is ᾱ of the timestep', () => {
    const feeds = stepFeeds(5, options());
    const [timesteps, signal, sigma] = [lossInputs.timestep, lossInputs.signal, lossInputs.sigma].map((name) =>
      valuesOf(feeds, name),
    );
    for (const [i, t] of timesteps!.entries()) {
      expect(signal![i]! ** 2).toBeCloseTo(alphasCumprod[t]!, 6);
      expect(signal![i]! ** 2 + sigma![i]! ** 2).toBeCloseTo(1, 6);
    }
    expect(feeds[lossInputs.signal]!.dims).toEqual([2, 1, 1, 1]);
  });

  test('have normal noise and even timesteps', () => {
    const noise = overSteps(2000, lossInputs.noise);
    expect(Math.abs(mean(noise))).toBeLessThan(0.03);
    expect(mean(noise.map((value) => value ** 2))).toBeCloseTo(1, 1);
    const timesteps = overSteps(2000, lossInputs.timestep);
    expect(Math.abs(mean(timesteps) - 499.5)).toBeLessThan(15);
    expect(Math.min(...timesteps)).toBeLessThan(5);
    expect(Math.max(...timesteps)).toBeGreaterThan(994);
  });
});

describe('the weights of samples', () => {
  test('are 1/B when nothing is asked for', () => {
    expect(valuesOf(stepFeeds(0, options()), lossInputs.weights)).toEqual([0.5, 0.5]);
  });

  test.each([
    ['epsilon', (snr: number) => Math.min(snr, 5) / snr],
    ['v_prediction', (snr: number) => Math.min(snr, 5) / (snr + 1)],
  ] as const)('are λ/B for class pictures and min-SNR for instances alone when %s is learned', (target, factorOf) => {
    const changed = { target, snrGamma: 5, classes: [10].map(example), priorLossWeight: 0.7 };
    for (let step = 0; step < 40; step++) {
      const feeds = stepFeeds(step, options(changed));
      const timesteps = valuesOf(feeds, lossInputs.timestep);
      const weights = valuesOf(feeds, lossInputs.weights);
      expect(weights.slice(2)).toEqual([Math.fround(0.35), Math.fround(0.35)]);
      for (const i of [0, 1]) expect(weights[i]).toBeCloseTo(factorOf(snrOf(timesteps[i]!)) / 2, 6);
    }
  });
});

test('class samples are noised as the instances of their step when the output is preserved', () => {
  const changed = { classes: [10, 20, 30].map(example), isOutputPreserved: true, offsetNoise: 0.1 };
  for (const step of [0, 1, 2]) {
    const feeds = stepFeeds(step, options(changed));
    for (const name of [lossInputs.noise, lossInputs.timestep, lossInputs.signal]) {
      const values = valuesOf(feeds, name);
      expect(values.slice(values.length / 2), name).toEqual(values.slice(0, values.length / 2));
    }
    const prompts = valuesOf(feeds, lessonInputs.encoderHiddenStates).filter((_, i) => i % 2 === 0);
    // The class prompt of a picture goes with that picture.
    expect(prompts.slice(2)).toEqual(prompts.slice(0, 2).map((value) => 10 * value));
  }
});

test('offset noise is equal over a channel and differs between channels and samples', () => {
  const [plain, offset] = [undefined, 0.5].map((offsetNoise) =>
    valuesOf(stepFeeds(0, options({ offsetNoise })), lossInputs.noise),
  );
  const added = offset!.map((value, i) => value - plain![i]!);
  const channels = [0, 1, 2, 3].map((channel) => added.slice(channel * AREA, (channel + 1) * AREA));
  for (const channel of channels) {
    for (const value of channel) expect(value).toBeCloseTo(channel[0]!, 5);
  }
  expect(new Set(channels.map(([first]) => first!.toFixed(3))).size).toBe(4);
});

test('offset noise adds the square of its size to the variance', () => {
  const noise = overSteps(2000, lossInputs.noise, { offsetNoise: 0.5 });
  expect(mean(noise.map((value) => value ** 2))).toBeCloseTo(1.25, 1);
});

// With u uniform, (1 - u³)·T has the mean 3/4·T and is below T/2 with probability 1 - 0.5^(1/3).
test('cubic timesteps favour the early steps of sampling by the cube root', () => {
  const timesteps = overSteps(3000, lossInputs.timestep, { hasCubicTimesteps: true });
  expect(Math.abs(mean(timesteps) / TIMESTEPS - 0.75)).toBeLessThan(0.015);
  const early = timesteps.filter((t) => t < TIMESTEPS / 2).length / timesteps.length;
  expect(Math.abs(early - (1 - Math.cbrt(0.5)))).toBeLessThan(0.02);
  expect(timesteps.every((t) => Number.isInteger(t) && t >= 0 && t < TIMESTEPS)).toBe(true);
});

test.each([0, 0.3, 1])('empty prompts take the place of about %s of the prompts of instances', (share) => {
  const changed = { classes: [10].map(example), emptyPrompt: { share, conditions: example(0).conditions } };
  const prompts = overSteps(1000, lessonInputs.encoderHiddenStates, changed);
  const isInstance = (i: number) => i % 8 < 4;
  const empty = prompts.filter((value, i) => isInstance(i) && value === 0).length / (prompts.length / 2);
  expect(Math.abs(empty - share)).toBeLessThan(share % 1 === 0 ? 1e-9 : 0.04);
  expect(prompts.filter((_, i) => !isInstance(i)).every((value) => value === 10)).toBe(true);
});
