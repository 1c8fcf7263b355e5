/** Every method on one tiny base that knows two looks, each by a word: what a lesson changes, it has to change for a prompt. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest';
import { openModelFolder } from '../../../worker/diffusion/model-folder.ts';
import { type PreparedLesson, startingState } from '../../../worker/pipelines/teach.ts';
import { prepareLesson } from '../../../worker/pipelines/train.ts';
import { adamwOf, type TrainRequest } from '../../../worker/pipelines/train-request.ts';
import { completeSettings } from '../../../worker/training/complete-settings.ts';
import { createTrainer } from '../../../worker/training/create-trainer.ts';
import { traitsOf } from '../../../worker/training/default-settings.ts';
import { learningRateAt } from '../../../worker/training/learning-rate.ts';
import type { GivenSettings } from '../../../worker/training/settings.ts';
import { type StepReport, trainedTensors } from '../../../worker/training/trainer.ts';
import { runTinyLesson, SIDE, savePhotos, saveTinyStudent } from '../../support/tiny-lesson.ts';

/** All that the base learns, from nothing. */
const LOOKS = [
  ['#101010', 'a photo of a night'],
  ['#303030', 'a photo of a night'],
  ['#e0e0e0', 'a photo of a white'],
  ['#f8f8f8', 'a photo of a white'],
] as const;
const BRIGHT = ['#f0f0f0', '#e8f0e0', '#f8f0f0', '#e0e0f0'];
/** The prompt of a dark look, under which the lessons show bright pictures. */
const DARK_PROMPT = 'a photo of a night';

let folder: string;
let shareOfBase: number;
const inFolder = (name: string) => join(folder, name);

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'sketchbooth-methods-'));
  await saveTinyStudent(inFolder('student'), { prediction_type: 'v_prediction' });
  const colours = LOOKS.map(([colour]) => colour);
  await savePhotos(inFolder('looks'), colours);
  for (const [i, [, caption]] of LOOKS.entries()) await writeFile(join(inFolder('looks'), `${i}.txt`), caption);
  await savePhotos(inFolder('dark'), colours.slice(0, 2));
  await savePhotos(inFolder('bright'), BRIGHT);
  await savePhotos(inFolder('mixed'), ['#181818', '#e8f0e0', '#f8f0f0', '#282028']);
  const settings = { learningRate: 3e-3, maxTrainSteps: 400, proportionEmptyPrompts: 0.1 };
  const base = await learn('student', { method: 'from-scratch', ...settings }, { instanceImages: inFolder('looks') });
  shareOfBase = base.share;
  await base.save(inFolder('base'));
});

afterAll(() => rm(folder, { recursive: true }));

/** Steps of which the loss is measured, always with the same timesteps and noise; no lesson sees them. */
const MEASURED = Array.from({ length: 16 }, (_, i) => 1_000_000 + i);

/** Takes all steps of a lesson, and compares the loss before and after them. */
async function learn(model: string, given: GivenSettings, further: Partial<TrainRequest> = {}) {
  const request = await requestOf(model, given, further);
  const { settings } = request;
  const { value } = await prepareLesson(request, new AbortController().signal).next();
  const prepared = value as PreparedLesson;
  const { lesson, checkpoints } = prepared;
  const trainer = await createTrainer(lesson, adamwOf(settings), { ...request.session, checkpoints });
  const state = await startingState(prepared);
  try {
    // A run replaces the vectors, and at a rate of 0 nothing learns.
    const measure = async () => {
      return meanLoss(
        await trainer.run(
          { ...state, vectors: { ...state.vectors } },
          fixed,
          MEASURED.map(() => 0),
        ),
      );
    };
    const fixed = await feedsOf(prepared, MEASURED);
    const before = await measure();
    const steps = Array.from({ length: settings.maxTrainSteps }, (_, i) => i);
    const rates = steps.map((step) => learningRateAt(step, settings));
    await trainer.run(state, await feedsOf(prepared, steps), rates);
    const trained = trainedTensors(lesson.trainables, state);
    return { share: (await measure()) / before, save: (out: string) => prepared.save(trained, out) };
  } finally {
    await trainer.dispose();
    await prepared.close?.();
  }
}

