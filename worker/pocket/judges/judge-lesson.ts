import { add, constant, gather, input } from '../../graph/operators.ts';
import { Scope } from '../../graph/scope.ts';
import type { Value } from '../../graph/value.ts';
import { joined } from '../../runtime/joined.ts';
import { RandomGenerator } from '../../runtime/random.ts';
import { float32Tensor, int64Tensor } from '../../runtime/session.ts';
import { freshWeights } from '../../training/fresh-weights.ts';
import { learnEverything } from '../../training/learning.ts';
import { picturePool } from '../../training/picture-stream.ts';
import { stepGenerator } from '../../training/samples.ts';
import type { PartLesson, Weights } from '../making/run-part.ts';
import { crossEntropy } from './cross-entropy.ts';
import { FIRST_JUDGE_SEED, judgedPicture } from './judge-pictures.ts';
import { JUDGED_SIDE, pictureJudge, QUESTION_NAMES, QUESTIONS } from './picture-judge.ts';
import { spoilPicture } from './spoil-picture.ts';

export const JUDGE_COMPONENT = 'judge';
const BATCH = 32;
const SEED = 1;
/** Every picture is seen about four times, each time spoiled otherwise. */
const POOL = { poolSize: 512, freshPerStep: 8 } as const;

/** A round of a judge's lesson; a later one goes on with what an earlier one taught, on scenes of its own. */
export interface JudgeRound {
  readonly steps: number;
  readonly learningRate: number;
  /** Counts the scenes that earlier rounds drew. */
  readonly firstScene: number;
  readonly start?: Weights | undefined;
}

/** The lesson of the judge of pictures: to answer all questions about drawn scenes. */
export function judgeLesson({ steps, learningRate, firstScene, start }: JudgeRound): PartLesson {
  const learning = learnEverything();
  const scope = new Scope({ name: JUDGE_COMPONENT, dtype: 'float32', substitute: learning.substitute });
  const picture = input('picture', { shape: [BATCH, 3, JUDGED_SIDE, JUDGED_SIDE], dtype: 'float32' });
  const scores = pictureJudge(scope, picture);
  const labels = QUESTION_NAMES.map((question) => input(question, { shape: [BATCH], dtype: 'int64' }));
  const losses = QUESTION_NAMES.map((question, index) =>
    crossEntropy(scores[question], oneHot(labels[index], QUESTIONS[question].length)),
  );
  const pool = picturePool({ ...POOL, make: (index) => judgedPicture(FIRST_JUDGE_SEED + firstScene + index) });
  return {
    lesson: { trainables: learning.trainables, loss: losses.reduce(add), perStep: [picture, ...labels], reported: {} },
    initial: start ?? freshWeights(learning.trainables, { generator: new RandomGenerator(SEED) }),
    checkpoints: {},
    rate: { learningRate, lrScheduler: 'cosine', lrWarmupSteps: 50, maxTrainSteps: steps },
    key: `pocket judge ${firstScene} ${steps}`,
    feeds: async (step) => {
      const generator = stepGenerator(SEED, step);
      const pictures = await pool(step);
      const chosen = Array.from({ length: BATCH }, () => pictures[generator.randint(pictures.length)]!);
      const answers = QUESTION_NAMES.map((question) => [
        question,
        int64Tensor(
          chosen.map((one) => one.answers[question]),
          [BATCH],
        ),
      ]);
      return {
        picture: stack(
          chosen.map((one) => spoilPicture(one.picture, JUDGED_SIDE, generator)),
          JUDGED_SIDE,
        ),
        ...Object.fromEntries(answers),
      };
    },
  };
}

/** Rows of 0 with a 1 at the label; all 0 for the label `classes`. */
export function oneHot(labels: Value | undefined, classes: number): Value {
  if (labels === undefined) throw new Error('Cannot describe the lesson: each question needs its answers, got none');
  const rows = Array.from({ length: (classes + 1) * classes }, (_, i) =>
    Math.floor(i / classes) === i % classes ? 1 : 0,
  );
  return gather(constant(rows, [classes + 1, classes], 'float32'), labels);
}

export function stack(pictures: readonly Float32Array[], side: number) {
  return float32Tensor(joined(pictures), [pictures.length, 3, side, side]);
}
