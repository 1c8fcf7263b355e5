import { expect, onTestFinished, test } from 'vitest';
import { gradients } from '../../../worker/graph/gradient.ts';
import { input, mul } from '../../../worker/graph/operators.ts';
import type { Value } from '../../../worker/graph/value.ts';
import { parseVaeConfig } from '../../../worker/networks/vae.ts';
import { compile } from '../../../worker/runtime/compile.ts';
import { RandomGenerator } from '../../../worker/runtime/random.ts';
import { float32Tensor, type Tensor } from '../../../worker/runtime/session.ts';
import { freshWeights } from '../../../worker/training/fresh-weights.ts';
import { initialState, Trainer } from '../../../worker/training/trainer.ts';
import {
  blockMeans,
  klDivergence,
  posterior,
  reconstructionLoss,
  vaeLesson,
} from '../../../worker/training/vae-lesson.ts';
import { vaeStepFeeds } from '../../../worker/training/vae-samples.ts';
import { goldenStream } from '../../support/golden.ts';
import { floats } from '../../support/tiny-models.ts';

async function evaluate(outputs: Record<string, Value>, feeds: Record<string, Tensor>) {
  const session = await compile(outputs, { device: 'cpu', threads: 1, checkpoints: {} });
  onTestFinished(() => session.dispose());
  return session.run(feeds);
}

const SHAPE = [2, 3, 4, 5] as const;

