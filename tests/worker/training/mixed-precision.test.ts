import { expect, test } from 'vitest';
import { parseClipTextConfig } from '../../../worker/networks/clip.ts';
import { parseControlnetConfig } from '../../../worker/networks/controlnet.ts';
import { parseT2iAdapterConfig } from '../../../worker/networks/t2i-adapter.ts';
import { parseUnetConfig } from '../../../worker/networks/unet-config.ts';
import { RandomGenerator } from '../../../worker/runtime/random.ts';
import { freshWeights } from '../../../worker/training/fresh-weights.ts';
import { promptTokenInputs } from '../../../worker/training/lesson-prompt.ts';
import {
  controlnetLesson,
  fineTuneLesson,
  type LessonOptions,
  lessonInputs,
  loraLesson,
  t2iAdapterLesson,
  textualInversionLesson,
} from '../../../worker/training/lessons.ts';
import { ATTENTION_MODULES } from '../../../worker/training/lora-targets.ts';
import { initialScaling, SCALING_NAME } from '../../../worker/training/loss-scaling.ts';
import { type Condition, stepFeeds } from '../../../worker/training/samples.ts';
import {
  initialState,
  type Lesson,
  type StepFeeds,
  type Trainer,
  type TrainerState,
} from '../../../worker/training/trainer.ts';
import { goldenTensor } from '../../support/golden.ts';
import { createTrainer } from '../../support/golden-lessons.ts';
import { tinyConfigs } from '../../support/tiny-models.ts';

const SIDE = 8;
const IDS = [118, 5, 20, 9, ...Array<number>(73).fill(119)];
const clip = (name: 'clip-quickgelu' | 'clip-proj') =>
  parseClipTextConfig({ ...tinyConfigs[name], num_hidden_layers: 2 });
const ENCODERS = [
  { component: 'text_encoder', config: clip('clip-quickgelu') },
  { component: 'text_encoder_2', config: clip('clip-proj') },
] as const;
/** As little of a UNet as there can be: most of the time goes into making sessions. */
const UNET = {
  block_out_channels: [8, 16],
  layers_per_block: 1,
  norm_num_groups: 4,
  down_block_types: ['DownBlock2D', 'CrossAttnDownBlock2D'],
  up_block_types: ['CrossAttnUpBlock2D', 'UpBlock2D'],
  attention_head_dim: 2,
  transformer_layers_per_block: 1,
};
const UNET_SD = { ...tinyConfigs['unet-sd1'], ...UNET };
const UNET_XL = parseUnetConfig({ ...tinyConfigs['unet-xl'], ...UNET });
const OPTIONS: LessonOptions = {
  unet: parseUnetConfig(UNET_SD),
  target: 'epsilon',
  batch: 2,
  latentSide: SIDE,
  tokens: 77,
  vaeScaleFactor: 8,
  hasMask: false,
};
const WITH_ENCODER: LessonOptions = {
  ...OPTIONS,
  textEncoders: { encoders: ENCODERS.slice(0, 1), group: {} },
};

const LESSONS = {
  'fine-tune with its text encoder': (dtype) => fineTuneLesson({ ...WITH_ENCODER, dtype }),
  LoRA: (dtype) =>
    loraLesson({ ...WITH_ENCODER, dtype }, { loraRank: 2, loraAlpha: 4, loraTargetModules: ATTENTION_MODULES }),
  'textual inversion of SDXL': (dtype) => textualInversionLesson({ ...OPTIONS, unet: UNET_XL, dtype }, ENCODERS, 2),
  ControlNet: (dtype) => {
    const config = parseControlnetConfig({ ...tinyConfigs['controlnet-sd1'], ...UNET });
    return controlnetLesson({ ...OPTIONS, dtype }, config);
  },
  'T2I-Adapter': (dtype) => {
    // Adapters have four levels.
    const unet = parseUnetConfig({ ...tinyConfigs['unet-sd1'], layers_per_block: 1 });
    return t2iAdapterLesson({ ...OPTIONS, unet, dtype }, parseT2iAdapterConfig(tinyConfigs['t2i-full'], ''));
  },
} satisfies Record<string, (dtype: 'float32' | 'float16') => Lesson>;

const int64 = (values: readonly number[], ...dims: number[]): Condition => {
  return { dims: [values.length, ...dims], data: BigInt64Array.from(values, BigInt) };
};
const golden = (name: string, ...dims: number[]): Condition => ({ dims, data: goldenTensor(`in:${name}`, dims) });
const CONDITIONS: Record<string, Condition> = {
  [lessonInputs.encoderHiddenStates]: golden('states', 77, 12),
  [lessonInputs.conditioningImage]: golden('image', 3, 8 * SIDE, 8 * SIDE),
  [lessonInputs.timeIds]: { dims: [6], data: Float32Array.of(64, 72, 0, 8, 64, 64) },
  [promptTokenInputs.eosPosition('text_encoder_2')]: { dims: [], data: BigInt64Array.of(4n) },
  ...Object.fromEntries(ENCODERS.flatMap(({ component }) => Object.entries(tokensOf(component)))),
};

