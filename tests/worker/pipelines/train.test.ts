import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { UserError } from '../../../shared/errors.ts';
import type { ControlRequest } from '../../../worker/diffusion/controls.ts';
import { openModelFolder } from '../../../worker/diffusion/model-folder.ts';
import { alphasCumprod } from '../../../worker/diffusion/schedulers/noise-schedule.ts';
import { StableDiffusion } from '../../../worker/diffusion/stable-diffusion.ts';
import { input } from '../../../worker/graph/operators.ts';
import { Scope } from '../../../worker/graph/scope.ts';
import { denoiserComponents } from '../../../worker/networks/denoiser.ts';
import { unet } from '../../../worker/networks/unet.ts';
import { type LessonExamples, prepareExamples } from '../../../worker/pipelines/lesson-examples.ts';
import { compile } from '../../../worker/runtime/compile.ts';
import { float32Tensor } from '../../../worker/runtime/session.ts';
import { loadLatestCheckpoint } from '../../../worker/training/checkpoint-file.ts';
import { diffusionLoss, lossInputs } from '../../../worker/training/diffusion-loss.ts';
import { lessonInputs } from '../../../worker/training/lessons.ts';
import { stepFeeds } from '../../../worker/training/samples.ts';
import type { GivenSettings } from '../../../worker/training/settings.ts';
import { runTinyLesson, SIDE, savePhotos, saveTinyStudent, type TinyRequest } from '../../support/tiny-lesson.ts';
import { floats } from '../../support/tiny-models.ts';

const SESSION = { device: 'cpu', threads: 1 } as const;
const CLASS_PROMPT = 'a photo of a car';
/** A rate at which nothing is learned: the losses are those of the model as it is. */
const NO_RATE = 1e-12;
/** The rate ends at 0, so that the last steps are not blurred by its noise. */
const COSINE = { lrScheduler: 'cosine', lrWarmupSteps: 0 } as const;
/** Steps whose mean loss is compared: 128 pictures for batches of 4. */
const MEASURED = 32;

let folder: string;
/** A tiny UNet that has learned to denoise the class pictures; the subject is new to it. */
let taught: string;
let losses: number[];
const inFolder = (name: string) => join(folder, name);

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'sketchbooth-train-'));
  await saveTinyStudent(inFolder('random'));
  await savePhotos(inFolder('class'), ['#c03020', '#20a040', '#3040c0', '#d0c020']);
  await savePhotos(inFolder('subject'), ['#803090', '#e08040', '#108090', '#e0e0e0']);
  const settings = {
    method: 'fine-tune',
    lrScheduler: 'constant',
    learningRate: 5e-3,
    maxTrainSteps: 300,
    instancePrompt: CLASS_PROMPT,
  } as const;
  ({ result: taught, losses } = await teach(
    settings,
    { instanceImages: inFolder('class'), out: inFolder('taught') },
    inFolder('random'),
  ));
});

afterAll(() => rm(folder, { recursive: true }));