test('the reconstruction loss is L1, L2 and L1 of both slopes, counted out in float64', async () => {
  const d = goldenStream('reconstruction', 120);
  const loss = reconstructionLoss(input('d', { shape: SHAPE, dtype: 'float32' }));
  const results = await evaluate({ loss }, { d: float32Tensor(Float32Array.from(d), SHAPE) });
  const at = (plane: number, y: number, x: number) => d[plane * 20 + y * 5 + x]!;
  const mean = (values: number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
  const over = (height: number, width: number, value: (plane: number, y: number, x: number) => number) =>
    mean(
      Array.from({ length: 6 * height * width }, (_, i) => {
        return value(Math.floor(i / (height * width)), Math.floor(i / width) % height, i % width);
      }),
    );
  const expected =
    over(4, 5, (...place) => Math.abs(at(...place)) + at(...place) ** 2) +
    over(3, 5, (plane, y, x) => Math.abs(at(plane, y + 1, x) - at(plane, y, x))) +
    over(4, 4, (plane, y, x) => Math.abs(at(plane, y, x + 1) - at(plane, y, x)));
  expect(floats(results['loss'])[0]).toBeCloseTo(expected, 5);
});

/** KL(N(μ, σ²) ‖ N(0, 1)) by the trapezoid rule over the density, without the closed form. */
function integratedDivergence(mean: number, logVariance: number): number {
  const sigma = Math.exp(logVariance / 2);
  const steps = 20_000;
  let sum = 0;
  for (let i = 0; i <= steps; i++) {
    const x = mean + sigma * (-10 + (20 * i) / steps);
    const logP = -(((x - mean) / sigma) ** 2) / 2 - Math.log(sigma);
    sum += (Math.exp(logP) / Math.sqrt(2 * Math.PI)) * (logP + x ** 2 / 2) * ((20 * sigma) / steps);
  }
  return sum;
}

test('the divergence is the integral of the densities, summed over latents and averaged over samples', async () => {
  const moments = goldenStream('moments', 2 * 4 * 2).map((value) => 1.5 * value);
  const { mean, logVariance } = posterior(input('moments', { shape: [2, 4, 1, 2], dtype: 'float32' }), 2);
  const results = await evaluate(
    { divergence: klDivergence(mean, logVariance) },
    { moments: float32Tensor(Float32Array.from(moments), [2, 4, 1, 2]) },
  );
  const pairs = [0, 1].flatMap((n) => [0, 1, 2, 3].map((i) => [moments[8 * n + i]!, moments[8 * n + 4 + i]!] as const));
  const expected = pairs.reduce((sum, pair) => sum + integratedDivergence(...pair), 0) / 2;
  expect(floats(results['divergence'])[0]).toBeCloseTo(expected, 4);
});

test('log variances stay within bounds, beyond which they have no gradient', async () => {
  const moments = input('moments', { shape: [1, 6, 1, 1], dtype: 'float32' });
  const { logVariance } = posterior(moments, 3);
  const loss = klDivergence(mul(logVariance, logVariance), logVariance);
  const results = await evaluate(
    { logVariance, gradient: gradients(loss, [moments])[0]! },
    { moments: float32Tensor(Float32Array.of(0, 0, 0, -99, 1, 99), [1, 6, 1, 1]) },
  );
  expect([...floats(results['logVariance'])]).toEqual([-30, 1, 20]);
  expect([...floats(results['gradient'])].map((value) => value !== 0)).toEqual([
    false,
    false,
    false,
    false,
    true,
    false,
  ]);
});

test('means of blocks are those of the pixels in them, counted out in float64', async () => {
  const x = goldenStream('blocks', 2 * 3 * 4 * 6);
  const shape = [2, 3, 4, 6] as const;
  const means = blockMeans(input('x', { shape, dtype: 'float32' }), 2);
  const results = await evaluate({ means }, { x: float32Tensor(Float32Array.from(x), shape) });
  const expected = Array.from({ length: 36 }, (_, i) => {
    const [plane, y, left] = [Math.floor(i / 6), 2 * (Math.floor(i / 3) % 2), 2 * (i % 3)];
    const at = (dy: number, dx: number) => x[plane * 24 + (y + dy) * 6 + left + dx]!;
    return (at(0, 0) + at(0, 1) + at(1, 0) + at(1, 1)) / 4;
  });
  for (const [i, value] of floats(results['means']).entries()) expect(value).toBeCloseTo(expected[i]!, 6);
});

const VAE = parseVaeConfig({
  block_out_channels: [8, 8],
  down_block_types: ['DownEncoderBlock2D', 'DownEncoderBlock2D'],
  up_block_types: ['UpDecoderBlock2D', 'UpDecoderBlock2D'],
  norm_num_groups: 4,
});
const SIDE = 8;

function tinyLesson() {
  const lesson = vaeLesson({ vae: VAE, batch: 2, side: SIDE, klWeight: 1e-2 });
  return { lesson, initial: freshWeights(lesson.trainables, { generator: new RandomGenerator(3) }) };
}

/** Two plain pictures, of which every step sees crops. */
const samples = {
  seed: 5,
  batch: 2,
  side: SIDE,
  latentShape: [4, SIDE / 2, SIDE / 2],
  pictures: async () =>
    [0, 1].map((i) => ({
      width: 12,
      height: 10,
      channels: 3,
      bytes: new Uint8Array(360).map((_, k) => 40 + 90 * ((k + i) % 3)),
    })),
} as const;

test('gradients of encoder and decoder match finite differences through the sampled latents', async () => {
  const { lesson, initial } = tinyLesson();
  const names = [
    'encoder.conv_in.weight',
    'quant_conv.weight',
    'decoder.conv_out.bias',
    'decoder.mid_block.attentions.0.to_v.weight',
  ];
  const wrt = names.map((name) => lesson.trainables.find((trainable) => trainable.name === name)!);
  const slopes = gradients(
    lesson.loss,
    wrt.map(({ value }) => value),
  );
  const outputs = Object.fromEntries(slopes.map((slope, i) => [`slope${i}`, slope]));
  const session = await compile({ ...outputs, loss: lesson.loss }, { device: 'cpu', threads: 1, checkpoints: {} });
  onTestFinished(() => session.dispose());
  const feeds = await vaeStepFeeds(0, samples);
  const run = (changed: ReadonlyMap<string, Float32Array>) => {
    const weights = lesson.trainables.map(({ name, shape }) => [name, float32Tensor(changed.get(name)!, shape)]);
    return session.run({ ...feeds, ...Object.fromEntries(weights) });
  };
  const computed = await run(initial);
  for (const [i, name] of names.entries()) {
    const index = initial.get(name)!.length - 1;
    const lossAt = async (step: number) => {
      const moved = initial.get(name)!.slice();
      moved[index]! += step;
      return floats((await run(new Map([...initial, [name, moved]])))['loss'])[0]!;
    };
    const expected = ((await lossAt(4e-3)) - (await lossAt(-4e-3))) / 8e-3;
    expect(Math.abs(floats(computed[`slope${i}`])[index]! - expected), name).toBeLessThan(
      2e-2 * Math.abs(expected) + 1e-3,
    );
  }
});

test('a VAE lowers its loss on two pictures to under 60 % of the start', async () => {
  const { lesson, initial } = tinyLesson();
  const adamw = { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 0, maxGradNorm: 1 };
  const trainer = await Trainer.create(lesson, adamw, { device: 'cpu', threads: 1, checkpoints: {} });
  onTestFinished(() => trainer.dispose());
  const steps = await Promise.all(Array.from({ length: 60 }, (_, step) => vaeStepFeeds(step, samples)));
  const reports = await trainer.run(initialState(lesson.trainables, initial), steps, Array(60).fill(5e-3));
  expect(reports.at(-1)!.loss).toBeLessThan(0.6 * reports[0]!.loss);
  expect(reports[0]!.reported['divergence']![0]).toBeGreaterThan(0);
});
