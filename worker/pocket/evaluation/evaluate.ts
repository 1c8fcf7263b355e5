import { join } from 'node:path';
import type { SessionOptions } from '../../runtime/session.ts';
import type { Critic } from '../judges/critic.ts';
import { SUBJECTS, type SubjectId } from '../renderer/subjects.ts';
import { adherence } from './adherence.ts';
import { control } from './control.ts';
import { judgeMeasures } from './judge-measures.ts';
import type { LessonBench } from './lesson-bench.ts';
import { type LessonPart, lessons } from './lessons.ts';
import { type Findings, type Measure, missing } from './measure.ts';
import { type EvaluationPart, PARTS } from './page.ts';
import { speed } from './speed.ts';
import { isShipped, openStudio, type Studio } from './studio.ts';

export interface EvaluationOptions {
  /** Folder of the family. */
  readonly family: string;
  /** Pictures for each number. */
  readonly samples: number;
  readonly subjects: readonly SubjectId[];
  readonly session: SessionOptions;
  readonly critic: Critic;
  readonly bench: LessonBench;
}

/** Parts that a machine can measure. */
export type MeasuredPart = Exclude<EvaluationPart, 'eyes'>;
export const MEASURED_PARTS = PARTS.filter((part): part is MeasuredPart => part !== 'eyes');

/** Drawn pictures cost little, so the judges are judged by more of them. */
const JUDGED_PER_SAMPLE = 5;
export const LESSON_SUBJECTS: readonly SubjectId[] = SUBJECTS;
/** Of parts that compare several lessons of one subject: these take minutes each. */
const COMPARED_SUBJECTS = 2;

/** Measures one part of the family; a family without a model leaves all but the judges unmeasured, and says so. */
export async function evaluatePart(part: MeasuredPart, options: EvaluationOptions): Promise<Findings> {
  const { critic, samples, family } = options;
  if (part === 'judges') return { measures: await judgeMeasures(critic, JUDGED_PER_SAMPLE * samples), exhibits: [] };
  if (!(await isShipped(join(family, 'model', 'unet')))) {
    return { measures: [missing(part, 'a model', 'the UNet')], exhibits: [] };
  }
  if (isLesson(part)) {
    const subjects = part === 'dreambooth' ? options.subjects : options.subjects.slice(0, COMPARED_SUBJECTS);
    return lessons[part]({ ...options, subjects });
  }
  const studio = await openStudio(options);
  try {
    return await MEASURES[part]({ ...options, studio });
  } finally {
    await studio.dispose();
  }
}

type StudioPart = Exclude<MeasuredPart, 'judges' | LessonPart>;

function isLesson(part: MeasuredPart): part is LessonPart {
  return part in lessons;
}

const MEASURES: { readonly [P in StudioPart]: (options: EvaluationOptions & { studio: Studio }) => Promise<Findings> } =
  {
    adherence: (options) => adherence(options, options.samples),
    control,
    speed,
  };

/** What a person says who has looked at the pictures of the part "adherence". */
export function seenByEyes({ notClean, of }: { notClean: number; of: number }): Findings {
  const seen = `${notClean} of ${of} are not`;
  const measure: Measure = {
    name: 'pictures that a person finds clean',
    goal: 'looked at, and said',
    seen,
    samples: of,
    verdict: 'reported',
  };
  return { measures: [measure], exhibits: [] };
}
