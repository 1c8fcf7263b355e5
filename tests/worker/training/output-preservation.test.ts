import { describe, expect, onTestFinished, test } from 'vitest';
import { parametersOf } from '../../../worker/graph/value.ts';
import { parseClipTextConfig } from '../../../worker/networks/clip.ts';
import { parseUnetConfig } from '../../../worker/networks/unet-config.ts';
import type { Checkpoint } from '../../../worker/runtime/checkpoint.ts';
import { ADAMW_DEFAULTS } from '../../../worker/training/adamw.ts';
import { promptTokenInputs } from '../../../worker/training/lesson-prompt.ts';
import { fineTuneLesson, type LessonOptions, lessonInputs, loraLesson } from '../../../worker/training/lessons.ts';
import { ATTENTION_MODULES } from '../../../worker/training/lora-targets.ts';
import { type Conditions, type Example, stepFeeds } from '../../../worker/training/samples.ts';
import { initialState, type Lesson, type StepReport, Trainer } from '../../../worker/training/trainer.ts';
import { goldenTensor } from '../../support/golden.ts';
import { goldenCheckpoint, tinyConfigs } from '../../support/tiny-models.ts';

const BATCH = 2;
const SIDE = 8;

const ENCODERS = [
  { component: 'text_encoder', config: clipConfig('clip-quickgelu') },
  { component: 'text_encoder_2', config: clipConfig('clip-proj') },
] as const;

function clipConfig(name: 'clip-quickgelu' | 'clip-proj') {
  return parseClipTextConfig({ ...tinyConfigs[name], num_hidden_layers: 2 });
}

/** SDXL's inputs with as little of a UNet as there can be. */
const UNET = {
  ...tinyConfigs['unet-xl'],
  block_out_channels: [8, 16],
  layers_per_block: 1,
  down_block_types: ['DownBlock2D', 'CrossAttnDownBlock2D'],
  up_block_types: ['CrossAttnUpBlock2D', 'UpBlock2D'],
  attention_head_dim: 2,
  transformer_layers_per_block: 1,
};

/** SDXL with both text encoders learning: every input of the second half is there. */
const OPTIONS: LessonOptions = {
  unet: parseUnetConfig(UNET),
  target: 'epsilon',
  batch: 2 * BATCH,
  latentSide: SIDE,
  tokens: 77,
  vaeScaleFactor: 8,
  hasMask: false,
  isOutputPreserved: true,
  textEncoders: { encoders: ENCODERS, group: {} },
};

function conditionsOf(word: number, sizes: readonly number[]): Conditions {
  const ids = [118, 5, word, 9, ...Array<number>(73).fill(119)];
  const tokens = ENCODERS.map(({ component }) => {
    return [promptTokenInputs.inputIds(component), { dims: [77], data: BigInt64Array.from(ids, BigInt) }] as const;
  });
  return {
    ...Object.fromEntries(tokens),
    [promptTokenInputs.eosPosition('text_encoder_2')]: { dims: [], data: BigInt64Array.of(4n) },
    [lessonInputs.timeIds]: { dims: [6], data: Float32Array.from(sizes) },
  };
}

function examplesOf(word: number): Example[] {
  return [0, 1].map((i) => ({
    latents: goldenTensor(`in:latents${i}`, [4, SIDE, SIDE]),
    conditions: conditionsOf(word, [64, 64 + 8 * i, 0, 8 * i, 64, 64]),
  }));
}

const SAMPLES = {
  seed: 3,
  instances: examplesOf(20),
  classes: examplesOf(30),
  isOutputPreserved: true,
  alphasCumprod: Float64Array.from({ length: 1000 }, (_, t) => Math.cos((Math.PI * (t + 0.5)) / 2002) ** 2),
  target: 'epsilon',
  trainBatchSize: BATCH,
  priorLossWeight: 0.7,
  latentShape: [4, SIDE, SIDE],
} as const;

const LESSONS = {
  'of all weights': () => fineTuneLesson(OPTIONS),
  'of LoRAs': () => loraLesson(OPTIONS, { loraRank: 4, loraAlpha: 4, loraTargetModules: ATTENTION_MODULES }),
} satisfies Record<string, () => Lesson>;

/** Runs the first step without learning, twice with, and shows the losses of every sample. */
async function runSteps(lesson: Lesson): Promise<StepReport[]> {
  const checkpoints: Record<string, Checkpoint> = {};
  for (const [component, shapes] of parametersOf([lesson.loss]))
    checkpoints[component] = await goldenCheckpoint(shapes);
  const trainer = await Trainer.create(lesson, ADAMW_DEFAULTS, { device: 'cpu', threads: 1, checkpoints });
  onTestFinished(() => trainer.dispose());
  const values = lesson.trainables.map(({ name, shape }): [string, Float32Array] => {
    if (name.endsWith(':up')) return [name, new Float32Array(shape[0]! * shape[1]!)];
    return [name, goldenTensor(name.replace(/^text_encoder(_2)?:/, ''), shape)];
  });
  const feeds = stepFeeds(0, SAMPLES);
  return trainer.run(initialState(lesson.trainables, new Map(values)), [feeds, feeds, feeds], [1e-3, 1e-3, 1e-3]);
}

describe.each(Object.entries(LESSONS))('a lesson %s that preserves its output', (_, describeLesson) => {
  test('starts with no loss under the class prompt, and punishes what it changes there', async () => {
    const [first, second, third] = (await runSteps(describeLesson())) as [StepReport, StepReport, StepReport];
    const halves = ({ reported }: StepReport) => {
      const losses = [...reported['sampleLosses']!];
      return { subject: losses.slice(0, BATCH), kept: losses.slice(BATCH) };
    };
    for (const loss of halves(first).kept) expect(loss).toBeLessThan(1e-9);
    for (const loss of halves(second).kept) expect(loss).toBeGreaterThan(1e-6);
    for (const { loss, ...report } of [first, second, third]) {
      const { subject, kept } = halves({ loss, ...report });
      const expected = (subject[0]! + subject[1]! + 0.7 * (kept[0]! + kept[1]!)) / BATCH;
      expect(loss).toBeCloseTo(expected, 5);
    }
    expect(third.loss).toBeLessThan(first.loss);
  });
});
