import type { Critic } from '../judges/critic.ts';
import { plainPrompt } from '../renderer/captions.ts';
import { drawSubject, type SubjectId } from '../renderer/subjects.ts';
import { mean } from './control-score.ts';
import {
  firstPictures,
  type LessonOptions,
  likenesses,
  type Seen,
  type SubjectShare,
  shareOut,
} from './lesson-bench.ts';
import { type Exhibit, type Findings, type Measure, percent } from './measure.ts';
import { IDENTIFIER, LESSONS, PHOTO_PLACES } from './teach.ts';

const KEPT_GOAL = 0.95;
/** What the lesson without prior preservation must lose at least, so that it is seen. */
const VISIBLE = 0.1;
const EXHIBITED = 8;
/** The pictures compared: of the model before the lesson, and after it with class pictures and without. */
const TIMES = { before: 'before the lesson', kept: 'after it, with prior preservation', drifted: 'after it, without' };
type Time = keyof typeof TIMES;
const TIME_NAMES = Object.keys(TIMES) as Time[];

/**
 * Pictures of the class after a whole-UNet lesson with and without class pictures: whether they turn into the subject, and
 * whether they stay different from each other.
 * @see DreamBooth (arXiv 2208.12242), section 4.2, table 3: PRES and DIV
 */
export async function priorPreservation(options: LessonOptions): Promise<Findings> {
  const results: ClassPictures[] = [];
  for (const share of shareOut(options)) results.push(await classPictures(share, options));
  const of = (measure: (pictures: readonly LookedAt[], result: ClassPictures) => number) => (time: Time) =>
    mean(results.map((result) => measure(result.seen[time], result)));
  const samples = results.reduce((sum, { seen }) => sum + seen.before.length, 0);
  return {
    about:
      `Two lessons of all the UNet's weights each of ${options.subjects.join(' and ')}; the prompt of the pictures names the class alone. ` +
      'Pictures are compared by what the judge answers from: the distance of two is 1 less the cosine of its features.',
    measures: [
      preserved('class pictures that are not the subject (the paper: PRES)', of(shareOfOthers), samples),
      preserved('distance of class pictures from each other (the paper: DIV)', of(diversity), samples),
      {
        name: 'closeness of class pictures to the photos of the subject: before, with prior, without',
        goal: 'reported (the paper: PRES)',
        seen: TIME_NAMES.map((time) => of(closeness)(time).toFixed(3)).join(', '),
        samples,
        verdict: 'reported',
      },
    ],
    exhibits: results.flatMap(({ exhibits }) => exhibits),
  };
}

interface LookedAt extends Seen {
  readonly features: Float32Array;
}

interface ClassPictures {
  readonly subject: SubjectId;
  readonly seen: { readonly [T in Time]: readonly LookedAt[] };
  /** Features of the lesson's photos. */
  readonly photos: readonly Float32Array[];
  readonly exhibits: readonly Exhibit[];
}

async function classPictures({ subject, numbers }: SubjectShare, options: LessonOptions): Promise<ClassPictures> {
  const { bench, critic } = options;
  const taught = async (withPriorPreservation: boolean) => {
    const name = `whole-${subject}-${withPriorPreservation ? 'with' : 'without'}-prior`;
    const settings = { ...LESSONS.whole, withPriorPreservation, classNoun: subject, identifier: IDENTIFIER };
    return (await bench.teach({ name, subject, settings })).result;
  };
  const requests = numbers.map((seed) => ({ prompt: plainPrompt({ noun: subject }), seed }));
  const look = async (model?: string) => inOrder(await bench.look(requests, model), (one) => lookAt(one, critic));
  const seen = { before: await look(), kept: await look(await taught(true)), drifted: await look(await taught(false)) };
  return {
    subject,
    seen,
    photos: await photoFeatures(subject, critic),
    exhibits: TIME_NAMES.map((time) => ({
      title: `Class pictures of the ${subject} ${TIMES[time]}`,
      pictures: firstPictures(seen[time], EXHIBITED),
      columns: EXHIBITED,
    })),
  };
}

async function lookAt(one: Seen, critic: Critic): Promise<LookedAt> {
  return { ...one, features: await critic.features(one.pixels) };
}

function photoFeatures(subject: SubjectId, critic: Critic): Promise<Float32Array[]> {
  return inOrder(PHOTO_PLACES, async (background, index) =>
    critic.features((await drawSubject(subject, index, { background })).pixels),
  );
}

/** One after the other: a judge looks at one picture at a time. */
async function inOrder<A, B>(items: readonly A[], convert: (item: A, index: number) => Promise<B>): Promise<B[]> {
  const results: B[] = [];
  for (const [index, item] of items.entries()) results.push(await convert(item, index));
  return results;
}

function shareOfOthers(pictures: readonly LookedAt[], { subject }: ClassPictures): number {
  return 1 - mean(likenesses(pictures, subject));
}

function diversity(pictures: readonly LookedAt[]): number {
  return meanDistance(pictures.map(({ features }) => features));
}

/** Mean of 1 less the cosine over all pairs; the vectors have length 1. */
export function meanDistance(vectors: readonly Float32Array[]): number {
  return mean(vectors.flatMap((one, i) => vectors.slice(i + 1).map((other) => 1 - product(one, other))));
}

function closeness(pictures: readonly LookedAt[], { photos }: ClassPictures): number {
  return mean(pictures.flatMap(({ features }) => photos.map((photo) => product(features, photo))));
}

function product(a: Float32Array, b: Float32Array): number {
  return a.reduce((sum, value, index) => sum + value * b[index]!, 0);
}

/** What is left of a quantity after a lesson with prior preservation, and visibly less without. */
function preserved(name: string, at: (time: Time) => number, samples: number): Measure {
  const [withPrior, without] = [at('kept') / at('before'), at('drifted') / at('before')];
  const isMet = withPrior >= KEPT_GOAL && without <= withPrior - VISIBLE;
  return {
    name: `${name}, after the lesson of before`,
    goal: '95 %; visibly lower without',
    seen: `${percent(withPrior)}, without ${percent(without)} (before: ${at('before').toFixed(3)})`,
    samples,
    verdict: isMet ? 'met' : 'missed',
  };
}
