import { paletteOf } from '../renderer/palette.ts';
import { fullPlanes } from '../renderer/planes.ts';
import { randomChoices } from '../renderer/random-choices.ts';
import { renderScene } from '../renderer/render-scene.ts';
import { chooseForm, describeScene, type SceneDescription } from '../renderer/scene.ts';
import { appearanceOf, describeSubject, placeAppearance, SUBJECTS, type SubjectId } from '../renderer/subjects.ts';
import { COLORS } from '../renderer/world.ts';
import { QUESTION_NAMES, QUESTIONS, type Question } from './picture-judge.ts';

/** A scene with the right answers; a question without an answer is not asked. */
export interface JudgedScene {
  readonly scene: SceneDescription;
  readonly answers: { readonly [Q in Question]?: string };
}

/** Scenes of no other part: the family learns from lower seeds, and is measured by the lowest. */
export const FIRST_JUDGE_SEED = 2_000_000_000;

/** Of eight scenes five are ordinary, two show a subject, and one shows something else of a subject's noun. */
export function judgedScene(seed: number): JudgedScene {
  const kind = seed % 8;
  const subject = SUBJECTS[Math.floor(seed / 8) % SUBJECTS.length] ?? 'backpack';
  if (kind < 5) return ordinary(describeScene(seed));
  return kind < 7 ? individual(subject, seed) : impostor(subject, seed);
}

function ordinary(scene: SceneDescription): JudgedScene {
  const { noun, color, pattern, background } = scene.described;
  return { scene, answers: { noun, color, pattern, background, subject: 'other' } };
}

/** Its colours are none of the world's. */
function individual(subject: SubjectId, seed: number): JudgedScene {
  const scene = describeSubject(subject, seed);
  const { noun, background } = scene.described;
  return { scene, answers: { noun, background, subject } };
}

/** The same noun, often in the same form, in ordinary colours and without the marks. */
function impostor(subject: SubjectId, seed: number): JudgedScene {
  const random = randomChoices(seed);
  const { noun, form } = appearanceOf(subject);
  const color = random.pick(COLORS);
  const looks = {
    noun,
    form: random.chance(0.5) ? form : chooseForm(random),
    palette: paletteOf(color),
    pattern: 'plain',
  } as const;
  return ordinary(placeAppearance(looks, seed + 1, { color }));
}

export interface JudgedPicture {
  /** [3, 128, 128] in [-1, 1]. */
  readonly picture: Float32Array;
  /** The index of each question's answer; the number of its answers where it is not asked. */
  readonly answers: { readonly [Q in Question]: number };
}

export async function judgedPicture(seed: number): Promise<JudgedPicture> {
  const { scene, answers } = judgedScene(seed);
  const { pixels } = await renderScene(scene);
  const indices = QUESTION_NAMES.map((question) => [question, answerIndex(question, answers[question])]);
  return { picture: fullPlanes(pixels), answers: Object.fromEntries(indices) as JudgedPicture['answers'] };
}

export function answerIndex(question: Question, answer: string | undefined): number {
  const answers: readonly string[] = QUESTIONS[question];
  return answer === undefined ? answers.length : answers.indexOf(answer);
}
