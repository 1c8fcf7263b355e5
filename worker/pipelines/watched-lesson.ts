import { mkdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Trainable } from '../training/adamw.ts';
import { removeLearned, saveLearned } from '../training/learned-file.ts';
import { LessonClock } from '../training/lesson-clock.ts';
import { LESSON_FILES, samplePath, writeWhole } from '../training/lesson-folder.ts';
import type { LessonIdentity } from '../training/lesson-identity.ts';
import { LessonJournal, type SampleRecord } from '../training/lesson-journal.ts';
import { type LessonLoopOptions, type LessonProgress, startLesson, takeSteps } from '../training/lesson-loop.ts';
import { saveCurve } from '../training/lesson-report.ts';
import { likeness } from '../training/likeness.ts';
import { smooth, smoothingSpan } from '../training/loss-curve.ts';
import { type TrainerState, trainedTensors } from '../training/trainer.ts';
import type { PreparingEvent } from './class-pictures.ts';
import type { LessonViewer, Look, LookProgress } from './lesson-viewer.ts';

/** What a lesson tells while it goes on. */
export type LessonEvent = PreparingEvent | StepsEvent | LookingEvent | SampleEvent;

/** A run of the device. */
export interface StepsEvent extends LessonProgress {
  readonly kind: 'steps';
  /** Moving average of the loss. */
  readonly averageLoss: number;
  /** Until the end; undefined until the pace is known. */
  readonly secondsLeft: number | undefined;
}

/** Sample pictures are being made. */
export interface LookingEvent extends LookProgress {
  readonly kind: 'looking';
  readonly step: number;
}

/** Sample pictures are there. */
export interface SampleEvent extends SampleRecord {
  /** The loss so far, an SVG; paths of pictures and curve start where the lesson's folder does. */
  readonly curve: string;
}

export interface WatchedLessonOptions extends Omit<LessonLoopOptions, 'record' | 'lookingSteps'> {
  readonly trainables: readonly Trainable[];
  readonly identity: LessonIdentity;
  /** Undefined makes no sample pictures and measures nothing. */
  readonly viewer: LessonViewer | undefined;
  /** Steps between looks. */
  readonly validationSteps: number;
  /** Folder of the lesson. */
  readonly out: string;
  readonly signal: AbortSignal;
}

export interface WatchedLesson {
  readonly state: TrainerState;
  readonly journal: LessonJournal;
}

/**
 * Takes a lesson's steps, looks at it before the first, every so many and after the last, and writes down what happens, in
 * files of its folder that survive whatever ends the process.
 */
export async function* watchLesson(options: WatchedLessonOptions): AsyncGenerator<LessonEvent, WatchedLesson> {
  const { out, maxTrainSteps, viewer, validationSteps } = options;
  const state = await startLesson(options);
  await removeLearned(options.checkpointFolder, { after: options.isResumed ? state.step : -1 });
  const journal = await LessonJournal.open(join(out, LESSON_FILES.journal), state.step);
  const clock = new LessonClock();
  const looking = { ...options, journal, clock };
  const record: LessonLoopOptions['record'] = async (steps) => {
    await journal.append(steps);
    await journal.flush();
  };
  const loop = takeSteps(state, { ...options, record, lookingSteps: viewer && validationSteps });
  try {
    yield* lookIfDue(state, looking);
    for (let next = await loop.next(); !next.done; next = await loop.next()) {
      const progress = next.value;
      clock.ran(progress.reports.length, progress.reports.length * progress.secondsPerStep);
      const losses = journal.steps.map(({ loss }) => loss);
      const looks = viewer ? Math.ceil((maxTrainSteps - progress.step) / validationSteps) : 0;
      yield {
        ...progress,
        kind: 'steps',
        averageLoss: smooth(losses, smoothingSpan(maxTrainSteps)).at(-1)!,
        secondsLeft: clock.secondsLeft({ steps: maxTrainSteps - progress.step, looks }),
      };
      yield* lookIfDue(state, looking);
    }
    await saveCurve(out, journal, maxTrainSteps);
  } finally {
    await journal.close();
  }
  return { state, journal };
}

type LookingOptions = WatchedLessonOptions & { readonly journal: LessonJournal; readonly clock: LessonClock };

/** Looks at the lesson where it should be looked at and has not been; a lesson that is ended meanwhile is not looked at. */
async function* lookIfDue(state: TrainerState, options: LookingOptions): AsyncGenerator<LessonEvent, void> {
  const { viewer, validationSteps, maxTrainSteps, journal, signal } = options;
  const { step } = state;
  const isChosen = step % validationSteps === 0 || step === maxTrainSteps;
  if (!viewer || !isChosen || journal.samples.some((sample) => sample.step === step) || signal.aborted) return;
  try {
    yield* lookAt(state, { ...options, viewer });
  } catch (error) {
    if (error !== signal.reason) throw error;
  }
}

async function* lookAt(
  { step, vectors }: TrainerState,
  options: LookingOptions & { readonly viewer: LessonViewer },
): AsyncGenerator<LessonEvent, void> {
  const { viewer, journal, out, trainables, checkpointFolder, identity, signal } = options;
  const started = performance.now();
  const values = trainedTensors(trainables, { step, vectors });
  const tensors = new Map(trainables.map(({ name, shape }) => [name, { shape, values: values.get(name)! }]));
  const file = await saveLearned(checkpointFolder, { step, tensors, identity });
  const loop = viewer.look({ ...file, values }, signal);
  let next = await loop.next();
  for (; !next.done; next = await loop.next()) yield { kind: 'looking', step, ...next.value };
  const seconds = (performance.now() - started) / 1000;
  const sample = { ...sampleRecord(step, next.value, journal), seconds };
  await savePictures(out, sample.pictures, next.value.pictures);
  await journal.append([sample]);
  await journal.flush();
  options.clock.looked(seconds);
  const curve = await saveCurve(out, journal, options.maxTrainSteps);
  yield { ...sample, pictures: sample.pictures.map((path) => join(out, path)), curve };
}

function sampleRecord(step: number, look: Look, journal: LessonJournal): Omit<SampleRecord, 'seconds'> {
  const { drift, distance, photoSpread } = look;
  const base = step === 0 ? distance : journal.samples.find((sample) => sample.step === 0)?.distance;
  return {
    kind: 'sample',
    step,
    pictures: look.pictures.map((_, index) => samplePath(step, index)),
    ...(drift !== undefined && { drift }),
    ...(distance !== undefined && base !== undefined && { likeness: likeness(distance, base) }),
    ...(distance !== undefined && { distance }),
    ...(photoSpread !== undefined && { photoSpread }),
  };
}

async function savePictures(out: string, paths: readonly string[], pictures: readonly Uint8Array[]): Promise<void> {
  for (const [i, path] of paths.entries()) {
    const file = join(out, path);
    await mkdir(dirname(file), { recursive: true });
    await writeWhole(file, pictures[i]!);
  }
}
