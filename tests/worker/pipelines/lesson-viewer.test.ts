import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { openModelFolder } from '../../../worker/diffusion/model-folder.ts';
import { decodePicture, encodePng, loadPicture } from '../../../worker/diffusion/picture.ts';
import { type PictureRequest, StableDiffusion } from '../../../worker/diffusion/stable-diffusion.ts';
import { loadTextualInversionFile } from '../../../worker/diffusion/textual-inversion-file.ts';
import { float32Tensor } from '../../../worker/runtime/session.ts';
import { readRecords, type SampleRecord } from '../../../worker/training/lesson-journal.ts';
import type { GivenSettings } from '../../../worker/training/settings.ts';
import { runTinyLesson, SIDE, savePhotos, saveTinyStudent, type TinyRequest } from '../../support/tiny-lesson.ts';

const SESSION = { device: 'cpu', threads: 1 } as const;

let folder: string;
const inFolder = (name: string) => join(folder, name);

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'sketchbooth-viewer-'));
  await saveTinyStudent(inFolder('model'));
  await savePhotos(inFolder('photos'), ['#c03020', '#c83828']);
});

afterAll(() => rm(folder, { recursive: true }));

function teach(name: string, given: GivenSettings, request: Partial<TinyRequest> = {}) {
  const looks = { validationSteps: 3, maxTrainSteps: 5, trainBatchSize: 1 };
  const places = { instanceImages: inFolder('photos'), out: inFolder(name) };
  return runTinyLesson(inFolder('model'), { ...looks, ...given }, { ...places, ...request });
}

async function samplesOf(name: string): Promise<SampleRecord[]> {
  return (await readRecords(join(inFolder(name), 'lesson.jsonl'))).filter((record) => record.kind === 'sample');
}

const pixels = async (file: string | Uint8Array) => (await decodePicture(file)).bytes;

/** In levels of 255. */
function largestDifference(a: Uint8Array, b: Uint8Array): number {
  expect(a).toHaveLength(b.length);
  return a.reduce((most, value, i) => Math.max(most, Math.abs(value - b[i]!)), 0);
}

/** The picture that a person makes of the result, with the seed and the steps of a lesson's samples. */
async function picture(model: string, request: Partial<PictureRequest> & { prompt: string }): Promise<Uint8Array> {
  const pipeline = new StableDiffusion(await openModelFolder(model), { ...SESSION, dtype: 'float32' });
  onTestFinished(() => pipeline.dispose());
  const recipe = { numInferenceSteps: 20, guidanceScale: 7.5, schedulerName: 'dpmpp-2m', seed: 1 } as const;
  const loop = pipeline.generate({ ...recipe, width: SIDE, height: SIDE, ...request });
  for (let next = await loop.next(); ; next = await loop.next()) {
    if (next.done) return encodePng(next.value.image.data as Float32Array, { width: SIDE, height: SIDE });
  }
}

const PROMPT = 'a photo of a red car';
const control = async (kind: 'controlnet' | 'adapter', path: string) => ({
  kind,
  folder: path,
  loadImage: async () => {
    const size = { width: SIDE, height: SIDE };
    const image = await loadPicture(join(inFolder('photos'), '0.png'), size, { channels: 3, range: 'unit' });
    return float32Tensor(image, [1, 3, SIDE, SIDE]);
  },
  conditioningScale: 1,
  controlGuidanceStart: 0,
  controlGuidanceEnd: 1,
  isGuessMode: false,
});

describe('the sample pictures of the first and the last step', () => {
  test.each<[GivenSettings, Partial<TinyRequest>, string, (result: string) => Promise<Uint8Array>]>([
    [
      { method: 'dreambooth-lora', instancePrompt: PROMPT, learningRate: 2e-2, loraRank: 8 },
      {},
      PROMPT,
      (file) => picture(inFolder('model'), { prompt: PROMPT, loras: [{ file, scale: 1 }] }),
    ],
    [
      { method: 'fine-tune', instancePrompt: PROMPT, learningRate: 5e-3, useEma: true, validationPrompt: 'a car' },
      {},
      'a car',
      (result) => picture(result, { prompt: 'a car' }),
    ],
    [
      {
        method: 'textual-inversion',
        placeholderToken: '<my-car>',
        initializerToken: 'the',
        numVectors: 2,
        learningRate: 0.1,
      },
      {},
      'a photo of the the',
      async (file) =>
        picture(inFolder('model'), {
          prompt: 'a photo of <my-car>',
          embeddings: [await loadTextualInversionFile(file)],
        }),
    ],
    [
      { method: 'controlnet', instancePrompt: PROMPT, learningRate: 1e-2 },
      { conditioningImages: 'photos' },
      PROMPT,
      async (result) => picture(inFolder('model'), { prompt: PROMPT, controls: [await control('controlnet', result)] }),
    ],
  ])(
    'of %j are those of the model before the lesson and of its result',
    async (given, { conditioningImages, ...request }, prompt, ofResult) => {
      const name = given.method;
      const pairs = conditioningImages === undefined ? {} : { conditioningImages: inFolder(conditioningImages) };
      const { result } = await teach(name, given, { ...request, ...pairs });
      const file = (step: number) => join(inFolder(name), 'samples', `step-00000${step}-0.png`);
      expect((await readdir(join(inFolder(name), 'samples'))).length).toBe(3);
      const [before, after] = [await pixels(file(0)), await pixels(file(5))];
      expect(largestDifference(before, await pixels(await picture(inFolder('model'), { prompt })))).toBeLessThanOrEqual(
        1,
      );
      expect(largestDifference(after, await pixels(await ofResult(result)))).toBeLessThanOrEqual(1);
      expect(largestDifference(before, after)).toBeGreaterThan(5);
      expect((await samplesOf(name)).map(({ step }) => step)).toEqual([0, 3, 5]);
    },
  );
});

