import { beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { alphasCumprod } from '../../../worker/diffusion/schedulers/noise-schedule.ts';
import { parseSchedulerConfig } from '../../../worker/diffusion/schedulers/scheduler-config.ts';
import { parametersOf } from '../../../worker/graph/value.ts';
import { parseClipTextConfig } from '../../../worker/networks/clip.ts';
import { parseUnetConfig } from '../../../worker/networks/unet-config.ts';
import type { Checkpoint } from '../../../worker/runtime/checkpoint.ts';
import { elementCount } from '../../../worker/runtime/element-count.ts';
import { float32Tensor, int64Tensor } from '../../../worker/runtime/session.ts';
import { ADAMW_DEFAULTS } from '../../../worker/training/adamw.ts';
import { lossInputs } from '../../../worker/training/diffusion-loss.ts';
import { promptTokenInputs, type TextEncoderPart } from '../../../worker/training/lesson-prompt.ts';
import { fineTuneLesson, type LessonOptions, lessonInputs, loraLesson } from '../../../worker/training/lessons.ts';
import { ATTENTION_MODULES } from '../../../worker/training/lora-targets.ts';
import {
  initialState,
  type Lesson,
  type StepFeeds,
  Trainer,
  trainedTensors,
} from '../../../worker/training/trainer.ts';
import { expectGolden, type GoldenStatistics, goldenStream, goldenTensor, loadGolden } from '../../support/golden.ts';
import { goldenCheckpoint, goldenInput, tinyConfigs } from '../../support/tiny-models.ts';

// Modules of diffusers 0.42.1 and transformers 5.24.0 with torch 2.13's AdamW in two groups, CPU fp32, in a loop written
// for these numbers: the text encoders learn at half the rate and with a tenth of the decay.
let golden: Record<string, unknown>;
beforeAll(async () => {
  golden = await loadGolden('text-encoder-training.json');
});

const RANK = 4;
const ENCODERS: readonly TextEncoderPart[] = [
  { component: 'text_encoder', config: parseClipTextConfig(tinyConfigs['clip-quickgelu']) },
  { component: 'text_encoder_2', config: parseClipTextConfig(tinyConfigs['clip-proj']) },
];
/** Position of the first end-of-text token of each prompt. */
const EOS = 6;

interface Family {
  readonly unet: 'unet-sd1' | 'unet-xl';
  readonly encoders: readonly TextEncoderPart[];
  readonly side: number;
  readonly timesteps: readonly number[];
  readonly suffix: string;
}
const FAMILIES: { readonly [F in 'sd1' | 'xl']: Family } = {
  sd1: { unet: 'unet-sd1', encoders: ENCODERS.slice(0, 1), side: 8, timesteps: [10, 250, 600, 950], suffix: '' },
  xl: { unet: 'unet-xl', encoders: ENCODERS, side: 16, timesteps: [10, 600], suffix: '_xl' },
};
type FamilyName = keyof typeof FAMILIES;

function lessonOptions({ unet, encoders, side, timesteps }: Family): LessonOptions {
  return {
    unet: parseUnetConfig(tinyConfigs[unet]),
    target: 'epsilon',
    batch: timesteps.length,
    latentSide: side,
    tokens: 77,
    vaeScaleFactor: 8,
    hasMask: false,
    textEncoders: { encoders, group: { learningRateScale: 0.5, weightDecay: 1e-3 } },
  };
}

/** The batch that every golden step sees. */
function batchFeeds({ encoders, side, timesteps, suffix }: Family): StepFeeds {
  const table = alphasCumprod(
    parseSchedulerConfig({
      _class_name: 'DDPMScheduler',
      beta_start: 0.00085,
      beta_end: 0.012,
      beta_schedule: 'scaled_linear',
    }),
  );
  const batch = timesteps.length;
  const perSample = (values: readonly number[], ...ones: number[]) =>
    float32Tensor(Float32Array.from(values), [batch, ...ones]);
  const roots = (of: (alpha: number) => number) => timesteps.map((t) => Math.sqrt(of(table[t]!)));
  const ids = timesteps.flatMap((_, i) => [118, 5 + i, 17, 99, 3, 64 + i, ...Array<number>(71).fill(119)]);
  const tokens = encoders.map(({ component }) => [
    promptTokenInputs.inputIds(component),
    int64Tensor(ids, [batch, 77]),
  ]);
  const pooled = { [promptTokenInputs.eosPosition('text_encoder_2')]: int64Tensor(Array(batch).fill(EOS), [batch]) };
  const sizes = Float32Array.of(128, 128, 0, 0, 128, 128, 96, 128, 8, 16, 128, 128);
  return {
    [lossInputs.latents]: goldenInput(`train_latents${suffix}`, [batch, 4, side, side]),
    [lossInputs.noise]: goldenInput(`train_noise${suffix}`, [batch, 4, side, side]),
    [lossInputs.timestep]: perSample(timesteps),
    [lossInputs.signal]: perSample(
      roots((alpha) => alpha),
      1,
      1,
      1,
    ),
    [lossInputs.sigma]: perSample(
      roots((alpha) => 1 - alpha),
      1,
      1,
      1,
    ),
    [lossInputs.weights]: perSample(timesteps.map(() => 1 / batch)),
    ...Object.fromEntries(tokens),
    ...(encoders.length > 1 && { ...pooled, [lessonInputs.timeIds]: float32Tensor(sizes, [batch, 6]) }),
  };
}

async function createTrainer(lesson: Lesson): Promise<Trainer> {
  const checkpoints: Record<string, Checkpoint> = {};
  for (const [component, shapes] of parametersOf([lesson.loss]))
    checkpoints[component] = await goldenCheckpoint(shapes);
  const trainer = await Trainer.create(lesson, ADAMW_DEFAULTS, { device: 'cpu', threads: 1, checkpoints });
  onTestFinished(() => trainer.dispose());
  return trainer;
}

async function expectGoldenSteps(
  name: string,
  lesson: Lesson,
  run: { family: Family; values: Map<string, Float32Array>; rate: number },
) {
  const trainer = await createTrainer(lesson);
  const state = initialState(lesson.trainables, run.values);
  const feeds = batchFeeds(run.family);
  const reports = await trainer.run(state, [feeds, feeds, feeds], Array(3).fill(run.rate));
  reports.forEach(({ loss, gradNorm }, i) => {
    const expected = golden[`${name} step${i}`] as { loss: number; grad_norm: number };
    expect(Math.abs(loss - expected.loss)).toBeLessThan(1e-3 * expected.loss);
    expect(Math.abs(gradNorm - expected.grad_norm)).toBeLessThan(1e-3 * expected.grad_norm);
  });
  return trainedTensors(lesson.trainables, state);
}

/** Name of a tensor in the checkpoint that it is from. */
const storedName = (name: string) => name.replace(/^text_encoder(_2)?:/, '');

describe.each(Object.keys(FAMILIES) as FamilyName[])(
  'a lesson of text encoders and UNet of %s matches torch',
  (name) => {
    const family = FAMILIES[name];

    test('when all weights learn, in losses, gradient norms and weights of the encoders', async () => {
      const lesson = fineTuneLesson(lessonOptions(family));
      const values = new Map(lesson.trainables.map((t) => [t.name, goldenTensor(storedName(t.name), t.shape)]));
      const trained = await expectGoldenSteps(`full ${name}`, lesson, { family, values, rate: 1e-3 });
      const entries = Object.keys(golden).filter((key) => key.startsWith(`full ${name} text_encoder`));
      expect(entries).toHaveLength(3 * family.encoders.length);
      for (const entry of entries) {
        const tensor = entry.replace(`full ${name} `, '').replace(' after 3 steps', '');
        expectGolden(trained.get(tensor)!, golden[entry] as GoldenStatistics, 1e-3);
      }
    });

    test('when LoRAs learn, in losses and gradient norms', async () => {
      const lesson = loraLesson(lessonOptions(family), {
        loraRank: RANK,
        loraAlpha: RANK,
        loraTargetModules: ATTENTION_MODULES,
      });
      const values = lesson.trainables.map(({ name: key, shape }): [string, Float32Array] => {
        const size = elementCount(shape);
        if (key.endsWith(':up')) return [key, new Float32Array(size)];
        const path = key.replace(/:down$/, '.lora.down.weight').replace(/^(text_encoder(_2)?):/, '$1.');
        const component = path.startsWith('text_encoder') ? '' : 'unet.';
        const stream = goldenStream(`lora:${component}${path}`, size);
        return [key, Float32Array.from(stream, (value) => (value * Math.sqrt(3)) / RANK)];
      });
      await expectGoldenSteps(`lora ${name}`, lesson, { family, values: new Map(values), rate: 1e-2 });
    });
  },
);

test('what SDXL does not read of its first text encoder does not learn, as in torch it gets no gradient', () => {
  const lesson = fineTuneLesson(lessonOptions(FAMILIES.xl));
  const learning = new Set(lesson.trainables.map(({ name }) => name));
  const idle = golden['full xl without gradient'] as string[];
  expect(idle.filter((name) => learning.has(name))).toEqual([]);
  const layers = [...learning].filter((name) => /^text_encoder:.*layers\.\d+\.mlp\.fc1\.weight/.test(name));
  expect(layers).toHaveLength(2);
});