function teach(given: GivenSettings, request: Partial<TinyRequest> & { readonly out: string }, model: string = taught) {
  const subject = { instanceImages: inFolder('subject'), ...request };
  return runTinyLesson(model, { trainBatchSize: 4, instancePrompt: 'a photo of a red car', ...given }, subject);
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

/** Teaches the subject, and compares the loss of the last steps with that of as many steps without learning. */
async function lessonOf(given: GivenSettings): Promise<{ share: number; result: string }> {
  const isPaired = given.method === 'controlnet' || given.method === 't2i-adapter';
  const pairs = isPaired ? { conditioningImages: inFolder('subject') } : {};
  const run = (name: string, further: Partial<GivenSettings>) =>
    teach({ ...COSINE, ...given, ...further }, { ...pairs, out: inFolder(`${given.method}-${name}`) });
  const before = await run('before', { learningRate: NO_RATE, maxTrainSteps: MEASURED });
  const after = await run('after', {});
  const share = mean(after.losses.slice(-MEASURED)) / mean(before.losses);
  return { share, result: after.result };
}

/** Latents of one picture after a few steps. */
async function picture(
  model: string,
  further: { readonly controls?: readonly ControlRequest[]; readonly loras?: { file: string; scale: number }[] } = {},
): Promise<Float32Array> {
  const pipeline = new StableDiffusion(await openModelFolder(model), { ...SESSION, dtype: 'float32' });
  onTestFinished(() => pipeline.dispose());
  const size = { width: SIDE, height: SIDE, numInferenceSteps: 3, guidanceScale: 2 };
  const loop = pipeline.generate({ prompt: CLASS_PROMPT, seed: 5, ...size, ...further });
  for (let next = await loop.next(); ; next = await loop.next()) if (next.done) return floats(next.value.latents);
}

/** Root mean square difference over the root mean square of `base`. */
function change(values: Float32Array, base: Float32Array): number {
  const squares = (of: (i: number) => number) => Math.sqrt(mean(Array.from(base, (_, i) => of(i) ** 2)));
  return squares((i) => values[i]! - base[i]!) / squares((i) => base[i]!);
}

const asControl = (kind: ControlRequest['kind'], path: string, conditioningScale: number): ControlRequest => ({
  kind,
  folder: path,
  loadImage: async (channels) =>
    float32Tensor(new Float32Array(channels * SIDE * SIDE).fill(0.5), [1, channels, SIDE, SIDE]),
  conditioningScale,
  controlGuidanceStart: 0,
  controlGuidanceEnd: 1,
  isGuessMode: false,
});

describe('a lesson from photos to files', () => {
  test('fine-tune lowers the loss of a random UNet and its folder makes other pictures', async () => {
    expect(mean(losses.slice(-MEASURED))).toBeLessThan(0.6 * mean(losses.slice(0, 4)));
    expect(change(await picture(taught), await picture(inFolder('random')))).toBeGreaterThan(0.05);
  });

  test('dreambooth-lora lowers the loss and its file changes the picture by its scale', async () => {
    const settings = { method: 'dreambooth-lora', loraRank: 16, learningRate: 1e-2, maxTrainSteps: 300 } as const;
    const { share, result } = await lessonOf(settings);
    // Attention alone cannot move a random UNet further: 0.67 was measured.
    expect(share).toBeLessThan(0.75);
    const base = await picture(taught);
    const [off, on] = [
      await picture(taught, { loras: [{ file: result, scale: 0 }] }),
      await picture(taught, { loras: [{ file: result, scale: 1 }] }),
    ];
    expect(off).toEqual(base);
    expect(change(on, base)).toBeGreaterThan(0.05);
  });

  // The UNet is frozen; 0.66 and 0.79 were measured, the latter at the noisy timesteps that adapters mostly see.
  test.each([
    ['controlnet', 'controlnet', { learningRate: 3e-3, maxTrainSteps: 160, trainBatchSize: 2 }, 0.75],
    ['t2i-adapter', 'adapter', { learningRate: 1e-2, maxTrainSteps: 300 }, 0.87],
  ] as const)(
    '%s lowers the loss and its folder steers the picture by its scale',
    async (method, kind, settings, highest) => {
      const { share, result } = await lessonOf({ method, proportionEmptyPrompts: 0.1, ...settings });
      expect(share).toBeLessThan(highest);
      const base = await picture(taught);
      const [off, on] = [
        await picture(taught, { controls: [asControl(kind, result, 0)] }),
        await picture(taught, { controls: [asControl(kind, result, 1)] }),
      ];
      expect(change(off, base)).toBeLessThan(1e-5);
      expect(change(on, base)).toBeGreaterThan(0.05);
    },
  );
});

/** What a UNet predicts of the class pictures with the class prompt, noised alike for every model. */
async function classPredictions(path: string): Promise<Float32Array> {
  const model = await openModelFolder(path);
  const pictures = { resolution: SIDE, centerCrop: true, seed: 9, onMessage: () => undefined };
  const preparing = prepareExamples({
    ...pictures,
    signal: undefined,
    model,
    session: SESSION,
    instanceImages: inFolder('class'),
    instancePrompt: CLASS_PROMPT,
  });
  const { value: examples } = (await preparing.next()) as IteratorReturnResult<LessonExamples>;
  const [batch, latentShape] = [32, [4, SIDE / 8, SIDE / 8] as const];
  const feeds = stepFeeds(0, {
    instances: examples.instances,
    classes: [],
    seed: 9,
    alphasCumprod: alphasCumprod(model.scheduler),
    target: 'epsilon',
    trainBatchSize: batch,
    priorLossWeight: 0,
    latentShape,
  });
  const scope = new Scope({ name: denoiserComponents.unet, dtype: 'float32' });
  const { noisyLatents } = diffusionLoss({ batch, latentShape, target: 'epsilon', predict: (sample) => sample });
  const timestep = input(lossInputs.timestep, { shape: [batch], dtype: 'float32' });
  const encoderHiddenStates = input(lessonInputs.encoderHiddenStates, { shape: [batch, 77, 12], dtype: 'float32' });
  const noisePred = unet(scope, model.unet.config, { sample: noisyLatents, timestep, encoderHiddenStates });
  const session = await compile({ noisePred }, { ...SESSION, checkpoints: { unet: model.unet.checkpoint } });
  onTestFinished(() => session.dispose());
  const { [lossInputs.weights]: _, ...needed } = feeds;
  return floats((await session.run(needed))['noisePred']);
}

test('dreambooth lowers the loss, and with its prior the class stays closer to the base than by fine-tuning', async () => {
  const settings = { learningRate: 2e-3, maxTrainSteps: 150 };
  const subject = await lessonOf({ method: 'fine-tune', ...settings });
  expect(subject.share).toBeLessThan(0.6);
  const prior = { withPriorPreservation: true, classPrompt: CLASS_PROMPT, classNoun: 'car' } as const;
  const request = { classImages: inFolder('class'), out: inFolder('dreambooth') };
  const { result, losses: seen } = await teach({ ...COSINE, method: 'dreambooth', ...prior, ...settings }, request);
  expect(mean(seen.slice(-MEASURED))).toBeLessThan(0.6 * mean(seen.slice(0, 4)));
  const base = await classPredictions(taught);
  const drift = {
    with: change(await classPredictions(result), base),
    without: change(await classPredictions(subject.result), base),
  };
  expect(drift.without).toBeGreaterThan(0.05);
  expect(drift.with).toBeLessThan(0.8 * drift.without);
});

test('a checkpoint is refused when the lesson has other settings, and gone on with when it has the same', async () => {
  const settings = { method: 'dreambooth-lora', maxTrainSteps: 2, learningRate: 1e-3 } as const;
  const out = inFolder('resumed');
  await teach(settings, { out });
  await rm(out, { recursive: true });
  const other = teach({ ...settings, learningRate: 2e-3 }, { out, isResumed: true });
  await expect(other).rejects.toThrow(/got one with other settings or pictures/);
  const again = await teach({ ...settings, checkpointingSteps: 7 }, { out, isResumed: true });
  expect(again.losses).toEqual([]);
});

test('lesson with --gradient-checkpointing takes the very same steps', async () => {
  const settings = { method: 'dreambooth-lora', maxTrainSteps: 3, learningRate: 1e-3 } as const;
  const kept = await teach(settings, { out: inFolder('kept') });
  const again = await teach({ ...settings, gradientCheckpointing: true }, { out: inFolder('again') });
  expect(again.losses).toEqual(kept.losses);
});

test('a lesson in half precision goes as one in full precision, and its checkpoint keeps the loss scale', async () => {
  const settings = { method: 'dreambooth-lora', maxTrainSteps: 3, learningRate: 1e-3 } as const;
  const whole = await teach(settings, { out: inFolder('whole') });
  const messages: string[] = [];
  const request = { out: inFolder('half'), onMessage: (message: string) => messages.push(message) };
  const half = await teach({ ...settings, mixedPrecision: 'fp16' }, request);
  for (const [i, loss] of half.losses.entries()) expect(Math.abs(loss / whole.losses[i]! - 1)).toBeLessThan(1e-2);
  expect(messages).toContainEqual(expect.stringMatching(/^The CPU computes fp16 in float32/));
  const checkpoint = await loadLatestCheckpoint(`${inFolder('half')}.checkpoints`);
  const scaling = checkpoint!.groups['state']!.get('loss_scaling')!.values;
  expect([...scaling.slice(0, 2)]).toEqual([65536, 3]);
});

test('a VAE is not taught in half precision', async () => {
  const settings = { method: 'from-scratch', component: 'vae', mixedPrecision: 'fp16' } as const;
  const refused = teach(settings, { out: inFolder('refused') });
  await expect(refused).rejects.toThrow('Cannot train: a VAE must be trained with --mixed-precision no');
  await expect(refused).rejects.toBeInstanceOf(UserError);
});
