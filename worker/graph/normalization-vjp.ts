/** Gradients of layers that normalise: with x̂ = (x - μ)·r and r = 1/√(σ² + ε), x̄ = r·(ḡ - mean(ḡ) - x̂·mean(ḡ·x̂)), ḡ = ȳ·weight. */
import { siluDerivative } from './activation-derivatives.ts';
import { type Dim, multiplyDims } from './dim.ts';
import { add, div, mul, reduceMean, reduceSum, reshape, scalar, sqrt, sub } from './operators.ts';
import type { Value } from './value.ts';
import type { VjpRule } from './vjp-rule.ts';

/** @see Ba et al. 2016 (arXiv 1607.06450), section 3; Ioffe and Szegedy 2015 (arXiv 1502.03167), section 3 for the chain of derivatives */
export const layerNormalizationVjp: VjpRule<'LayerNormalization'> = (ct, { inputs, attributes: { epsilon } }) => {
  const [x, weight, bias] = inputs;
  const axis = x.shape.length - 1;
  const { normalized, reciprocal } = normalize(x, axis, epsilon);
  const leading = x.shape.slice(0, -1).map((_, i) => i);
  return [
    () => inputCotangent({ ct: mul(ct, weight), normalized, reciprocal, axis }),
    () => reshape(reduceSum(mul(ct, normalized), leading), weight.shape),
    () => reshape(reduceSum(ct, leading), bias.shape),
  ];
};

/** @see Wu and He 2018 (arXiv 1803.08494), eqs. 1 to 7 */
export const groupNormalizationVjp: VjpRule<'GroupNormalization'> = (ct, { inputs, attributes }) => {
  const [x, weight, bias] = inputs;
  const { numGroups, epsilon, activation } = attributes;
  const [batch, channels, height, width] = x.shape as [Dim, Dim, Dim, Dim];
  const grouped = [batch, numGroups, multiplyDims(Number(channels) / numGroups, height, width)];
  const { normalized, reciprocal } = normalize(reshape(x, grouped), 2, epsilon);
  const restored = reshape(normalized, x.shape);
  const perChannel = (value: Value) => reshape(value, [channels, 1, 1]);
  const before = () => add(mul(restored, perChannel(weight)), perChannel(bias));
  const inner = activation === 'silu' ? mul(ct, siluDerivative(before(), 1)) : ct;
  const sumChannels = (value: Value) => reshape(reduceSum(value, [0, 2, 3]), [channels]);
  return [
    () => {
      const scaled = reshape(mul(inner, perChannel(weight)), grouped);
      return reshape(inputCotangent({ ct: scaled, normalized, reciprocal, axis: 2 }), x.shape);
    },
    () => sumChannels(mul(inner, restored)),
    () => sumChannels(inner),
  ];
};

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
