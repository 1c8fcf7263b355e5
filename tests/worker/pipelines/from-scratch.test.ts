import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest';
import { UserError } from '../../../shared/errors.ts';
import { openModelFolder } from '../../../worker/diffusion/model-folder.ts';
import { VaeCodec } from '../../../worker/diffusion/vae-codec.ts';
import { train } from '../../../worker/pipelines/train.ts';
import { RandomGenerator } from '../../../worker/runtime/random.ts';
import { float32Tensor } from '../../../worker/runtime/session.ts';
import { completeSettings } from '../../../worker/training/complete-settings.ts';
import { traitsOf } from '../../../worker/training/default-settings.ts';
import type { GivenSettings } from '../../../worker/training/settings.ts';
import { saveTinyPipeline } from '../../support/tiny-folder.ts';
import { runTinyLesson, savePhotos, saveTinyStudent } from '../../support/tiny-lesson.ts';
import { floats } from '../../support/tiny-models.ts';

const COLOURS = ['#d03030', '#30a040', '#3050d0', '#e0c030'];
let root: string;
const inRoot = (name: string) => join(root, name);

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'sketchbooth-scratch-'));
  await saveTinyStudent(inRoot('student'));
  await savePhotos(inRoot('photos'), COLOURS);
});

afterAll(() => rm(root, { recursive: true }));

const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;

test('a VAE learns four pictures from nothing, and its folder says what factor its latents need', async () => {
  const settings = {
    method: 'from-scratch',
    component: 'vae',
    trainBatchSize: 2,
    resolution: 32,
    learningRate: 5e-3,
  } as const;
  const { losses, result } = await runTinyLesson(
    inRoot('student'),
    { ...settings, maxTrainSteps: 60, lrWarmupSteps: 0 },
    { instanceImages: inRoot('photos'), out: inRoot('vae') },
  );
  expect(mean(losses.slice(-5))).toBeLessThan(0.6 * losses[0]!);
  const model = await openModelFolder(result);
  const codec = new VaeCodec(model.vae, { device: 'cpu', threads: 1, dtype: 'float32' });
  onTestFinished(() => codec.dispose());
  const generator = new RandomGenerator(1);
  const latents: number[] = [];
  for (const colour of COLOURS) {
    const channels = [1, 3, 5].map((at) => Number.parseInt(colour.slice(at, at + 2), 16) / 127.5 - 1);
    const image = Float32Array.from({ length: 3 * 32 * 32 }, (_, i) => channels[Math.floor(i / 1024)]!);
    latents.push(
      ...floats(await codec.encode(float32Tensor(image, [1, 3, 32, 32]), (count) => generator.randn(count))),
    );
  }
  const average = mean(latents);
  const deviation = Math.sqrt(mean(latents.map((value) => (value - average) ** 2)));
  expect(Math.abs(deviation - 1)).toBeLessThan(0.1);
});

test('UNet and text encoder learn captioned pictures from nothing, and go on where a killed process stopped', async () => {
  for (const [i, caption] of ['a red thing', 'a green thing', 'a blue thing'].entries()) {
    await writeFile(join(inRoot('photos'), `${i}.txt`), `${caption}\n`);
  }
  const settings = {
    method: 'from-scratch',
    instancePrompt: 'a yellow thing',
    trainBatchSize: 4,
    learningRate: 3e-3,
  } as const;
  const request = (name: string) => ({ instanceImages: inRoot('photos'), out: inRoot(name) });
  const lesson = { ...settings, maxTrainSteps: 60, lrWarmupSteps: 0, checkpointingSteps: 20 };
  const { losses, result } = await runTinyLesson(inRoot('student'), lesson, request('whole'));
  expect(mean(losses.slice(-10))).toBeLessThan(0.6 * losses[0]!);
  await stopEarly(lesson, request('parts'));
  const { result: resumed } = await runTinyLesson(inRoot('student'), lesson, { ...request('parts'), isResumed: true });
  for (const component of ['unet', 'text_encoder'] as const) {
    const bytes = await Promise.all([result, resumed].map((folder) => weightsOf(folder, component)));
    expect(bytes[0]!.equals(bytes[1]!)).toBe(true);
    expect(bytes[0]!.equals(await weightsOf(inRoot('student'), component))).toBe(false);
  }
  await openModelFolder(result);
});

/** Asks for no more after the first checkpoint, as a process that dies does. */
async function stopEarly(given: GivenSettings, request: { instanceImages: string; out: string }): Promise<void> {
  const model = await openModelFolder(inRoot('student'));
  const settings = completeSettings({ resolution: 64, gradientAccumulationSteps: 1, ...given }, traitsOf(model));
  const session = { device: 'cpu', threads: 1 } as const;
  const fixed = {
    seed: 1,
    isResumed: false,
    classImageCache: inRoot('class-images'),
    session,
    onMessage: () => undefined,
  };
  for await (const { step } of train({ model, settings, ...fixed, ...request })) {
    if (step >= 20) {
      expect(step).toBeLessThan(60);
      return;
    }
  }
}

async function weightsOf(folder: string, component: 'unet' | 'text_encoder'): Promise<Buffer> {
  const name = component === 'unet' ? 'diffusion_pytorch_model' : 'model';
  return readFile(join(folder, component, `${name}.safetensors`));
}

test.each([
  [
    'a picture has no caption',
    'student',
    {},
    /3\.png must have a caption in 3\.txt, or all a common --instance-prompt/,
  ],
  ['the model has two text encoders', 'xl', { instancePrompt: 'a thing' }, /must have one text encoder, got an SDXL/],
] as const)('a lesson from nothing is refused when %s', async (_, model, words, message) => {
  if (model === 'xl') await saveTinyPipeline(inRoot('xl'), { unet: 'unet-xl' });
  await rm(inRoot('refused'), { recursive: true, force: true });
  const lesson = runTinyLesson(
    inRoot(model),
    { method: 'from-scratch', ...words },
    { instanceImages: inRoot('photos'), out: inRoot('refused') },
  );
  await expect(lesson).rejects.toThrow(message);
  await expect(lesson).rejects.toBeInstanceOf(UserError);
});
