import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { UserError } from '../../../shared/errors.ts';
import { openModelFolder } from '../../../worker/diffusion/model-folder.ts';
import { saveCheckpointAs, seedOfLesson } from '../../../worker/pipelines/use-checkpoint.ts';
import type { GivenSettings } from '../../../worker/training/settings.ts';
import { runTinyLesson, savePhotos, saveTinyStudent } from '../../support/tiny-lesson.ts';

let folder: string;
const inFolder = (name: string) => join(folder, name);

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'sketchbooth-use-'));
  await saveTinyStudent(inFolder('model'));
  await savePhotos(inFolder('photos'), ['#c03020', '#c83828']);
});

afterAll(() => rm(folder, { recursive: true }));

function teach(name: string, given: GivenSettings) {
  const places = { instanceImages: inFolder('photos'), out: inFolder(name) };
  const settings = { maxTrainSteps: 6, checkpointingSteps: 2, instancePrompt: 'a photo of a red car', ...given };
  return runTinyLesson(inFolder('model'), settings as GivenSettings, places);
}

const weights = (path: string) => readFile(path);

test('a sample step and a checkpoint become what a lesson that ended there had saved', async () => {
  const lora = { method: 'dreambooth-lora', learningRate: 1e-2, loraRank: 8 } as const;
  await teach('lora', { ...lora, validationSteps: 3 });
  const out = inFolder('lora');
  const [sampled, kept, latest] = [
    await saveCheckpointAs({ out, step: 3 }),
    await saveCheckpointAs({ out, step: 4, target: inFolder('fourth') }),
    await saveCheckpointAs({ out, step: 'latest', target: inFolder('latest') }),
  ];
  expect(sampled).toBe(join(out, 'step-000003', 'pytorch_lora_weights.safetensors'));
  for (const [steps, file] of [
    [3, sampled],
    [4, kept],
    [6, latest],
  ] as const) {
    const { result } = await teach(`lora of ${steps}`, { ...lora, maxTrainSteps: steps });
    expect((await weights(file)).equals(await weights(result))).toBe(true);
  }
  expect((await weights(latest)).equals(await weights(sampled))).toBe(false);
  expect(await seedOfLesson(out)).toBe(1);
});

test('a checkpoint of averaged weights becomes a model folder', async () => {
  const settings = { method: 'fine-tune', learningRate: 5e-3, useEma: true } as const;
  await teach('whole', settings);
  const target = await saveCheckpointAs({ out: inFolder('whole'), step: 4, target: inFolder('model of 4') });
  const { result } = await teach('whole of 4', { ...settings, maxTrainSteps: 4 });
  const unet = (path: string) => weights(join(path, 'unet', 'diffusion_pytorch_model.safetensors'));
  expect((await unet(target)).equals(await unet(result))).toBe(true);
  await openModelFolder(target);
});

test('a step of which nothing was kept is refused with those that were', async () => {
  await teach('few', { method: 'dreambooth-lora', checkpointingSteps: 6, validationSteps: 4 });
  const use = (step: number) => saveCheckpointAs({ out: inFolder('few'), step });
  await expect(use(5)).rejects.toThrow('the step must be one of 0, 4, 6, got 5');
  await expect(use(5)).rejects.toBeInstanceOf(UserError);
  const nothing = saveCheckpointAs({ out: inFolder('nothing'), step: 'latest' });
  await expect(nothing).rejects.toThrow('one of none, since nothing was kept');
  expect(await readdir(folder)).not.toContain('nothing');
});
