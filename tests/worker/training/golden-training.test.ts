import { describe, expect, test } from 'vitest';
import { alphasCumprod } from '../../../worker/diffusion/schedulers/noise-schedule.ts';
import { gradients } from '../../../worker/graph/gradient.ts';
import { input, mul, reduceSum, reshape, sub } from '../../../worker/graph/operators.ts';
import { Scope } from '../../../worker/graph/scope.ts';
import type { Value } from '../../../worker/graph/value.ts';
import { unet } from '../../../worker/networks/unet.ts';
import { parseUnetConfig } from '../../../worker/networks/unet-config.ts';
import { float32Tensor } from '../../../worker/runtime/session.ts';
import type { Trainable } from '../../../worker/training/adamw.ts';
import { minSnrWeight, signalToNoise } from '../../../worker/training/timesteps.ts';
import { initialState, trainedTensors } from '../../../worker/training/trainer.ts';
import { expectGolden, goldenStream, goldenTensor } from '../../support/golden.ts';
import { createTrainer, goldenValues } from '../../support/golden-lessons.ts';
import {
  batchFeeds,
  context,
  contextFeed,
  describeLoss,
  expectClose,
  golden,
  learnAll,
  near,
  SCHEDULER,
  sd1Unet,
  statistics,
  stepOf,
  TIMESTEPS,
} from '../../support/golden-steps.ts';
import { compileTiny, floats, goldenInput, tinyConfigs } from '../../support/tiny-models.ts';

describe('DreamBooth matches torch', () => {
  const weights = [0.5, 0.5, 0.5, 0.5];

  function dreambooth() {
    const { trainables, substitute } = learnAll();
    const scope = new Scope({ name: 'unet', dtype: 'float32', substitute });
    const { loss, sampleLosses, noisyLatents, perStep } = describeLoss(sd1Unet(scope));
    return { lesson: { trainables, loss, perStep: [...perStep, context], reported: { sampleLosses } }, noisyLatents };
  }

  test('in losses of instance and class and in gradient norms over three steps', async () => {
    const { lesson } = dreambooth();
    const trainer = await createTrainer(lesson);
    const state = initialState(lesson.trainables, goldenValues(lesson.trainables));
    const feeds = { ...batchFeeds(weights), ...contextFeed };
    const reports = await trainer.run(state, [feeds, feeds, feeds], [1e-3, 1e-3, 1e-3]);
    reports.forEach((report, i) => {
      const expected = stepOf(`dreambooth step${i}`);
      const [a, b, c, d] = report.reported['sampleLosses']!;
      near((a! + b!) / 2, expected['loss_instance']!);
      near((c! + d!) / 2, expected['loss_prior']!);
      near(report.loss, expected.loss);
      near(report.gradNorm, expected.grad_norm);
    });
  });

  test('in a parameter after one step, and the same in one run of three as in three runs of one', async () => {
    const { lesson } = dreambooth();
    const trainer = await createTrainer(lesson);
    const feeds = { ...batchFeeds(weights), ...contextFeed };
    const [single, whole] = [0, 1].map(() => initialState(lesson.trainables, goldenValues(lesson.trainables)));
    await trainer.run(single!, [feeds], [1e-3]);
    const entry = 'dreambooth param conv_in.weight after 1 AdamW step lr1e-3 clip1';
    expectGolden(trainedTensors(lesson.trainables, single!).get('conv_in.weight')!, statistics(entry), 1e-3);
    for (let i = 0; i < 2; i++) await trainer.run(single!, [feeds], [1e-3]);
    await trainer.run(whole!, [feeds, feeds, feeds], [1e-3, 1e-3, 1e-3]);
    expect(single!.step).toBe(3);
    expect(single!.vectors).toEqual(whole!.vectors);
  });

  test('in noised latents and single gradients', async () => {
    const { lesson, noisyLatents } = dreambooth();
    const names = ['conv_in.weight', 'mid_block.attentions.0.transformer_blocks.0.attn2.to_k.weight'];
    const values = names.map((name) => lesson.trainables.find((trainable) => trainable.name === name)!.value);
    const [convIn, toK] = gradients(lesson.loss, values);
    const session = await compileTiny({ noisyLatents, convIn: convIn!, toK: toK! });
    const parameters = lesson.trainables.map(({ name, shape }) => [
      name,
      float32Tensor(goldenTensor(name, shape), shape),
    ]);
    const result = await session.run({ ...batchFeeds(weights), ...contextFeed, ...Object.fromEntries(parameters) });
    expectGolden(floats(result['noisyLatents']), statistics('noisy'), 1e-4);
    expectGolden(floats(result['convIn']), statistics('dreambooth grad conv_in.weight'), 1e-3);
    expectGolden(floats(result['toK']), statistics('dreambooth grad mid to_k attn2'), 1e-3);
  });
});

