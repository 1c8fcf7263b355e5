import type { Dim } from './dim.ts';
import { add, constant, matMul, mul, reduceSum, reshape, scalar, softmax, sub, transpose } from './operators.ts';
import type { Value } from './value.ts';
import type { VjpRule } from './vjp-rule.ts';

/**
 * Gradient of attention. The probabilities P = softmax(Q·Kᵀ/√d + bias) are computed again: the fused operator keeps none.
 * V̄ = Pᵀ·Ō; P̄ = Ō·Vᵀ; S̄ = P∘(P̄ - rowsum(Ō∘O)); Q̄ = S̄·K/√d; K̄ = S̄ᵀ·Q/√d.
 * The row sums are taken over the result and the scale is put on queries, [S, d], rather than on the scores, [S, T].
 * @see Dao et al. 2022 (arXiv 2205.14135), appendix B.2
 */
export const attentionVjp: VjpRule<'Attention'> = (ct, attention) => {
  const {
    inputs: [query, key, value, bias],
    attributes: { numHeads, isCausal },
  } = attention;
  const scale = scalar(1 / Math.sqrt(Number(query.shape[2]) / numHeads), query);
  const [q, k, v, output, outputCt] = [mul(query, scale), key, value, attention, ct].map((x) =>
    splitHeads(x, numHeads),
  ) as [Value, Value, Value, Value, Value];
  let scores = matMul(q, k, { transposeA: false, transposeB: true });
  if (bias) scores = add(scores, bias);
  if (isCausal) scores = add(scores, causalBias(Number(query.shape[1]), query));
  const probabilities = softmax(scores);
  // One node, however many of query and key ask for it.
  let shared: Value | undefined;
  const scoresCt = () => {
    const probabilitiesCt = matMul(outputCt, v, { transposeA: false, transposeB: true });
    shared ??= mul(probabilities, sub(probabilitiesCt, reduceSum(mul(outputCt, output), [3])));
    return shared;
  };
  return [
    () => mul(mergeHeads(matMul(scoresCt(), k, { transposeA: false, transposeB: false })), scale),
    () => mergeHeads(matMul(scoresCt(), q, { transposeA: true, transposeB: false })),
    () => mergeHeads(matMul(probabilities, outputCt, { transposeA: true, transposeB: false })),
    undefined,
  ];
};

/** [N, S, heads·d] to [N, heads, S, d]. */
function splitHeads(x: Value, numHeads: number): Value {
  const [batch, length, features] = x.shape as [Dim, Dim, Dim];
  return transpose(reshape(x, [batch, length, numHeads, Number(features) / numHeads]), [0, 2, 1, 3]);
}

function mergeHeads(x: Value): Value {
  const [batch, numHeads, length, size] = x.shape as [Dim, Dim, Dim, Dim];
  return reshape(transpose(x, [0, 2, 1, 3]), [batch, length, Number(numHeads) * Number(size)]);
}

/** 0 on and below the diagonal; above it a number that the softmax turns into 0. */
function causalBias(length: number, like: Value): Value {
  const values = Array.from({ length: length * length }, (_, i) => (i % length > Math.floor(i / length) ? -1e4 : 0));
  return constant(values, [1, 1, length, length], like.dtype);
}
