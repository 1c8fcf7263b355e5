import { join } from 'node:path';
import { LessonClock } from '../training/lesson-clock.ts';
import { LESSON_FILES } from '../training/lesson-folder.ts';
import { LessonJournal } from '../training/lesson-journal.ts';
import { type LessonLoopOptions, type LessonProgress, startLesson, takeSteps } from '../training/lesson-loop.ts';
import { smooth, smoothingSpan } from '../training/loss-curve.ts';
import type { TrainerState } from '../training/trainer.ts';

/** What a lesson tells while it goes on. */
export type LessonEvent = StepsEvent;

/** A run of the device. */
export interface StepsEvent extends LessonProgress {
  readonly kind: 'steps';
  /** Moving average of the loss. */
  readonly averageLoss: number;
  /** Until the end; undefined until the pace is known. */
  readonly secondsLeft: number | undefined;
}

export interface WatchedLessonOptions extends Omit<LessonLoopOptions, 'record'> {
  /** Folder of the lesson. */
  readonly out: string;
}

export interface WatchedLesson {
  readonly state: TrainerState;
  readonly journal: LessonJournal;
}

/** Takes a lesson's steps and writes down what happens, in files of its folder that survive whatever ends the process. */
export async function* watchLesson(options: WatchedLessonOptions): AsyncGenerator<LessonEvent, WatchedLesson> {
  const { out, maxTrainSteps } = options;
  const state = await startLesson(options);
  const journal = await LessonJournal.open(join(out, LESSON_FILES.journal), state.step);
  const clock = new LessonClock();
  const loop = takeSteps(state, {
    ...options,
    record: async (steps) => {
      await journal.append(steps);
      await journal.flush();
    },
  });
  try {
    for (let next = await loop.next(); !next.done; next = await loop.next()) {
      const progress = next.value;
      clock.ran(progress.reports.length, progress.reports.length * progress.secondsPerStep);
      const losses = journal.steps.map(({ loss }) => loss);
      yield {
        ...progress,
        kind: 'steps',
        averageLoss: smooth(losses, smoothingSpan(maxTrainSteps)).at(-1)!,
        secondsLeft: clock.secondsLeft({ steps: maxTrainSteps - progress.step, looks: 0 }),
      };
    }
  } finally {
    await journal.close();
  }
  return { state, journal };
}
