import { beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { alphasCumprod } from '../../../worker/diffusion/schedulers/noise-schedule.ts';
import { parseSchedulerConfig } from '../../../worker/diffusion/schedulers/scheduler-config.ts';
import { gradients } from '../../../worker/graph/gradient.ts';
import { cast, constant, greater, input, mul, reduceSum, reshape, sub } from '../../../worker/graph/operators.ts';
import { Scope } from '../../../worker/graph/scope.ts';
import { parametersOf, type Value } from '../../../worker/graph/value.ts';
import { clipTextEncoder, parseClipTextConfig } from '../../../worker/networks/clip.ts';
import { controlnet, parseControlnetConfig } from '../../../worker/networks/controlnet.ts';
import { parseT2iAdapterConfig, t2iAdapter } from '../../../worker/networks/t2i-adapter.ts';
import { unet } from '../../../worker/networks/unet.ts';
import { parseUnetConfig } from '../../../worker/networks/unet-config.ts';
import type { Checkpoint } from '../../../worker/runtime/checkpoint.ts';
import { elementCount } from '../../../worker/runtime/element-count.ts';
import { float32Tensor, int64Tensor, type Tensor } from '../../../worker/runtime/session.ts';
import { ADAMW_DEFAULTS, type AdamwOptions, type Trainable } from '../../../worker/training/adamw.ts';
import { diffusionLoss, type LossTarget, lossInputs } from '../../../worker/training/diffusion-loss.ts';
import { cubicTimestep, minSnrWeight, signalToNoise } from '../../../worker/training/timesteps.ts';
import { initialState, type Lesson, Trainer, trainedTensors } from '../../../worker/training/trainer.ts';
import { expectGolden, type GoldenStatistics, goldenStream, goldenTensor, loadGolden } from '../../support/golden.ts';
import {
  compileTiny,
  floats,
  goldenCheckpoint,
  goldenControlImage,
  goldenInput,
  tinyConfigs,
} from '../../support/tiny-models.ts';

// diffusers 0.40.0.dev0 modules with torch 2.13's AdamW, CPU fp32, in a loop written for these numbers.
interface StepGolden {
  loss: number;
  grad_norm: number;
}
let golden: Record<string, unknown>;
beforeAll(async () => {
  golden = await loadGolden('training.json');
});

const statistics = (name: string) => golden[name] as GoldenStatistics;
const stepOf = (name: string) => golden[name] as StepGolden & Record<string, number>;
const near = (actual: number, expected: number) =>
  expect(Math.abs(actual - expected)).toBeLessThan(1e-3 * Math.abs(expected));

const SCHEDULER = parseSchedulerConfig({
  _class_name: 'DDPMScheduler',
  beta_start: 0.00085,
  beta_end: 0.012,
  beta_schedule: 'scaled_linear',
});
const TIMESTEPS = [10, 250, 600, 950];

/** The batch that every golden step sees. */
function batchFeeds(weights: readonly number[]): Record<string, Tensor> {
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

const context = input('context', { shape: [4, 77, 12], dtype: 'float32' });
const contextFeed = { context: goldenInput('train_ctx', [4, 77, 12]) };

function describeLoss(predict: (noisy: Value, timestep: Value) => Value, target: LossTarget = 'epsilon') {
  return diffusionLoss({ batch: 4, latentShape: [4, 8, 8], target, predict });
}

function sd1Unet(scope: Scope) {
  const config = parseUnetConfig(tinyConfigs['unet-sd1']);
  return (sample: Value, timestep: Value) => unet(scope, config, { sample, timestep, encoderHiddenStates: context });
}

/** Makes a substitute that lets every tensor of a component learn, and the list that it fills. */
function learnAll() {
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

async function checkpointsOf(lesson: Lesson): Promise<Record<string, Checkpoint>> {
  const checkpoints: Record<string, Checkpoint> = {};
  for (const [component, shapes] of parametersOf([lesson.loss]))
    checkpoints[component] = await goldenCheckpoint(shapes);
  return checkpoints;
}

async function createTrainer(lesson: Lesson, adamw: Partial<AdamwOptions> = {}): Promise<Trainer> {
  const checkpoints = await checkpointsOf(lesson);
  const trainer = await Trainer.create(
    lesson,
    { ...ADAMW_DEFAULTS, ...adamw },
    { device: 'cpu', threads: 1, checkpoints },
  );
  onTestFinished(() => trainer.dispose());
  return trainer;
}

const goldenValues = (trainables: readonly Trainable[]) =>
  new Map(trainables.map(({ name, shape }) => [name, goldenTensor(name, shape)]));

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

describe('textual inversion matches torch', () => {
  test('in losses, the new row and its gradient, while no other row moves', async () => {
    const config = parseClipTextConfig(tinyConfigs['clip-quickgelu']);
    const row = input('row', { shape: [1, 12], dtype: 'float32' });
    const trainables = [{ name: 'row', shape: [1, 12], value: row }];
    const batch = { shape: [4, 77], dtype: 'int64' } as const;
    const [inputIds, rows] = [input('ids', batch), input('rows', batch)];
    const isInverted = input('is_inverted', { shape: [4, 77, 1], dtype: 'int64' });
    const textScope = new Scope({ name: 'text_encoder', dtype: 'float32' });
    const inverted = {
      table: row,
      rows,
      isInverted: greater(cast(isInverted, 'float32'), constant([0], [], 'float32')),
    };
    const { lastHiddenState } = clipTextEncoder(textScope, config, { inputIds, inverted });
    const unetConfig = parseUnetConfig(tinyConfigs['unet-sd1']);
    const unetScope = new Scope({ name: 'unet', dtype: 'float32' });
    const predict = (sample: Value, timestep: Value) =>
      unet(unetScope, unetConfig, { sample, timestep, encoderHiddenStates: lastHiddenState });
    const { loss, perStep } = describeLoss(predict);
    const [gradient] = gradients(loss, [row]);
    const lesson = {
      trainables,
      loss,
      perStep: [...perStep, inputIds, rows, isInverted],
      reported: { gradient: gradient! },
    };
    const trainer = await createTrainer(lesson, { maxGradNorm: undefined });
    // The placeholder starts as a copy of row 17 and stands at the third place of each prompt.
    const table = goldenTensor('text_model.embeddings.token_embedding.weight', [120, 12]);
    const state = initialState(trainables, new Map([['row', table.slice(17 * 12, 18 * 12)]]));
    const ids = [118, 5, 0, 99, 3, 64, ...Array<number>(71).fill(119)];
    const places = ids.map((_, i) => (i === 2 ? 1 : 0));
    const four = <T>(values: T[]) => [...values, ...values, ...values, ...values];
    const feeds = {
      ...batchFeeds([0.25, 0.25, 0.25, 0.25]),
      ids: int64Tensor(four(ids), [4, 77]),
      rows: int64Tensor(Array(4 * 77).fill(0), [4, 77]),
      is_inverted: int64Tensor(four(places), [4, 77, 1]),
    };
    const reports = await trainer.run(state, [feeds, feeds], [5e-3, 5e-3]);
    reports.forEach((report, i) => {
      const expected = golden[`ti step${i}`] as { loss: number; grad_row120: number[] };
      near(report.loss, expected.loss);
      expectClose(report.reported['gradient']!.subarray(0, 6), expected.grad_row120, 1e-3);
    });
    expectClose(state.vectors.parameters.subarray(0, 6), golden['ti row120 after 2'] as number[], 1e-3);
  });
});

describe('ControlNet training matches torch', () => {
  test('in losses and gradient norms, with only the zero convolutions moving at first', async () => {
    const { trainables, substitute } = learnAll();
    const config = parseControlnetConfig(tinyConfigs['controlnet-sd1']);
    const scope = new Scope({ name: 'controlnet.0', dtype: 'float32', substitute });
    const controlImage = input('cond', { shape: [4, 3, 64, 64], dtype: 'float32' });
    const unetConfig = parseUnetConfig(tinyConfigs['unet-sd1']);
    const predict = (sample: Value, timestep: Value) => {
      const inputs = { sample, timestep, encoderHiddenStates: context };
      const conditioningScale = constant([1], [], 'float32');
      const residuals = controlnet(scope, config, { ...inputs, controlImage, conditioningScale, isGuessMode: false });
      return unet(new Scope({ name: 'unet', dtype: 'float32' }), unetConfig, inputs, { controlnet: residuals });
    };
    const { loss, perStep } = describeLoss(predict);
    const lesson = { trainables, loss, perStep: [...perStep, context, controlImage], reported: {} };
    const trainer = await createTrainer(lesson);
    const isZero = (name: string) => /^controlnet_(down_blocks|mid_block)|cond_embedding\.conv_out/.test(name);
    const values = new Map(
      trainables.map(({ name, shape }) => [
        name,
        isZero(name) ? new Float32Array(elementCount(shape)) : goldenTensor(name, shape),
      ]),
    );
    const state = initialState(trainables, values);
    const feeds = {
      ...batchFeeds([0.25, 0.25, 0.25, 0.25]),
      ...contextFeed,
      cond: goldenControlImage('train_cond', [4, 3, 64, 64]),
    };
    for (let i = 0; i < 3; i++) {
      const [report] = await trainer.run(state, [feeds], [1e-2]);
      const expected = golden[`controlnet step${i}`] as StepGolden & { modules_with_grad: string[] };
      near(report!.loss, expected.loss);
      near(report!.gradNorm, expected.grad_norm);
      const moved = modulesWithMoments(trainables, state.vectors.second_moments);
      if (i < 2) expect(moved).toEqual(expected.modules_with_grad);
    }
  });
});

describe('T2I-Adapter training matches torch', () => {
  test('in losses and gradient norms over three steps', async () => {
    const { trainables, substitute } = learnAll();
    const config = parseT2iAdapterConfig(tinyConfigs['t2i-full']);
    const scope = new Scope({ name: 'adapter.0', dtype: 'float32', substitute });
    const image = input('cond', { shape: [4, 3, 64, 64], dtype: 'float32' });
    const unetConfig = parseUnetConfig(tinyConfigs['unet-sd1']);
    const predict = (sample: Value, timestep: Value) => {
      const adapterFeatures = t2iAdapter(scope, config, { image, conditioningScale: constant([1], [], 'float32') });
      const inputs = { sample, timestep, encoderHiddenStates: context };
      return unet(new Scope({ name: 'unet', dtype: 'float32' }), unetConfig, inputs, { adapterFeatures });
    };
    const { loss, perStep } = describeLoss(predict);
    const lesson = { trainables, loss, perStep: [...perStep, context, image], reported: {} };
    const trainer = await createTrainer(lesson);
    const state = initialState(trainables, goldenValues(trainables));
    const feeds = {
      ...batchFeeds([0.25, 0.25, 0.25, 0.25]),
      ...contextFeed,
      cond: goldenControlImage('train_cond', [4, 3, 64, 64]),
    };
    const reports = await trainer.run(state, [feeds, feeds, feeds], [1e-3, 1e-3, 1e-3]);
    reports.forEach((report, i) => {
      near(report.loss, stepOf(`t2i step${i}`).loss);
      near(report.gradNorm, stepOf(`t2i step${i}`).grad_norm);
    });
  });

  test('draws timesteps by the cubic rule', () => {
    const expected = golden['cubic t for u=0,.25,.5,.75,.999'] as number[];
    expect([0, 0.25, 0.5, 0.75, 0.999].map((u) => cubicTimestep(u, 1000))).toEqual(expected);
  });
});

/** First words of the names whose second moment is not zero: every tensor that has had a gradient. */
function modulesWithMoments(trainables: readonly Trainable[], moments: Float32Array): string[] {
  const modules = new Set<string>();
  let offset = 0;
  for (const { name, shape } of trainables) {
    const own = moments.subarray(offset, offset + elementCount(shape));
    offset += own.length;
    if (own.some((value) => value !== 0)) modules.add(name.split('.')[0]!);
  }
  return [...modules].sort();
}

function expectClose(actual: Float32Array, expected: readonly number[], tolerance: number): void {
  const size = Math.sqrt(expected.reduce((sum, value) => sum + value ** 2, 0) / expected.length);
  expected.forEach((value, i) => {
    expect(Math.abs(actual[i]! - value), `[${i}] is ${actual[i]}, expected ${value}`).toBeLessThan(tolerance * size);
  });
}

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
