import { join } from 'node:path';
import type { SessionOptions } from '../../runtime/session.ts';
import type { GivenSettings } from '../../training/settings.ts';
import type { Answers, Critic } from '../judges/critic.ts';
import { plainPrompt } from '../renderer/captions.ts';
import { drawSubject, HELD_OUT_SEED, type SubjectId } from '../renderer/subjects.ts';
import { COLORS, type Noun } from '../renderer/world.ts';
import { mean } from './control-score.ts';
import { type Exhibit, type Findings, judged, type Measure, percent } from './measure.ts';
import { openStudio, type StudioRequest } from './studio.ts';
import { IDENTIFIER, LESSONS, NEW_PLACES, PLACEHOLDER, type Taught, teach } from './teach.ts';

export interface LessonOptions {
  readonly family: string;
  readonly workFolder: string;
  readonly session: SessionOptions;
  readonly critic: Critic;
  /** Pictures for each number. */
  readonly samples: number;
  readonly subjects: readonly SubjectId[];
}

/** A picture that was judged. */
interface Seen {
  readonly pixels: Uint8Array;
  readonly answers: Answers;
}

const SECONDS_GOAL = 60;
const LIKENESS_GOAL = 0.8;
const OBEYED_GOAL = 0.75;
const LOOKS_GOAL = 0.95;
const EXHIBITED = 8;

export const LESSON_PARTS = ['dreambooth', 'prior', 'inversion', 'nouns'] as const;
export type LessonPart = (typeof LESSON_PARTS)[number];

/** What is measured of lessons: likeness and obedience, prior preservation, textual inversion, what the class noun does. */
export const lessons: { readonly [P in LessonPart]: (options: LessonOptions) => Promise<Findings> } = {
  dreambooth,
  prior: priorPreservation,
  inversion: textualInversion,
  nouns: classNouns,
};

async function dreambooth(options: LessonOptions): Promise<Findings> {
  const results: Awaited<ReturnType<typeof learnedLora>>[] = [];
  for (const subject of options.subjects) results.push(await learnedLora(subject, options));
  const all = <K extends 'taught' | 'untaught' | 'placed' | 'colored'>(key: K) => mean(results.map((one) => one[key]));
  const slowest = Math.max(...results.map(({ seconds }) => seconds));
  const samples = options.samples * options.subjects.length;
  const likeness = `${percent(all('taught'))}, untaught ${percent(all('untaught'))}`;
  const measures: Measure[] = [
    {
      name: 'DreamBooth LoRA from 4 photos: seconds to learn, the slowest',
      goal: `${SECONDS_GOAL} s`,
      seen: `${slowest.toFixed(0)} s`,
      samples: results.length,
      verdict: slowest <= SECONDS_GOAL ? 'met' : 'missed',
    },
    {
      ...judged('the taught subject is judged the same as its photos', {
        seen: all('taught'),
        goal: LIKENESS_GOAL,
        samples,
        text: likeness,
      }),
      goal: '80 % against 10 %',
    },
    judged('a new place named in the prompt is the one seen', { seen: all('placed'), goal: OBEYED_GOAL, samples }),
    judged('a new colour named in the prompt is the one seen', { seen: all('colored'), goal: OBEYED_GOAL, samples }),
  ];
  return { measures, exhibits: results.map(({ exhibit }) => exhibit) };
}

async function learnedLora(subject: SubjectId, options: LessonOptions) {
  const noun: Noun = nounOf(subject);
  const { result: lora, seconds } = await teachWith(
    `lora-${subject}`,
    subject,
    { ...LESSONS.lora, classNoun: noun, identifier: IDENTIFIER },
    options,
  );
  const named = (index: number) => plainPrompt({ noun, background: placeOf(index) }, IDENTIFIER);
  const recolored = (index: number) => plainPrompt({ noun, color: colorOf(index) }, IDENTIFIER);
  const placed = await look(options, (index) => ({ prompt: named(index), lora }));
  const colored = await look(options, (index) => ({ prompt: recolored(index), lora }));
  const untaught = await look(options, (index) => ({ prompt: plainPrompt({ noun, background: placeOf(index) }) }));
  return {
    seconds,
    taught: shareOf(placed, ({ answers }) => answers.subject === subject),
    untaught: shareOf(untaught, ({ answers }) => answers.subject === subject),
    placed: shareOf(placed, ({ answers }, index) => answers.background === placeOf(index)),
    colored: shareOf(colored, ({ answers }, index) => answers.color === colorOf(index)),
    exhibit: await lessonExhibit(subject, placed),
  };
}

/** Four held-out photos, then pictures in new places. */
async function lessonExhibit(subject: SubjectId, placed: readonly Seen[]): Promise<Exhibit> {
  const photos = await Promise.all([0, 1, 2, 3].map((index) => drawSubject(subject, HELD_OUT_SEED + index)));
  const pictures = [...photos.map(({ pixels }) => pixels), ...placed.slice(0, EXHIBITED).map(({ pixels }) => pixels)];
  return {
    title: `${subject}: four photos that no lesson saw, then the taught subject in new places`,
    pictures,
    columns: 4 + EXHIBITED,
  };
}

