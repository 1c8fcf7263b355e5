import { paletteOf } from '../renderer/palette.ts';
import { randomChoices } from '../renderer/random-choices.ts';
import { renderScene } from '../renderer/render-scene.ts';
import { chooseForm, describeScene, type SceneDescription } from '../renderer/scene.ts';
import { appearanceOf, describeSubject, placeAppearance, SUBJECTS, type SubjectId } from '../renderer/subjects.ts';
import { COLORS, SIDE } from '../renderer/world.ts';
import { JUDGED_SIDE, QUESTION_NAMES, QUESTIONS, type Question } from './picture-judge.ts';

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
  /** [3, 64, 64] in [-1, 1]. */
  readonly picture: Float32Array;
  /** The index of each question's answer; the number of its answers where it is not asked. */
  readonly answers: { readonly [Q in Question]: number };
}

export async function judgedPicture(seed: number): Promise<JudgedPicture> {
  const { scene, answers } = judgedScene(seed);
  const { pixels } = await renderScene(scene);
  const indices = QUESTION_NAMES.map((question) => [question, answerIndex(question, answers[question])]);
  return { picture: halvedPlanes(pixels), answers: Object.fromEntries(indices) as JudgedPicture['answers'] };
}

export function answerIndex(question: Question, answer: string | undefined): number {
  const answers: readonly string[] = QUESTIONS[question];
  return answer === undefined ? answers.length : answers.indexOf(answer);
}

/** The means of 2 x 2 pixels: [3, 64, 64] in [-1, 1] of RGB bytes, 128 x 128. */
export function halvedPlanes(pixels: Uint8Array): Float32Array {
  const planes = new Float32Array(3 * JUDGED_SIDE * JUDGED_SIDE);
  for (let y = 0; y < SIDE; y++) {
    for (let x = 0; x < SIDE; x++) {
      const target = (y >> 1) * JUDGED_SIDE + (x >> 1);
      for (let channel = 0; channel < 3; channel++) {
        planes[channel * JUDGED_SIDE * JUDGED_SIDE + target]! +=
          (pixels[3 * (y * SIDE + x) + channel]! / 127.5 - 1) / 4;
      }
    }
  }
  return planes;
}

/** [3, 128, 128] in [-1, 1] of RGB bytes, 128 x 128. */
export function fullPlanes(pixels: Uint8Array): Float32Array {
  const area = SIDE * SIDE;
  const planes = new Float32Array(3 * area);
  for (let pixel = 0; pixel < area; pixel++) {
    for (let channel = 0; channel < 3; channel++)
      planes[channel * area + pixel] = pixels[3 * pixel + channel]! / 127.5 - 1;
  }
  return planes;
}
