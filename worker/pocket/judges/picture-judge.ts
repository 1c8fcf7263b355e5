import { concat, reduceMean, reshape } from '../../graph/operators.ts';
import type { Scope } from '../../graph/scope.ts';
import type { Value } from '../../graph/value.ts';
import { conv2d, dense, groupNorm } from '../../networks/layers.ts';
import { SUBJECTS } from '../renderer/subjects.ts';
import { BACKGROUNDS, COLORS, NOUNS, PATTERNS, SIDE } from '../renderer/world.ts';

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

/** Side of the pictures that it looks at: dots and checks of a halved one would be no more than a few pixels. */
export const JUDGED_SIDE = SIDE;

/** Channels and stride of each convolution. */
const LAYERS = [
  { channels: 16, stride: 2 },
  { channels: 32, stride: 2 },
  { channels: 64, stride: 2 },
  { channels: 96, stride: 2 },
  { channels: 96, stride: 1 },
  { channels: 128, stride: 2 },
] as const;
/** The layer that sees textures and no outlines yet. */
const TEXTURE_LAYER = 2;

/**
 * Describes the judge: convolutions down to 4 x 4, and an answer for each question from the mean of the last and of the one
 * that sees textures.
 * @param picture  [N, 3, 128, 128] in [-1, 1]
 * @returns scores before the softmax, [N, answers]
 */
export function pictureJudge(scope: Scope, picture: Value): Record<Question, Value> {
  return answersFrom(scope, judgedFeatures(scope, picture));
}

/** The judge's answers beside what it answers from. */
export function pictureJudgeWithFeatures(scope: Scope, picture: Value): Record<Question | 'features', Value> {
  const features = judgedFeatures(scope, picture);
  return { ...answersFrom(scope, features), features };
}

/** [N, 192]. */
function judgedFeatures(scope: Scope, picture: Value): Value {
  const layers: Value[] = [];
  for (const [index, layer] of LAYERS.entries()) {
    layers.push(convolve(scope.at('layers', index), layers.at(-1) ?? picture, layer));
  }
  return concat([mean(layers[TEXTURE_LAYER]!), mean(layers.at(-1)!)], 1);
}

function answersFrom(scope: Scope, features: Value): Record<Question, Value> {
  const answers = QUESTION_NAMES.map((name) => [
    name,
    dense(scope.at('heads', name), features, QUESTIONS[name].length),
  ]);
  return Object.fromEntries(answers) as Record<Question, Value>;
}

/** [N, C, H, W] to [N, C]. */
function mean(features: Value): Value {
  return reshape(reduceMean(features, [2, 3]), [features.shape[0]!, features.shape[1]!]);
}

function convolve(scope: Scope, x: Value, { channels, stride }: { channels: number; stride: number }): Value {
  const convolved = conv2d(scope.at('conv'), x, channels, { stride });
  return groupNorm(scope.at('norm'), convolved, { numGroups: 8, epsilon: 1e-5, activation: 'silu' });
}
