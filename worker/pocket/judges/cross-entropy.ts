import { constant, exp, log, mul, reduceSum, reshape, sub } from '../../graph/operators.ts';
import type { Value } from '../../graph/value.ts';

/**
 * The cross entropy of scores with the right answers, summed over all places and divided by their number.
 * @param scores  [places, answers], before the softmax
 * @param answers  the same shape: 1 at the right answer, all 0 where the question is not asked
 */
export function crossEntropy(scores: Value, answers: Value): Value {
  const [places] = scores.shape;
  // Scores stay far below the 88 at which exp overflows: the networks are small and their norms bound them.
  const total = log(reduceSum(exp(scores), [1]));
  const asked = reduceSum(answers, [1]);
  const losses = sub(mul(total, asked), reduceSum(mul(scores, answers), [1]));
  return mul(reshape(reduceSum(losses, [0, 1]), []), constant([1 / Number(places)], [], 'float32'));
}
