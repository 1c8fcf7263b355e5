import { join } from 'node:path';
import { LESSON_FILES, writeWhole } from './lesson-folder.ts';
import type { LessonJournal, SampleRecord, StepRecord } from './lesson-journal.ts';
import { lossCurve, smooth, smoothingSpan } from './loss-curve.ts';
import type { TrainingSettings } from './settings.ts';

/** What a lesson was, before it began. */
export interface LessonFacts {
  /** Folder of the model that is taught. */
  readonly model: string;
  readonly settings: TrainingSettings;
  readonly seed: number;
  /** Undefined where the lesson made its prompts itself. */
  readonly instancePrompt: string | undefined;
}

/** What came of a lesson; lesson.json in its folder. */
export interface LessonReport extends LessonFacts {
  /** Steps that were taken; fewer than the settings say if the lesson was ended early. */
  readonly step: number;
  /** Path of what was learned, a file or a folder; undefined if the lesson was paused. */
  readonly result: string | undefined;
  /** Its moving average, when that was first full, and at the end; undefined before the first step. */
  readonly loss: { readonly first: number; readonly last: number } | undefined;
  /** Of all steps and looks, without what is prepared before them. */
  readonly seconds: number;
  /** What was seen at chosen steps, paths from the lesson's folder. */
  readonly samples: readonly SampleRecord[];
}

/** Sums a journal up. */
export function reportOf(facts: LessonFacts, journal: LessonJournal, result: string | undefined): LessonReport {
  const { steps, samples, records } = journal;
  return {
    ...facts,
    step: steps.at(-1)?.step ?? 0,
    result,
    loss: averageLoss(steps, facts.settings.maxTrainSteps),
    seconds: records.reduce((sum, { seconds }) => sum + seconds, 0),
    samples,
  };
}

function averageLoss(steps: readonly StepRecord[], maxTrainSteps: number): LessonReport['loss'] {
  const span = smoothingSpan(maxTrainSteps);
  const averages = smooth(
    steps.map(({ loss }) => loss),
    span,
  );
  if (averages.length === 0) return undefined;
  return { first: averages[Math.min(span, averages.length) - 1]!, last: averages.at(-1)! };
}

/** Writes lesson.json, which tells that the lesson is done. */
export async function saveReport(out: string, report: LessonReport): Promise<void> {
  await writeWhole(join(out, LESSON_FILES.report), `${JSON.stringify(report, undefined, 2)}\n`);
}

/** Draws the curve anew from everything that is written down. */
export async function saveCurve(out: string, journal: LessonJournal, maxTrainSteps: number): Promise<string> {
  const file = join(out, LESSON_FILES.curve);
  const sampleSteps = journal.samples.map(({ step }) => step);
  await writeWhole(file, lossCurve(journal.steps, { sampleSteps, maxTrainSteps }));
  return file;
}