/** The third and the fourth word are learned ones. */
function tokensOf(component: string): Record<string, Condition> {
  const marks = IDS.map((_, i) => (i === 2 || i === 3 ? 1 : 0));
  return {
    [promptTokenInputs.inputIds(component)]: int64(IDS),
    [promptTokenInputs.invertedRows(component)]: int64(IDS.map((_, i) => i % 2)),
    [promptTokenInputs.isInverted(component)]: int64(marks, 1),
  };
}

/** The feeds of a step, without those that the lesson does not read. */
function feedsOf({ perStep }: Lesson, step: number): StepFeeds {
  const feeds = stepFeeds(step, {
    seed: 3,
    instances: [0, 1].map((i) => ({
      latents: goldenTensor(`in:latents${i}`, [4, SIDE, SIDE]),
      conditions: CONDITIONS,
    })),
    classes: [],
    alphasCumprod: Float64Array.from({ length: 1000 }, (_, t) => Math.cos((Math.PI * (t + 0.5)) / 2002) ** 2),
    target: 'epsilon',
    trainBatchSize: 2,
    priorLossWeight: 0,
    latentShape: [4, SIDE, SIDE],
  });
  const names = new Set(perStep.map((value) => value.op === 'Input' && value.attributes.name));
  return Object.fromEntries(Object.entries(feeds).filter(([name]) => names.has(name)));
}

async function startLesson(lesson: Lesson): Promise<{ trainer: Trainer; state: TrainerState }> {
  const trainer = await createTrainer(lesson);
  const values = freshWeights(lesson.trainables, { generator: new RandomGenerator(1) });
  return { trainer, state: initialState(lesson.trainables, values, lesson) };
}

const STEPS = 20;
/** At ten times the rate the adapter's two lessons part: 1e-4 of the loss at the first step, 1.5 % within 15. */
const RATE = 1e-4;

test.each(Object.entries(LESSONS))(
  'the losses of %s in half precision are those of full precision',
  async (_, describe) => {
    const [whole, half] = [describe('float32'), describe('float16')];
    const reports = [];
    for (const lesson of [whole, half]) {
      const { trainer, state } = await startLesson(lesson);
      const feeds = Array.from({ length: STEPS }, (_, step) => feedsOf(lesson, step));
      reports.push(await trainer.run(state, feeds, Array(STEPS).fill(RATE)));
    }
    const [expected, got] = reports as [(typeof reports)[0], (typeof reports)[0]];
    for (const [i, { loss, gradNorm, isSkipped }] of got.entries()) {
      expect(isSkipped).toBe(false);
      expect(Math.abs(loss / expected[i]!.loss - 1)).toBeLessThan(2e-3);
      expect(Math.abs(gradNorm / expected[i]!.gradNorm - 1)).toBeLessThan(5e-2);
    }
    // The networks did compute in half precision: in full precision the losses would be equal.
    expect(got.map(({ loss }) => loss)).not.toEqual(expected.map(({ loss }) => loss));
  },
);

async function startLora(scaling = initialScaling()) {
  const lesson = LESSONS.LoRA('float16');
  const { trainer, state } = await startLesson(lesson);
  state.vectors[SCALING_NAME] = scaling;
  return { trainer, state, feeds: feedsOf(lesson, 0) };
}

test('a step whose gradients overflow changes nothing but the loss scale, which is halved, and a count', async () => {
  const { trainer, state, feeds } = await startLora(initialScaling(2 ** 120));
  const before = { ...state.vectors };
  const [report] = await trainer.run(state, [feeds], [1e-3]);
  expect(report).toMatchObject({ isSkipped: true });
  expect(Number.isFinite(report!.loss)).toBe(true);
  expect(state.vectors).toEqual({ ...before, [SCALING_NAME]: Float32Array.of(2 ** 119, 0, 1) });
});

test('the loss scale doubles after 2000 good steps in a row, and the gradients are the same at both scales', async () => {
  const { trainer, state, feeds } = await startLora(Float32Array.of(2 ** 10, 1998, 0));
  const still = Array(4).fill(0);
  const reports = await trainer.run(state, [feeds, feeds, feeds, feeds], still);
  expect(state.vectors[SCALING_NAME]).toEqual(Float32Array.of(2 ** 11, 2, 0));
  for (const { gradNorm } of reports) expect(Math.abs(gradNorm / reports[0]!.gradNorm - 1)).toBeLessThan(1e-2);
});
