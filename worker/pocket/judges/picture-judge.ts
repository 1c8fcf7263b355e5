import { reduceMean, reshape } from '../../graph/operators.ts';
import type { Scope } from '../../graph/scope.ts';
import type { Value } from '../../graph/value.ts';
import { conv2d, dense, groupNorm } from '../../networks/layers.ts';
import { SUBJECTS } from '../renderer/subjects.ts';
import { BACKGROUNDS, COLORS, NOUNS, PATTERNS } from '../renderer/world.ts';

/** What the judge of pictures tells, and the answers that it chooses from. */
export const QUESTIONS = {
  noun: NOUNS,
  color: COLORS,
  pattern: PATTERNS,
  background: BACKGROUNDS,
  /** Which of the particular individuals it is, or none of them. */
  subject: [...SUBJECTS, 'other'],
} as const;
export type Question = keyof typeof QUESTIONS;
export const QUESTION_NAMES = Object.keys(QUESTIONS) as Question[];

/** Side of the pictures that it looks at, halved from those of the world. */
export const JUDGED_SIDE = 64;

/**
 * Describes the judge: five convolutions that halve the picture, and an answer for each question from their mean.
 * @param picture  [N, 3, 64, 64] in [-1, 1]
 * @returns scores before the softmax, [N, answers]
 */
export function pictureJudge(scope: Scope, picture: Value): Record<Question, Value> {
  const features = [24, 48, 64, 96, 96].reduce(
    (x, channels, index) => halve(scope.at('layers', index), x, channels),
    picture,
  );
  const mean = reshape(reduceMean(features, [2, 3]), [picture.shape[0] ?? 1, features.shape[1] ?? 1]);
  const answers = QUESTION_NAMES.map((name) => [name, dense(scope.at('heads', name), mean, QUESTIONS[name].length)]);
  return Object.fromEntries(answers) as Record<Question, Value>;
}

export function halve(scope: Scope, x: Value, channels: number): Value {
  const convolved = conv2d(scope.at('conv'), x, channels, { stride: 2 });
  return groupNorm(scope.at('norm'), convolved, { numGroups: 8, epsilon: 1e-5, activation: 'silu' });
}
