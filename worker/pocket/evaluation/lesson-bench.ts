import { join } from 'node:path';
import type { SessionOptions } from '../../runtime/session.ts';
import type { GivenSettings } from '../../training/settings.ts';
import type { Answers, Critic } from '../judges/critic.ts';
import type { SubjectId } from '../renderer/subjects.ts';
import { openStudio, type StudioRequest } from './studio.ts';
import { type Taught, teach } from './teach.ts';

export interface BenchOptions {
  readonly family: string;
  /** Photos and lessons. */
  readonly workFolder: string;
  readonly session: SessionOptions;
  readonly critic: Critic;
}

/** A lesson of the evaluation; its name tells it from all others. */
export interface AskedLesson {
  readonly name: string;
  readonly subject: SubjectId;
  readonly settings: GivenSettings;
}

/** A picture that was judged. */
export interface Seen {
  readonly pixels: Uint8Array;
  readonly answers: Answers;
}

/** Teaches, and looks at pictures of what was learned: each lesson and each picture once, however many measures ask. */
export interface LessonBench {
  teach(lesson: AskedLesson): Promise<Taught>;
  /**
   * Makes and judges pictures.
   * @param model  folder of a taught model; the family's own by default
   */
  look(requests: readonly StudioRequest[], model?: string): Promise<Seen[]>;
}

export function openBench({ family, workFolder, session, critic }: BenchOptions): LessonBench {
  const own = join(family, 'model');
  const lessons = new Map<string, Promise<Taught>>();
  const pictures = new Map<string, Seen>();
  return {
    teach: ({ name, subject, settings }) => {
      const lesson = lessons.get(name) ?? teach(subject, name, { settings, model: own, workFolder, session });
      lessons.set(name, lesson);
      return lesson;
    },
    look: async (requests, model = own) => {
      const keyOf = (request: StudioRequest) => JSON.stringify([model, request]);
      const missing = requests.filter((request) => !pictures.has(keyOf(request)));
      const studio = await openStudio({ family, model, session });
      try {
        for (const request of missing) {
          const pixels = await studio.draw(request);
          pictures.set(keyOf(request), { pixels, answers: await critic.answers(pixels) });
        }
      } finally {
        await studio.dispose();
      }
      return requests.map((request) => pictures.get(keyOf(request))!);
    },
  };
}

export interface LessonOptions {
  readonly bench: LessonBench;
  readonly critic: Critic;
  readonly subjects: readonly SubjectId[];
  /** Pictures for each number, of all subjects together. */
  readonly samples: number;
}

/** 1 for each picture that is judged to show the subject, else 0. */
export function likenesses(seen: readonly Seen[], subject: SubjectId): number[] {
  return seen.map(({ answers }) => Number(answers.subject === subject));
}

export function firstPictures(seen: readonly Seen[], count: number): Uint8Array[] {
  return seen.slice(0, count).map(({ pixels }) => pixels);
}

/** The pictures of one subject among all of a measure. */
export interface SubjectShare {
  readonly subject: SubjectId;
  /** A picture's number among all is its seed, and chooses what its prompt names. */
  readonly numbers: readonly number[];
}

/** Divides pictures among subjects; as many of each, so that there may be a few more in all. */
export function shareOut({ subjects, samples }: Pick<LessonOptions, 'subjects' | 'samples'>): SubjectShare[] {
  const each = Math.ceil(samples / subjects.length);
  return subjects.map((subject, index) => ({
    subject,
    numbers: Array.from({ length: each }, (_, i) => index * each + i),
  }));
}