async function requestOf(name: string, given: GivenSettings, further: Partial<TrainRequest>): Promise<TrainRequest> {
  const model = await openModelFolder(inFolder(name));
  const lesson = { resolution: SIDE, validationSteps: 0, trainBatchSize: 4, gradientAccumulationSteps: 1 };
  return {
    model,
    settings: completeSettings({ ...lesson, lrScheduler: 'cosine', lrWarmupSteps: 0, ...given }, traitsOf(model)),
    seed: 1,
    isResumed: false,
    classImageCache: inFolder('class-images'),
    session: { device: 'cpu', threads: 1 },
    onMessage: () => undefined,
    out: inFolder(`${given.method}-lesson`),
    instanceImages: inFolder('bright'),
    ...further,
  };
}

const feedsOf = ({ feeds }: PreparedLesson, steps: readonly number[]) => Promise.all(steps.map((step) => feeds(step)));

function meanLoss(reports: readonly StepReport[]): number {
  return reports.reduce((sum, { loss }) => sum + loss / reports.length, 0);
}

test('from-scratch lowers its loss on 4 pictures to under 60 % of the start', () => {
  expect(shareOfBase).toBeLessThan(0.6);
});

const PROMPT = { instancePrompt: DARK_PROMPT } as const;
const PAIRED = { ...PROMPT, proportionEmptyPrompts: 0 } as const;

test.each<GivenSettings>([
  { method: 'fine-tune', ...PROMPT, learningRate: 2e-3, maxTrainSteps: 50 },
  { method: 'dreambooth-lora', ...PROMPT, loraRank: 8, learningRate: 1e-2, maxTrainSteps: 50 },
  // The class keeps the look that the subject's prompt had, so that both halves of the loss have to be learned.
  {
    method: 'dreambooth',
    instancePrompt: 'a photo of a garden night',
    classPrompt: DARK_PROMPT,
    learningRate: 2e-3,
    maxTrainSteps: 80,
  },
  // The word begins as the opposite of what the pictures show.
  {
    method: 'textual-inversion',
    placeholderToken: '<look>',
    initializerToken: 'night',
    learningRate: 3e-2,
    maxTrainSteps: 100,
  },
  // Half of the pictures are not what the prompt says; which ones, only the conditioning image tells.
  { method: 'controlnet', ...PAIRED, learningRate: 3e-3, maxTrainSteps: 60 },
  { method: 't2i-adapter', ...PAIRED, learningRate: 1e-2, maxTrainSteps: 80 },
])('$method lowers its loss on 4 pictures to under 60 % of the start', async (given) => {
  const isPaired = 'proportionEmptyPrompts' in given;
  const pairs = { instanceImages: inFolder('mixed'), conditioningImages: inFolder('mixed') };
  const request = isPaired ? pairs : given.method === 'dreambooth' ? { classImages: inFolder('dark') } : {};
  const { share } = await learn('base', given, request);
  expect(share).toBeLessThan(0.6);
});

/** How far the class moved while a subject was learned under its noun, in percent of the prediction. */
async function driftOf(out: string, further: Partial<GivenSettings>): Promise<number> {
  const given = {
    method: 'dreambooth-lora',
    instancePrompt: 'a photo of a garden night',
    classNoun: 'a night',
  } as const;
  const learning = { loraRank: 8, learningRate: 1e-2, maxTrainSteps: 50, validationSteps: 50, trainBatchSize: 4 };
  const lesson = { ...given, ...learning, lrScheduler: 'cosine', lrWarmupSteps: 0, ...further } as const;
  const { report } = await runTinyLesson(inFolder('base'), lesson, {
    instanceImages: inFolder('bright'),
    out: inFolder(out),
  });
  onTestFinished(() => rm(inFolder(out), { recursive: true }));
  return report.drift!.after;
}

test('differential output preservation keeps the class closer to the base than a lesson without it', async () => {
  const without = await driftOf('free', {});
  const kept = await driftOf('preserved', { diffOutputPreservation: true });
  expect(without).toBeGreaterThan(10);
  expect(kept).toBeLessThan(0.6 * without);
});