describe('DreamBooth LoRA matches torch', () => {
  test('in losses and gradient norms over three steps', async () => {
    const trainables: Trainable[] = [];
    const trainable = (name: string, shape: readonly number[]) => {
      const value = input(name, { shape, dtype: 'float32' });
      trainables.push({ name, shape, value });
      return value;
    };
    const lora = (path: string, [out, features]: readonly number[]) =>
      /\.to_(q|k|v|out\.0)$/.test(path)
        ? {
            down: trainable(`unet.${path}.lora.down.weight`, [4, features!]),
            up: trainable(`unet.${path}.lora.up.weight`, [out!, 4]),
          }
        : undefined;
    const scope = new Scope({ name: 'unet', dtype: 'float32', lora });
    const { loss, sampleLosses, perStep } = describeLoss(sd1Unet(scope));
    const lesson = { trainables, loss, perStep: [...perStep, context], reported: { sampleLosses } };
    const trainer = await createTrainer(lesson);
    const values = trainables.map(({ name, shape }): [string, Float32Array] => {
      const size = shape[0]! * shape[1]!;
      if (name.endsWith('up.weight')) return [name, new Float32Array(size)];
      return [name, Float32Array.from(goldenStream(`lora:${name}`, size), (value) => (value * Math.sqrt(3)) / 4)];
    });
    const state = initialState(trainables, new Map(values));
    const feeds = { ...batchFeeds([0.25, 0.25, 0.25, 0.25]), ...contextFeed };
    const reports = await trainer.run(state, [feeds, feeds, feeds], [1e-2, 1e-2, 1e-2]);
    reports.forEach((report, i) => {
      near(report.loss, stepOf(`lora step${i}`).loss);
      near(report.gradNorm, stepOf(`lora step${i}`).grad_norm);
    });
  });
});

describe('v-prediction with min-SNR weights matches torch', () => {
  const GAMMA = 5;

  test('in targets, signal-to-noise ratios and weights', () => {
    TIMESTEPS.forEach((t, i) => {
      const snr = signalToNoise(alphasCumprod(SCHEDULER)[t]!);
      near(snr, (golden['snr'] as number[])[i]!);
      near(minSnrWeight(snr, { gamma: GAMMA, target: 'v_prediction' }), (golden['w v-pred'] as number[])[i]!);
      near(minSnrWeight(snr, { gamma: GAMMA, target: 'epsilon' }), (golden['w eps'] as number[])[i]!);
    });
  });

  test('in velocity, per-sample errors and weighted loss', async () => {
    const config = parseUnetConfig(tinyConfigs['unet-sd2']);
    const scope = new Scope({ name: 'unet', dtype: 'float32' });
    const wide = input('context', { shape: [4, 77, 16], dtype: 'float32' });
    const predict = (sample: Value, timestep: Value) =>
      unet(scope, config, { sample, timestep, encoderHiddenStates: wide });
    const { loss, sampleLosses, wanted } = describeLoss(predict, 'v_prediction');
    const session = await compileTiny({ loss, sampleLosses, wanted });
    const snr = TIMESTEPS.map((t) => signalToNoise(alphasCumprod(SCHEDULER)[t]!));
    const weights = snr.map((value) => minSnrWeight(value, { gamma: GAMMA, target: 'v_prediction' }) / 4);
    const feeds = { ...batchFeeds(weights), context: goldenInput('train_ctx2', [4, 77, 16]) };
    const result = await session.run(feeds);
    expectGolden(floats(result['wanted']), statistics('velocity'), 1e-4);
    floats(result['sampleLosses']).forEach((value, i) => {
      near(value, (golden['v per-sample mse'] as number[])[i]!);
    });
    near(floats(result['loss'])[0]!, golden['v min-snr loss'] as number);
  });
});

test('a moving average follows the parameters as diffusers EMAModel does', async () => {
  const [value, wanted] = [
    input('p', { shape: [3], dtype: 'float32' }),
    input('wanted', { shape: [3], dtype: 'float32' }),
  ];
  const trainables = [{ name: 'p', shape: [3], value }];
  const difference = sub(value, wanted);
  const loss = reshape(reduceSum(mul(difference, difference), [0]), []);
  const trainer = await createTrainer({ trainables, loss, perStep: [wanted], reported: {}, hasEma: true });
  const start = Float32Array.of(1, -2, 0.5);
  const state = initialState(trainables, new Map([['p', start]]), { hasEma: true });
  let expected = [...start];
  for (let step = 0; step < 5; step++) {
    await trainer.run(state, [{ wanted: float32Tensor(Float32Array.of(0, 0, 0), [3]) }], [0.1]);
    // EMAModel.get_decay: (1 + s)/(10 + s) with s the steps before this one, 0 at the first.
    const decay = step === 0 ? 0 : (1 + step) / (10 + step);
    expected = expected.map((average, i) => average - (1 - decay) * (average - state.vectors.parameters[i]!));
    expectClose(trainedTensors(trainables, state).get('p')!, expected, 1e-6);
  }
  expect(state.vectors.parameters[0]).not.toBeCloseTo(expected[0]!, 2);
});
