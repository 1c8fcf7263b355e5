import { plainPrompt } from '../renderer/captions.ts';
import type { SubjectId } from '../renderer/subjects.ts';
import type { Noun } from '../renderer/world.ts';
import { mean } from './control-score.ts';
import { firstPictures, type LessonOptions, likenesses, type SubjectShare, shareOut } from './lesson-bench.ts';
import { type Exhibit, type Findings, percent } from './measure.ts';
import type { StudioRequest } from './studio.ts';
import { IDENTIFIER, LESSONS, PLACEHOLDER, placeOf } from './teach.ts';

const EXHIBITED = 8;

/** How well a learned word means the subject. */
export async function textualInversion(options: LessonOptions): Promise<Findings> {
  const likeness: number[] = [];
  const seconds: number[] = [];
  const exhibits: Exhibit[] = [];
  for (const share of shareOut(options)) {
    const { subject } = share;
    const settings = { ...LESSONS.inversion, placeholderToken: PLACEHOLDER, initializerToken: subject };
    const taught = await options.bench.teach({ name: `inversion-${subject}`, subject, settings });
    const seen = await options.bench.look(requests(share, PLACEHOLDER, { embedding: taught.result }));
    likeness.push(...likenesses(seen, subject));
    seconds.push(taught.seconds);
    const pictures = firstPictures(seen, EXHIBITED);
    exhibits.push({ title: `Textual inversion of the ${subject}`, pictures, columns: EXHIBITED });
  }
  return {
    about: `The default lesson of ${options.subjects.join(' and ')}, as many pictures of each in new places.`,
    measures: [
      {
        name: 'textual inversion from the same photos: judged the same',
        goal: 'reported (the paper: DreamBooth ahead)',
        seen: `${percent(mean(likeness))} in ${Math.max(...seconds).toFixed(0)} s`,
        samples: likeness.length,
        verdict: 'reported',
      },
    ],
    exhibits,
  };
}

/** The same lesson with the right class noun, with a wrong one, and with none. */
export async function classNouns(options: LessonOptions): Promise<Findings> {
  const likeness = { right: [] as number[], wrong: [] as number[], none: [] as number[] };
  for (const share of shareOut(options)) {
    const { subject } = share;
    const words = { right: `${IDENTIFIER} ${subject}`, wrong: `${IDENTIFIER} ${wrongNoun(subject)}`, none: IDENTIFIER };
    for (const kind of ['right', 'wrong', 'none'] as const) {
      // The right one is the default lesson, which other measures look at as well.
      const name = kind === 'right' ? `lora-${subject}` : `lora-${subject}-${kind}-noun`;
      const settings = { ...LESSONS.lora, instancePrompt: `a photo of ${words[kind]}` };
      const { result: lora } = await options.bench.teach({ name, subject, settings });
      likeness[kind].push(...likenesses(await options.bench.look(requests(share, words[kind], { lora })), subject));
    }
  }
  const { right, wrong, none } = likeness;
  return {
    about: `Three lessons each of ${options.subjects.join(' and ')} that differ in the noun of their prompts alone.`,
    measures: [
      {
        name: 'likeness with the right class noun, a wrong one, none',
        goal: 'reported (the paper: Table 4)',
        seen: [right, wrong, none].map((marks) => percent(mean(marks))).join(', '),
        samples: right.length,
        verdict: 'reported',
      },
    ],
    exhibits: [],
  };
}

function wrongNoun(subject: SubjectId): Noun {
  return subject === 'cat' ? 'boat' : 'cat';
}

/** Prompts for new places, with the learned words in the place of the noun. */
function requests(
  { subject, numbers }: SubjectShare,
  words: string,
  learned: Pick<StudioRequest, 'lora' | 'embedding'>,
): StudioRequest[] {
  return numbers.map((number) => ({
    prompt: plainPrompt({ noun: subject, background: placeOf(number) }).replace(subject, words),
    seed: number,
    ...learned,
  }));
}
