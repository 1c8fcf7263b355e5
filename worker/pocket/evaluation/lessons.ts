import { plainPrompt } from '../renderer/captions.ts';
import { describeSubject, drawSubject, HELD_OUT_SEED, type SubjectId } from '../renderer/subjects.ts';
import { COLORS, type Color } from '../renderer/world.ts';
import { mean } from './control-score.ts';
import { classNouns, textualInversion } from './learned-words.ts';
import {
  firstPictures,
  type LessonBench,
  type LessonOptions,
  likenesses,
  type SubjectShare,
  shareOut,
} from './lesson-bench.ts';
import { type Exhibit, type Findings, judged, type Measure, percent } from './measure.ts';
import { priorPreservation } from './prior-preservation.ts';
import { IDENTIFIER, LESSONS, placeOf } from './teach.ts';

const SECONDS_GOAL = 60;
const LIKENESS_GOAL = 0.8;
/** What an untaught model may draw by chance. */
const CHANCE_GOAL = 0.1;
const OBEYED_GOAL = 0.75;
const EXHIBITED = { placed: 8, recolored: 12 };

export const LESSON_PARTS = ['dreambooth', 'prior', 'inversion', 'nouns'] as const;
export type LessonPart = (typeof LESSON_PARTS)[number];

/** What is measured of lessons: likeness and obedience, prior preservation, textual inversion, what the class noun does. */
export const lessons: { readonly [P in LessonPart]: (options: LessonOptions) => Promise<Findings> } = {
  dreambooth,
  prior: priorPreservation,
  inversion: textualInversion,
  nouns: classNouns,
};

/** Likeness and obedience of the default lesson, as a person in the chat gets it. */
export async function dreambooth(options: LessonOptions): Promise<Findings> {
  const results: SubjectResult[] = [];
  for (const share of shareOut(options)) results.push(await subjectResult(share, options.bench));
  const all = (key: keyof SubjectResult['right']) => results.flatMap(({ right }) => right[key]);
  const obeyed = (name: string, key: 'placed' | 'recolored') =>
    judged(name, { seen: mean(all(key)), goal: OBEYED_GOAL, samples: all(key).length });
  return {
    about:
      `One lesson for each of ${results.length} subjects (${options.subjects.join(', ')}) from four photos without captions, at the settings ` +
      'that people get; for each number as many pictures of each, every one of a seed of its own. New colours are the nine that the subject has not.',
    measures: [
      secondsMeasure(results),
      likenessMeasure(all('taught'), all('untaught')),
      obeyed('a new place named in the prompt is the one seen', 'placed'),
      obeyed('a new colour named in the prompt is the one seen', 'recolored'),
      eachMeasure(results),
    ],
    exhibits: results.map(({ exhibit }) => exhibit),
  };
}

interface SubjectResult {
  readonly subject: SubjectId;
  readonly seconds: number;
  /** 1 for each picture that is as it should be, else 0. */
  readonly right: { readonly [K in 'taught' | 'untaught' | 'placed' | 'recolored']: readonly number[] };
  readonly exhibit: Exhibit;
}

async function subjectResult({ subject, numbers }: SubjectShare, bench: LessonBench): Promise<SubjectResult> {
  const { result: lora, seconds } = await bench.teach({ name: `lora-${subject}`, subject, settings: loraOf(subject) });
  const ask = (number: number, said: { color?: Color }, name?: string) => ({
    prompt: plainPrompt(
      { noun: subject, ...(said.color === undefined ? { background: placeOf(number) } : said) },
      name,
    ),
    seed: number,
    ...(name !== undefined && { lora }),
  });
  const colors = newColors(subject);
  const colorOf = (number: number) => colors[number % colors.length]!;
  const placed = await bench.look(numbers.map((number) => ask(number, {}, IDENTIFIER)));
  const untaught = await bench.look(numbers.map((number) => ask(number, {})));
  const recolored = await bench.look(numbers.map((number) => ask(number, { color: colorOf(number) }, IDENTIFIER)));
  return {
    subject,
    seconds,
    right: {
      taught: likenesses(placed, subject),
      untaught: likenesses(untaught, subject),
      placed: placed.map(({ answers }, i) => Number(answers.background === placeOf(numbers[i]!))),
      recolored: recolored.map(({ answers }, i) => Number(answers.color === colorOf(numbers[i]!))),
    },
    exhibit: {
      title: `${subject}: four photos that no lesson saw and pictures in new places; below, in colours that the prompt names`,
      pictures: [
        ...(await heldOutPhotos(subject)),
        ...firstPictures(placed, EXHIBITED.placed),
        ...firstPictures(recolored, EXHIBITED.recolored),
      ],
      columns: EXHIBITED.recolored,
    },
  };
}

function loraOf(subject: SubjectId) {
  return { ...LESSONS.lora, classNoun: subject, identifier: IDENTIFIER };
}

/** All colours but the one that the subject has. */
export function newColors(subject: SubjectId): readonly Color[] {
  const own = describeSubject(subject, 0).described.color;
  return COLORS.filter((color) => color !== own);
}

async function heldOutPhotos(subject: SubjectId): Promise<Uint8Array[]> {
  const photos = await Promise.all([0, 1, 2, 3].map((index) => drawSubject(subject, HELD_OUT_SEED + index)));
  return photos.map(({ pixels }) => pixels);
}

function secondsMeasure(results: readonly SubjectResult[]): Measure {
  const slowest = Math.max(...results.map(({ seconds }) => seconds));
  return {
    name: 'DreamBooth LoRA from 4 photos: seconds to learn, the slowest',
    goal: `${SECONDS_GOAL} s`,
    seen: `${slowest.toFixed(0)} s`,
    samples: results.length,
    verdict: slowest <= SECONDS_GOAL ? 'met' : 'missed',
  };
}

function likenessMeasure(taught: readonly number[], untaught: readonly number[]): Measure {
  const isMet = mean(taught) >= LIKENESS_GOAL && mean(untaught) <= CHANCE_GOAL;
  return {
    name: 'the taught subject is judged the same as its photos',
    goal: '80 % against 10 %',
    seen: `${percent(mean(taught))}, untaught ${percent(mean(untaught))}`,
    samples: taught.length,
    verdict: isMet ? 'met' : 'missed',
  };
}

function eachMeasure(results: readonly SubjectResult[]): Measure {
  const figures = results.map(({ subject, right }) => {
    return `${subject} ${percent(mean(right.taught))} / ${percent(mean(right.recolored))}`;
  });
  return {
    name: 'each subject: judged the same / new colour seen',
    goal: 'reported',
    seen: figures.join(', '),
    samples: results[0]?.right.taught.length ?? 0,
    verdict: 'reported',
  };
}
