import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { UserError } from '../../../shared/errors.ts';
import { openModelFolder } from '../../../worker/diffusion/model-folder.ts';
import { train } from '../../../worker/pipelines/train.ts';
import type { TrainRequest } from '../../../worker/pipelines/train-request.ts';
import type { LessonEvent } from '../../../worker/pipelines/watched-lesson.ts';
import { completeSettings } from '../../../worker/training/complete-settings.ts';
import { traitsOf } from '../../../worker/training/default-settings.ts';
import { readRecords, type StepRecord } from '../../../worker/training/lesson-journal.ts';
import type { LessonReport } from '../../../worker/training/lesson-report.ts';
import type { GivenSettings } from '../../../worker/training/settings.ts';
import { SIDE, savePhotos, saveTinyStudent } from '../../support/tiny-lesson.ts';

let folder: string;
const inFolder = (name: string) => join(folder, name);

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'sketchbooth-watched-'));
  await saveTinyStudent(inFolder('model'));
  await savePhotos(inFolder('photos'), ['#c03020', '#20a040', '#3040c0', '#d0c020']);
});

afterAll(() => rm(folder, { recursive: true }));

const LORA = {
  method: 'dreambooth-lora',
  classNoun: 'car',
  resolution: SIDE,
  learningRate: 1e-2,
  maxTrainSteps: 24,
  checkpointingSteps: 10,
  validationSteps: 0,
} as const;

/** Runs a lesson into a folder of its name; `onEvent` may stop it. */
async function lesson(
  name: string,
  {
    given = {},
    onEvent,
    ...request
  }: Partial<TrainRequest> & { given?: Partial<GivenSettings>; onEvent?: (event: LessonEvent) => void } = {},
): Promise<LessonReport> {
  const model = await openModelFolder(inFolder('model'));
  const loop = train({
    model,
    settings: completeSettings({ ...LORA, ...given } as GivenSettings, traitsOf(model)),
    seed: 1,
    isResumed: false,
    instanceImages: inFolder('photos'),
    classImageCache: inFolder('class-images'),
    session: { device: 'cpu', threads: 1 },
    onMessage: () => undefined,
    out: inFolder(name),
    ...request,
  });
  for (let next = await loop.next(); ; next = await loop.next()) {
    if (next.done) return next.value;
    onEvent?.(next.value);
  }
}

const weights = (name: string) => readFile(join(inFolder(name), 'pytorch_lora_weights.safetensors'));

async function stepsOf(name: string): Promise<StepRecord[]> {
  return (await readRecords(join(inFolder(name), 'lesson.jsonl'))).filter((record) => record.kind === 'step');
}

const upTo = (last: number) => Array.from({ length: last }, (_, i) => i + 1);

test('a lesson writes every step down, draws its loss, and sums itself up', async () => {
  const events: LessonEvent[] = [];
  const report = await lesson('whole', {
    onEvent: (event) => events.push(event),
    given: { lrScheduler: 'cosine', lrWarmupSteps: 4 },
  });
  const steps = await stepsOf('whole');
  expect(steps.map(({ step }) => step)).toEqual(upTo(24));
  const runs = events.filter((event) => event.kind === 'steps');
  const reports = runs.flatMap((run) => run.reports);
  expect(steps.map(({ loss }) => loss)).toEqual(reports.map(({ loss }) => loss));
  expect(steps.map(({ gradNorm }) => gradNorm)).toEqual(reports.map(({ gradNorm }) => gradNorm));
  // The rate rises over four steps and then falls.
  const rates = steps.map(({ learningRate }) => learningRate);
  expect(rates.indexOf(Math.max(...rates))).toBe(4);
  expect(report).toMatchObject({
    step: 24,
    seed: 1,
    result: join(inFolder('whole'), 'pytorch_lora_weights.safetensors'),
  });
  expect(report.seconds).toBeCloseTo(
    steps.reduce((sum, { seconds }) => sum + seconds, 0),
    9,
  );
  expect(JSON.parse(await readFile(join(inFolder('whole'), 'lesson.json'), 'utf8'))).toEqual(
    JSON.parse(JSON.stringify(report)),
  );
  expect(await readFile(join(inFolder('whole'), 'loss.svg'), 'utf8')).toContain('after 24 of 24 steps');
  expect(runs.at(-1)!.secondsLeft).toBe(0);
  expect(runs[0]!.secondsLeft).toBeUndefined();
});

test('a lesson that is stopped keeps what it has learned by then, which a shorter lesson learns as well', async () => {
  const stop = new AbortController();
  const stopped = await lesson('stopped', { stop: stop.signal, onEvent: () => stop.abort() });
  expect(stopped.step).toBe(1);
  const short = await lesson('short', { given: { maxTrainSteps: 1 } });
  expect(short.step).toBe(1);
  expect((await weights('stopped')).equals(await weights('short'))).toBe(true);
});

test('a lesson that is paused has no result, goes on where it was, and ends with the weights of an undisturbed one', async () => {
  const pause = new AbortController();
  const paused = await lesson('paused', { pause: pause.signal, onEvent: () => pause.abort() });
  expect(paused).toMatchObject({ step: 1, result: undefined });
  expect((await readdir(inFolder('paused'))).sort()).toEqual(['lesson.jsonl', 'loss.svg']);
  const steps: number[] = [];
  await lesson('paused', { isResumed: true, onEvent: (event) => steps.push(event.step) });
  // The first run after a start is a single step.
  expect(steps[0]).toBe(2);
  await lesson('undisturbed');
  expect((await weights('paused')).equals(await weights('undisturbed'))).toBe(true);
  expect((await stepsOf('paused')).map(({ step }) => step)).toEqual(upTo(24));
});

test('a lesson refuses a folder of something else, and one that is done', async () => {
  await mkdir(inFolder('mine'));
  await writeFile(join(inFolder('mine'), 'mine.txt'), 'mine');
  await expect(lesson('mine')).rejects.toThrow('the folder must be empty, got 1 entries');
  await lesson('done', { given: { maxTrainSteps: 1 } });
  for (const isResumed of [false, true]) {
    const again = lesson('done', { isResumed, given: { maxTrainSteps: 1 } });
    await expect(again).rejects.toThrow('got a lesson that is done');
    await expect(again).rejects.toBeInstanceOf(UserError);
  }
});

test('a lesson that starts anew forgets what one that was paused wrote down', async () => {
  const pause = new AbortController();
  await lesson('anew', { pause: pause.signal, onEvent: () => pause.abort() });
  await lesson('anew', { given: { maxTrainSteps: 2 } });
  expect((await stepsOf('anew')).map(({ step }) => step)).toEqual([1, 2]);
});

test('a lesson that is paused while class pictures are made leaves them for the next one', async () => {
  const given = { withPriorPreservation: true, numClassImages: 3, maxTrainSteps: 1 } as const;
  const pause = new AbortController();
  const made: string[] = [];
  const onEvent = (event: LessonEvent) => {
    if (event.kind === 'preparing') made.push(`${event.done} of ${event.total}`);
    pause.abort();
  };
  expect(await lesson('prior', { given, pause: pause.signal, onEvent })).toMatchObject({ step: 0, result: undefined });
  expect(made).toEqual(['1 of 3']);
  expect((await lesson('prior', { given, onEvent })).step).toBe(1);
  expect(made).toEqual(['1 of 3', '1 of 2', '2 of 2']);
});