/** Pictures of the class after a whole-UNet lesson with and without class pictures. */
async function priorPreservation(options: LessonOptions): Promise<Findings> {
  const subject = options.subjects[0] ?? 'backpack';
  const noun = nounOf(subject);
  const request = () => ({ prompt: plainPrompt({ noun }) });
  const before = await look(options, request);
  const after = async (withPriorPreservation: boolean) => {
    const name = `whole-${withPriorPreservation ? 'with' : 'without'}-prior`;
    const settings = { ...LESSONS.whole, withPriorPreservation, classNoun: noun, identifier: IDENTIFIER };
    const { result } = await teachWith(name, subject, settings, options);
    return look({ ...options, model: result }, request);
  };
  const [kept, drifted] = [await after(true), await after(false)];
  const [looksBefore, looksKept, looksDrifted] = [before, kept, drifted].map(looks) as [number, number, number];
  const text = `${percent(looksKept / looksBefore)}, without ${percent(looksDrifted / looksBefore)}`;
  const isSubject = (seen: Seen[]) => percent(shareOf(seen, ({ answers }) => answers.subject === subject));
  return {
    measures: [
      {
        ...judged('looks of class pictures after a lesson with prior preservation, of those before', {
          seen: looksKept / looksBefore,
          goal: LOOKS_GOAL,
          samples: options.samples,
          text,
        }),
        goal: '95 %; visibly lower without',
      },
      {
        name: 'class pictures that show the subject: before, with prior, without',
        goal: 'reported (the paper: Table 3)',
        seen: `${isSubject(before)}, ${isSubject(kept)}, ${isSubject(drifted)}`,
        samples: options.samples,
        verdict: 'reported',
      },
    ],
    exhibits: [
      { title: 'Class pictures before the lesson', pictures: firstOf(before), columns: EXHIBITED },
      { title: 'after it, with prior preservation', pictures: firstOf(kept), columns: EXHIBITED },
      { title: 'after it, without', pictures: firstOf(drifted), columns: EXHIBITED },
    ],
  };
}

/** How many looks there are: the exponential of the entropy of colour and pattern together. */
export function looks(seen: readonly { readonly answers: Pick<Answers, 'color' | 'pattern'> }[]): number {
  const counts = new Map<string, number>();
  for (const { answers } of seen) {
    const key = `${answers.color} ${answers.pattern}`;
    counts.set(key, (counts.get(key) ?? 0) + 1);
  }
  const shares = [...counts.values()].map((count) => count / seen.length);
  return Math.exp(-shares.reduce((sum, share) => sum + share * Math.log(share), 0));
}

async function textualInversion(options: LessonOptions): Promise<Findings> {
  const subject = options.subjects[0] ?? 'backpack';
  const noun = nounOf(subject);
  const settings = { ...LESSONS.inversion, placeholderToken: PLACEHOLDER, initializerToken: noun };
  const { result, seconds } = await teachWith('inversion', subject, settings, options);
  const prompt = (index: number) => plainPrompt({ noun, background: placeOf(index) }).replace(noun, PLACEHOLDER);
  const seen = await look(options, (index) => ({ prompt: prompt(index), embedding: result }));
  const likeness = shareOf(seen, ({ answers }) => answers.subject === subject);
  return {
    measures: [
      {
        name: 'textual inversion from the same photos: judged the same',
        goal: 'reported (the paper: DreamBooth ahead)',
        seen: `${percent(likeness)} in ${seconds.toFixed(0)} s`,
        samples: options.samples,
        verdict: 'reported',
      },
    ],
    exhibits: [{ title: `Textual inversion of the ${subject}`, pictures: firstOf(seen), columns: EXHIBITED }],
  };
}

/** The same lesson with the right class noun, with a wrong one, and with none. */
async function classNouns(options: LessonOptions): Promise<Findings> {
  const subject = options.subjects[0] ?? 'backpack';
  const noun = nounOf(subject);
  const wrong: Noun = noun === 'cat' ? 'boat' : 'cat';
  const shares = [];
  for (const words of [`${IDENTIFIER} ${noun}`, `${IDENTIFIER} ${wrong}`, IDENTIFIER]) {
    const settings = { ...LESSONS.lora, instancePrompt: `a photo of a ${words}` };
    const { result: lora } = await teachWith('class-noun', subject, settings, options);
    const prompt = (index: number) => plainPrompt({ noun, background: placeOf(index) }).replace(noun, words);
    const seen = await look(options, (index) => ({ prompt: prompt(index), lora }));
    shares.push(percent(shareOf(seen, ({ answers }) => answers.subject === subject)));
  }
  const seen = shares.join(', ');
  return {
    measures: [
      {
        name: 'likeness with the right class noun, a wrong one, none',
        goal: 'reported (the paper: Table 4)',
        seen,
        samples: options.samples,
        verdict: 'reported',
      },
    ],
    exhibits: [],
  };
}

function teachWith(name: string, subject: SubjectId, settings: GivenSettings, options: LessonOptions): Promise<Taught> {
  const { family, workFolder, session } = options;
  return teach(subject, name, { settings, model: join(family, 'model'), workFolder, session });
}

/** Makes and judges pictures, one for each seed. */
async function look(
  { family, session, critic, samples, model }: LessonOptions & { model?: string },
  request: (index: number) => Omit<StudioRequest, 'seed'>,
): Promise<Seen[]> {
  const studio = await openStudio({ family, session, ...(model === undefined ? {} : { model }) });
  try {
    const seen: Seen[] = [];
    for (let index = 0; index < samples; index++) {
      const pixels = await studio.draw({ ...request(index), seed: index });
      seen.push({ pixels, answers: await critic.answers(pixels) });
    }
    return seen;
  } finally {
    await studio.dispose();
  }
}

function shareOf(seen: readonly Seen[], holds: (one: Seen, index: number) => boolean): number {
  return seen.filter(holds).length / Math.max(1, seen.length);
}

function firstOf(seen: readonly Seen[]): Uint8Array[] {
  return seen.slice(0, EXHIBITED).map(({ pixels }) => pixels);
}

function placeOf(index: number) {
  return NEW_PLACES[index % NEW_PLACES.length] ?? 'forest';
}

function colorOf(index: number) {
  return COLORS[index % COLORS.length] ?? 'red';
}

/** A subject is named after its noun. */
function nounOf(subject: SubjectId): Noun {
  return subject;
}
