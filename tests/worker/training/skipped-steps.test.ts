/** With a scaled loss a step may be skipped; a few weights and a spike among the data show what that changes. */
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { input, mul, reduceMean, reshape, sub } from '../../../worker/graph/operators.ts';
import { float32Tensor } from '../../../worker/runtime/session.ts';
import { ADAMW_DEFAULTS } from '../../../worker/training/adamw.ts';
import { learningRateAt } from '../../../worker/training/learning-rate.ts';
import type { StepRecord } from '../../../worker/training/lesson-journal.ts';
import { type LessonLoopOptions, runLesson } from '../../../worker/training/lesson-loop.ts';
import { initialScaling, SCALING_NAME } from '../../../worker/training/loss-scaling.ts';
import {
  initialState,
  type Lesson,
  type StepFeeds,
  Trainer,
  type TrainerState,
  takenSteps,
} from '../../../worker/training/trainer.ts';
import { temporaryFolder } from '../../support/tiny-models.ts';

const WIDTH = 8;
/** Float32 ends at 2^128: ordinary gradients of below 8 fit, those of a spike do not, nor after some halvings. */
const SCALE = 2 ** 124;
const SPIKE = 1e9;

/** Eight weights learn to turn x into y. */
function describeLesson(): Lesson {
  const vector = (name: string) => input(name, { shape: [WIDTH], dtype: 'float32' });
  const [weight, x, y] = [vector('weight'), vector('x'), vector('y')];
  const difference = sub(mul(weight, x), y);
  const loss = reshape(reduceMean(mul(difference, difference), [0]), []);
  const trainables = [{ name: 'weight', shape: [WIDTH], value: weight }];
  return { trainables, loss, perStep: [x, y], reported: {}, hasEma: true, isLossScaled: true };
}

async function startTrainer(): Promise<{ trainer: Trainer; fresh: () => TrainerState }> {
  const lesson = describeLesson();
  const trainer = await Trainer.create(lesson, ADAMW_DEFAULTS, { device: 'cpu', threads: 1, checkpoints: {} });
  onTestFinished(() => trainer.dispose());
  const fresh = () => {
    const state = initialState(lesson.trainables, new Map([['weight', new Float32Array(WIDTH)]]), lesson);
    state.vectors[SCALING_NAME] = initialScaling(SCALE);
    return state;
  };
  return { trainer, fresh };
}

function feedsOf(step: number, factor = 1): StepFeeds {
  const wave = (speed: number) => {
    const values = Float32Array.from({ length: WIDTH }, (_, i) => factor * Math.sin(speed * step + i));
    return float32Tensor(values, [WIDTH]);
  };
  return { x: wave(0.7), y: wave(1.3) };
}

test('a skipped step leaves weights, moments, average, rates and corrections as if it had not been', async () => {
  const { trainer, fresh } = await startTrainer();
  const [spiked, plain] = [fresh(), fresh()];
  const rates = [1e-2, 2e-2, 3e-2, 4e-2, 5e-2];
  const good = [0, 1, 2].map((step) => feedsOf(step));
  const [first, second, third] = good as [StepFeeds, StepFeeds, StepFeeds];
  const spike = feedsOf(9, SPIKE);
  const reports = await trainer.run(spiked, [spike, first, spike, second, third], rates);
  expect(reports.map(({ isSkipped }) => isSkipped)).toEqual([true, false, true, false, false]);
  await trainer.run(plain, good, rates.slice(0, 3));
  const { [SCALING_NAME]: scaling, ...vectors } = spiked.vectors;
  expect(vectors).toEqual({ ...plain.vectors, [SCALING_NAME]: undefined });
  expect(scaling).toEqual(Float32Array.of(SCALE / 4, 2, 2));
  expect([spiked, plain].map(takenSteps)).toEqual([3, 3]);
  expect(vectors.moving_average).not.toEqual(vectors.parameters);
});

const SPIKES = [4, 11, 12, 23];
const SCHEDULE = { learningRate: 1e-2, lrScheduler: 'cosine', lrWarmupSteps: 6, maxTrainSteps: 30 } as const;

async function lessonOptions(): Promise<(records?: StepRecord[]) => LessonLoopOptions> {
  const { trainer, fresh } = await startTrainer();
  const checkpointFolder = join(await temporaryFolder(), 'checkpoints');
  return (records = []) => ({
    ...SCHEDULE,
    trainer,
    initial: fresh(),
    feeds: (step) => feedsOf(step, SPIKES.includes(step) ? SPIKE : 1),
    checkpointFolder,
    checkpointingSteps: 10,
    lessonKey: 'a lesson',
    isResumed: false,
    record: async (steps) => {
      records.push(...steps);
    },
  });
}

async function runUntil(options: LessonLoopOptions, end = Number.POSITIVE_INFINITY): Promise<TrainerState | undefined> {
  const loop = runLesson(options);
  for (let next = await loop.next(); ; next = await loop.next()) {
    if (next.done) return next.value;
    if (next.value.step >= end) return undefined;
  }
}

test('the schedule of the learning rate does not move with skipped steps, and the journal says so', async () => {
  const options = await lessonOptions();
  const records: StepRecord[] = [];
  await runUntil(options(records));
  expect(records.flatMap(({ gradNorm, step }) => (gradNorm === undefined ? [step - 1] : []))).toEqual(SPIKES);
  const taken = records.map(({ step }) => step - 1 - SPIKES.filter((spike) => spike < step - 1).length);
  expect(records.map(({ learningRate }) => learningRate)).toEqual(taken.map((step) => learningRateAt(step, SCHEDULE)));
});

test('a lesson with skipped steps ends with the very vectors of an undisturbed one when it is interrupted', async () => {
  const options = await lessonOptions();
  const undisturbed = await runUntil(options());
  await runUntil(options(), 10);
  await runUntil({ ...options(), isResumed: true }, 20);
  const resumed = await runUntil({ ...options(), isResumed: true });
  expect(resumed).toEqual(undisturbed);
  expect(takenSteps(resumed!)).toBe(26);
});
