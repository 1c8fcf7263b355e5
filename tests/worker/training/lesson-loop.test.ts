import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { UserError } from '../../../shared/errors.ts';
import { input, mul, reduceMean, reshape, sub } from '../../../worker/graph/operators.ts';
import { float32Tensor } from '../../../worker/runtime/session.ts';
import { STATE_NAMES } from '../../../worker/training/adamw.ts';
import { type LessonLoopOptions, type LessonProgress, runLesson } from '../../../worker/training/lesson-loop.ts';
import { initialState, type Lesson, Trainer, type TrainerState } from '../../../worker/training/trainer.ts';
import { temporaryFolder } from '../../support/tiny-models.ts';

const ADAMW = { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 1e-2, maxGradNorm: 1 };
const WIDTH = 8;

/** Eight weights learn to turn x into y. */
function describeLesson(): Lesson {
  const vector = (name: string) => input(name, { shape: [WIDTH], dtype: 'float32' });
  const [weight, x, y] = [vector('weight'), vector('x'), vector('y')];
  const difference = sub(mul(weight, x), y);
  const loss = reshape(reduceMean(mul(difference, difference), [0]), []);
  return { trainables: [{ name: 'weight', shape: [WIDTH], value: weight }], loss, perStep: [x, y], reported: {} };
}

/** Options of a lesson of 45 steps with a checkpoint after every ten. */
async function lessonOptions(changed: Partial<LessonLoopOptions> = {}): Promise<() => LessonLoopOptions> {
  const lesson = describeLesson();
  const trainer = await Trainer.create(lesson, ADAMW, { device: 'cpu', threads: 1, checkpoints: {} });
  onTestFinished(() => trainer.dispose());
  const checkpointFolder = join(await temporaryFolder(), 'checkpoints');
  const wave = (step: number, speed: number) =>
    float32Tensor(
      Float32Array.from({ length: WIDTH }, (_, i) => Math.sin(speed * step + i)),
      [WIDTH],
    );
  return () => ({
    trainer,
    initial: initialState(lesson.trainables, new Map([['weight', new Float32Array(WIDTH)]])),
    feeds: (step) => ({ x: wave(step, 0.7), y: wave(step, 1.3) }),
    checkpointFolder,
    checkpointingSteps: 10,
    lessonKey: 'a lesson',
    isResumed: false,
    learningRate: 1e-2,
    lrScheduler: 'cosine',
    lrWarmupSteps: 5,
    maxTrainSteps: 45,
    ...changed,
  });
}

/** Goes on until `isEnough`, then asks no more. */
async function runUntil(
  options: LessonLoopOptions,
  isEnough: (progress: LessonProgress) => boolean = () => false,
): Promise<{ seen: LessonProgress[]; state: TrainerState | undefined }> {
  const seen: LessonProgress[] = [];
  const loop = runLesson(options);
  for (let next = await loop.next(); ; next = await loop.next()) {
    if (next.done) return { seen, state: next.value };
    seen.push(next.value);
    if (isEnough(next.value)) return { seen, state: undefined };
  }
}

test('a lesson ends with the very vectors of an undisturbed one when it is interrupted twice', async () => {
  const options = await lessonOptions();
  const { state: undisturbed } = await runUntil(options());
  await runUntil(options(), ({ step }) => step >= 20);
  // The first run after a start is a single step, so this one is stopped between two checkpoints.
  const { seen } = await runUntil({ ...options(), isResumed: true }, () => true);
  expect(seen[0]!.step).toBe(21);
  const { seen: rest, state } = await runUntil({ ...options(), isResumed: true });
  expect(rest[0]!.step).toBe(21);
  expect(state!.step).toBe(45);
  for (const name of STATE_NAMES) expect(state!.vectors[name]).toEqual(undisturbed!.vectors[name]);
});

test('a lesson reports every step once and the rate of the last one', async () => {
  const options = await lessonOptions({ lrScheduler: 'constant' });
  const { seen } = await runUntil(options());
  expect(seen.flatMap(({ reports }) => reports)).toHaveLength(45);
  expect(seen.at(-1)).toMatchObject({ step: 45, maxTrainSteps: 45, learningRate: 1e-2 });
  expect(seen.every(({ step }, i) => step - (seen[i - 1]?.step ?? 0) === seen[i]!.reports.length)).toBe(true);
});

test('a lesson that is done is given back when it is resumed', async () => {
  const options = await lessonOptions();
  const { state } = await runUntil(options());
  expect(await runUntil({ ...options(), isResumed: true })).toEqual({ seen: [], state });
});

test('a lesson starts anew when it is not resumed, or there is no checkpoint', async () => {
  const options = await lessonOptions();
  const { seen: first } = await runUntil({ ...options(), isResumed: true }, ({ step }) => step >= 10);
  const { seen: second } = await runUntil(options(), () => true);
  expect([first[0]!.step, second[0]!.step]).toEqual([1, 1]);
});

test('a checkpoint of another lesson is refused', async () => {
  const options = await lessonOptions();
  await runUntil(options(), ({ step }) => step >= 10);
  const other = runUntil({ ...options(), isResumed: true, lessonKey: 'another lesson' });
  await expect(other).rejects.toThrow(/must be of the same lesson, got one with other settings or pictures/);
  await expect(other).rejects.toBeInstanceOf(UserError);
});

test('a lesson stops and advises a lower rate when it diverges, and keeps no broken checkpoint', async () => {
  const options = await lessonOptions({ learningRate: 1e30, lrScheduler: 'constant' });
  const diverging = runUntil(options());
  await expect(diverging).rejects.toThrow(/loss must stay finite, got .* a lower learning rate helps/);
  await expect(diverging).rejects.toBeInstanceOf(UserError);
  const { seen } = await runUntil({ ...options(), isResumed: true, learningRate: 1e-2 }, () => true);
  expect(seen[0]!.step).toBe(1);
});
