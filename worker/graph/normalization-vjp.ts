/**
 * Gradients of layers that normalise: with x̂ = (x - μ)·r and r = 1/√(σ² + ε), x̄ = r·(ḡ - mean(ḡ) - x̂·mean(ḡ·x̂)), ḡ = ȳ·weight.
 * They are computed in float32 whatever the layer's dtype: squares and sums over a group leave float16's range.
 */
import { siluDerivative } from './activation-derivatives.ts';
import { type Dim, multiplyDims } from './dim.ts';
import { add, cast, div, mul, reduceMean, reduceSum, reshape, scalar, sqrt, sub } from './operators.ts';
import type { Value } from './value.ts';
import type { VjpRule } from './vjp-rule.ts';

/** @see Ba et al. 2016 (arXiv 1607.06450), section 3; Ioffe and Szegedy 2015 (arXiv 1502.03167), section 3 for the chain of derivatives */
export const layerNormalizationVjp: VjpRule<'LayerNormalization'> = (narrowCt, { inputs, attributes: { epsilon } }) => {
  const { ct, x, weight, narrow } = widen(narrowCt, inputs);
  const axis = x.shape.length - 1;
  const { normalized, reciprocal } = normalize(x, axis, epsilon);
  const leading = x.shape.slice(0, -1).map((_, i) => i);
  return [
    () => narrow(inputCotangent({ ct: mul(ct, weight), normalized, reciprocal, axis })),
    () => narrow(reshape(reduceSum(mul(ct, normalized), leading), weight.shape)),
    () => narrow(reshape(reduceSum(ct, leading), weight.shape)),
  ];
};

/** @see Wu and He 2018 (arXiv 1803.08494), eqs. 1 to 7 */
export const groupNormalizationVjp: VjpRule<'GroupNormalization'> = (narrowCt, { inputs, attributes }) => {
  const { ct, x, weight, bias, narrow } = widen(narrowCt, inputs);
  const { numGroups, epsilon, activation } = attributes;
  const [batch, channels, height, width] = x.shape as [Dim, Dim, Dim, Dim];
  const grouped = [batch, numGroups, multiplyDims(Number(channels) / numGroups, height, width)];
  const { normalized, reciprocal } = normalize(reshape(x, grouped), 2, epsilon);
  const restored = reshape(normalized, x.shape);
  const perChannel = (value: Value) => reshape(value, [channels, 1, 1]);
  const before = () => add(mul(restored, perChannel(weight)), perChannel(bias));
  const inner = activation === 'silu' ? mul(ct, siluDerivative(before(), 1)) : ct;
  const sumChannels = (value: Value) => narrow(reshape(reduceSum(value, [0, 2, 3]), [channels]));
  return [
    () => {
      const scaled = reshape(mul(inner, perChannel(weight)), grouped);
      return narrow(reshape(inputCotangent({ ct: scaled, normalized, reciprocal, axis: 2 }), x.shape));
    },
    () => sumChannels(mul(inner, restored)),
    () => sumChannels(inner),
  ];
};

/** The operands in float32, and the way back to the layer's dtype. */
function widen(ct: Value, inputs: readonly [x: Value, weight: Value, bias: Value]) {
  const [wideCt, x, weight, bias] = [ct, ...inputs].map((value) => cast(value, 'float32')) as [
    Value,
    Value,
    Value,
    Value,
  ];
  return { ct: wideCt, x, weight, bias, narrow: (value: Value) => cast(value, ct.dtype) };
}

/** x̂ and 1/√(σ² + ε) along one axis, with the biased variance. */
function normalize(x: Value, axis: number, epsilon: number): { normalized: Value; reciprocal: Value } {
  const centered = sub(x, reduceMean(x, [axis]));
  const variance = reduceMean(mul(centered, centered), [axis]);
  const reciprocal = div(scalar(1, x), sqrt(add(variance, scalar(epsilon, x))));
  return { normalized: mul(centered, reciprocal), reciprocal };
}

interface NormalizedCotangent {
  readonly ct: Value;
  readonly normalized: Value;
  readonly reciprocal: Value;
  readonly axis: number;
}

function inputCotangent({ ct, normalized, reciprocal, axis }: NormalizedCotangent): Value {
  const projection = mul(normalized, reduceMean(mul(ct, normalized), [axis]));
  return mul(reciprocal, sub(sub(ct, reduceMean(ct, [axis])), projection));
}
