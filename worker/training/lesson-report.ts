import { join } from 'node:path';
import { DRIFT_DEFINITION } from './drift.ts';
import { LESSON_FILES, writeWhole } from './lesson-folder.ts';
import type { LessonJournal, SampleRecord, StepRecord } from './lesson-journal.ts';
import { LIKENESS_DEFINITION, likeness } from './likeness.ts';
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

/** A measure before and after a lesson, and what it means. */
export interface Measure {
  readonly before: number;
  readonly after: number;
  readonly definition: string;
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
  /** Percent; undefined for a lesson that leaves the model's own weights alone, or was not looked at. */
  readonly drift?: (Measure & { readonly unit: 'percent' }) | undefined;
  /** Undefined for a lesson that is not about a subject, or was not looked at. */
  readonly likeness?:
    | (Measure & { /** Of the photos among themselves. */ readonly ofPhotos?: number | undefined })
    | undefined;
  /** What was seen at chosen steps, paths from the lesson's folder. */
  readonly samples: readonly SampleRecord[];
}

/** Of a lesson that was ended while it was being prepared. */
export function emptyReport(facts: LessonFacts): LessonReport {
  return { ...facts, step: 0, result: undefined, loss: undefined, seconds: 0, samples: [] };
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
    drift: driftOf(samples),
    likeness: likenessOf(samples),
    samples,
  };
}

function driftOf(samples: readonly SampleRecord[]): LessonReport['drift'] {
  const measured = samples.flatMap(({ drift }) => drift ?? []);
  const [before, after] = [measured[0], measured.at(-1)];
  if (before === undefined || after === undefined) return undefined;
  return { before, after, unit: 'percent', definition: DRIFT_DEFINITION };
}

function likenessOf(samples: readonly SampleRecord[]): LessonReport['likeness'] {
  const measured = samples.filter((sample) => sample.likeness !== undefined);
  const [first, last] = [measured[0], measured.at(-1)];
  if (first?.likeness === undefined || last?.likeness === undefined) return undefined;
  const { distance, photoSpread } = first;
  const ofPhotos =
    first.step === 0 && distance !== undefined && photoSpread !== undefined
      ? likeness(photoSpread, distance)
      : undefined;
  return { before: first.likeness, after: last.likeness, ofPhotos, definition: LIKENESS_DEFINITION };
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
