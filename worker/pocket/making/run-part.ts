import type { Checkpoint } from '../../runtime/checkpoint.ts';
import type { SessionOptions } from '../../runtime/session.ts';
import { ADAMW_DEFAULTS } from '../../training/adamw.ts';
import type { LearningRateOptions } from '../../training/learning-rate.ts';
import { type LessonProgress, runLesson } from '../../training/lesson-loop.ts';
import { initialState, type Lesson, type StepFeeds, Trainer, trainedTensors } from '../../training/trainer.ts';

/** Tensors that a lesson taught, or that it starts from, by the name that the lesson knows them by. */
export type Weights = ReadonlyMap<string, Float32Array>;

/** A lesson of the family with everything that it needs to start. */
export interface PartLesson {
  readonly lesson: Lesson;
  readonly initial: Weights;
  /** Of the networks that are frozen, by component. */
  readonly checkpoints: Readonly<Record<string, Checkpoint>>;
  readonly feeds: (step: number) => StepFeeds | Promise<StepFeeds>;
  readonly rate: LearningRateOptions;
  /** Tells this lesson from others: a checkpoint of another one is not gone on with. */
  readonly key: string;
}

/** What a person may choose of every part. */
export interface PartOptions {
  readonly seed: number;
  /** Weights to go on from; the part's own start by default. */
  readonly start?: Weights | undefined;
  /** Optimizer steps of the whole part. */
  readonly steps?: number | undefined;
  readonly learningRate?: number | undefined;
}

export interface RunOptions {
  readonly session: SessionOptions;
  /** Folder of the checkpoints. */
  readonly checkpointFolder: string;
  /** The lesson stops after so many minutes, however many steps are left, and can go on another time; undefined for never. */
  readonly minutes: number | undefined;
  readonly onProgress: (progress: LessonProgress) => void;
}

/** What is lost if the process is killed: about a minute. */
const CHECKPOINTING_STEPS = 250;

/**
 * Takes a lesson's steps until they are done or the time is over, going on from its newest checkpoint.
 * @returns the moving average of what has been learned, and the steps that it took
 */
export async function runPart(part: PartLesson, options: RunOptions): Promise<{ trained: Weights; steps: number }> {
  const { lesson, checkpoints, initial, feeds, rate, key } = part;
  const { checkpointFolder, session, minutes, onProgress } = options;
  const trainer = await Trainer.create(lesson, ADAMW_DEFAULTS, { ...session, checkpoints });
  const state = initialState(lesson.trainables, initial, { hasEma: lesson.hasEma ?? false });
  try {
    const loop = runLesson({
      ...rate,
      trainer,
      initial: state,
      feeds,
      checkpointFolder,
      checkpointingSteps: CHECKPOINTING_STEPS,
      lessonKey: key,
      isResumed: true,
      signal: minutes === undefined ? undefined : AbortSignal.timeout(minutes * 60_000),
    });
    for (let next = await loop.next(); ; next = await loop.next()) {
      if (next.done) return { trained: trainedTensors(lesson.trainables, next.value), steps: next.value.step };
      onProgress(next.value);
    }
  } finally {
    await trainer.dispose();
  }
}