test('the sample picture of a lesson from nothing is that of its UNet and text encoder', async () => {
  const { result } = await teach('nothing', { method: 'from-scratch', instancePrompt: PROMPT, learningRate: 1e-2 });
  const sample = await pixels(join(inFolder('nothing'), 'samples', 'step-000005-0.png'));
  expect(largestDifference(sample, await pixels(await picture(result, { prompt: PROMPT })))).toBeLessThanOrEqual(1);
  const ofTeacher = await pixels(await picture(inFolder('model'), { prompt: PROMPT }));
  expect(largestDifference(sample, ofTeacher)).toBeGreaterThan(5);
});

describe('measures', () => {
  const CLASS = { classNoun: 'a car', classPrompt: 'a photo of a car' } as const;
  let taught: string;

  beforeAll(async () => {
    // A network so small that predicts noise makes no pictures, but one that predicts velocity makes plain ones.
    await saveTinyStudent(inFolder('velocity'), { prediction_type: 'v_prediction' });
    await savePhotos(inFolder('class'), ['#c03020', '#20a040', '#3040c0', '#d0c020']);
    await savePhotos(inFolder('subject'), ['#803090', '#883898', '#7a2888', '#8a3a9a']);
    const settings = { method: 'fine-tune', instancePrompt: CLASS.classPrompt, learningRate: 5e-3 } as const;
    const places = { instanceImages: inFolder('class'), out: inFolder('taught') };
    ({ result: taught } = await runTinyLesson(
      inFolder('velocity'),
      { ...settings, trainBatchSize: 4, maxTrainSteps: 300 },
      places,
    ));
  });

  async function measure(given: GivenSettings, validationSteps: number) {
    const places = { instanceImages: inFolder('subject'), out: inFolder(`${given.method}-measured`) };
    const settings = {
      instancePrompt: PROMPT,
      trainBatchSize: 4,
      numValidationImages: 2,
      maxTrainSteps: 60,
      validationSteps,
    };
    const prior = given.method === 'dreambooth' ? { classImages: inFolder('class') } : {};
    const { report } = await runTinyLesson(taught, { ...settings, ...given }, { ...places, ...prior });
    return report;
  }

  test('drift begins at 0, and likeness rises to about what the photos have among themselves', async () => {
    const { samples, drift, likeness } = await measure(
      { method: 'dreambooth-lora', classNoun: CLASS.classNoun, learningRate: 1e-2, loraRank: 16 },
      30,
    );
    expect(samples.map(({ step }) => step)).toEqual([0, 30, 60]);
    expect(samples.map(({ pictures }) => pictures.length)).toEqual([2, 2, 2]);
    expect(samples[0]).toMatchObject({ drift: 0, likeness: 0 });
    for (const sample of samples.slice(1)) {
      expect(sample.drift).toBeGreaterThan(5);
      expect(sample.likeness).toBeGreaterThan(0.5);
    }
    expect(drift).toMatchObject({ before: 0, after: samples[2]!.drift, unit: 'percent' });
    expect(likeness).toMatchObject({ before: 0, after: samples[2]!.likeness });
    expect(Math.abs(likeness!.after - likeness!.ofPhotos!)).toBeLessThan(0.3);
  });

  test('a prior keeps drift lower than plain fine-tuning', async () => {
    const without = await measure({ method: 'fine-tune', classNoun: CLASS.classNoun, learningRate: 2e-3 }, 1000);
    const withPrior = await measure({ method: 'dreambooth', ...CLASS, learningRate: 2e-3 }, 1000);
    expect(without.samples.map(({ step, drift }) => [step, drift === 0])).toEqual([
      [0, true],
      [60, false],
    ]);
    expect(withPrior.drift!.before).toBe(0);
    expect(withPrior.drift!.after).toBeLessThan(0.7 * without.drift!.after);
  });
});
