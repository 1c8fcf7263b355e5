import {
  add,
  constant,
  exp,
  greater,
  input,
  mul,
  reduceMean,
  reduceSum,
  relu,
  reshape,
  slice,
  sub,
  where,
} from '../graph/operators.ts';
import { Scope } from '../graph/scope.ts';
import type { Value } from '../graph/value.ts';
import { type VaeConfig, vaeDecoder, vaeEncoder } from '../networks/vae.ts';
import { VAE_COMPONENT } from '../networks/vae-graph.ts';
import { learnEverything } from './learning.ts';
import type { Lesson } from './trainer.ts';

/**
 * Weight of a divergence that is summed over the latents of a crop, beside losses that are means over its pixels: latents stay
 * near 0 and their noise small.
 */
export const KL_WEIGHT = 1e-6;

export interface VaeLessonOptions {
  readonly vae: VaeConfig;
  /** Crops per step. */
  readonly batch: number;
  /** Side of the square crops in pixels. */
  readonly side: number;
  /** Weight of the divergence, which is summed over a crop's latents. */
  readonly klWeight: number;
}

/** Names of the inputs of a VAE's lesson. */
export const vaeInputs = {
  /** [N, C, S, S] in [-1, 1]. */
  image: 'image',
  /** Standard normal, like the latents. */
  posteriorNoise: 'posterior_noise',
} as const;

/**
 * A VAE from nothing: encoder, a sample of the posterior and decoder in one graph. The loss is L1 + L2 + L1 of the image
 * gradients + L1 of the colour that each latent stands for, all as means, and the weighted divergence from the standard normal distribution.
 * @see Kingma and Welling 2014 (arXiv 1312.6114), appendix B; Rombach et al. 2022 (arXiv 2112.10752), appendix G, without
 *   its discriminator
 */
export function vaeLesson({ vae, batch, side, klWeight }: VaeLessonOptions): Lesson {
  const { trainables, substitute } = learnEverything();
  const scope = new Scope({ name: VAE_COMPONENT, dtype: 'float32', substitute });
  const latentSide = side / vae.vaeScaleFactor;
  const image = input(vaeInputs.image, { shape: [batch, vae.inChannels, side, side], dtype: 'float32' });
  const noise = input(vaeInputs.posteriorNoise, {
    shape: [batch, vae.latentChannels, latentSide, latentSide],
    dtype: 'float32',
  });
  const { mean, logVariance } = posterior(vaeEncoder(scope, vae, image), vae.latentChannels);
  const latents = add(mean, mul(exp(mul(number(0.5), logVariance)), noise));
  const difference = sub(vaeDecoder(scope, vae, latents), image);
  const reconstruction = reconstructionLoss(difference);
  const color = colorLoss(difference, vae.vaeScaleFactor);
  const divergence = klDivergence(mean, logVariance);
  return {
    trainables,
    loss: [reconstruction, color, mul(number(klWeight), divergence)].reduce(add),
    perStep: [image, noise],
    reported: { squaredError: meanOf(mul(difference, difference)), color, divergence },
  };
}

/** Log variances are kept in diffusers' bounds, beyond which their exponential is of no use. */
const LOG_VARIANCE_BOUNDS = [-30, 20] as const;

/** Splits moments [N, 2C, H, W] into means and log variances. */
export function posterior(moments: Value, channels: number): { mean: Value; logVariance: Value } {
  const [mean, raw] = [slice(moments, 1, [0, channels]), slice(moments, 1, [channels, 2 * channels])];
  const [low, high] = LOG_VARIANCE_BOUNDS.map(number) as [Value, Value];
  const raised = where(greater(raw, low), raw, low);
  return { mean, logVariance: where(greater(high, raised), raised, high) };
}

/**
 * Mean absolute and mean squared difference, and the mean absolute difference of horizontal and vertical slopes, which
 * keeps outlines crisp.
 * @param difference  [N, C, H, W]
 */
export function reconstructionLoss(difference: Value): Value {
  const slopes = [slope(difference, 2), slope(difference, 3)].map(meanAbsolute) as [Value, Value];
  return [meanOf(mul(difference, difference)), ...slopes].reduce(add, meanAbsolute(difference));
}

/** Σ (μ² + σ² - 1 - log σ²)/2 over the latents of a sample, then the mean of the samples. */
export function klDivergence(mean: Value, logVariance: Value): Value {
  const terms = sub(sub(add(mul(mean, mean), exp(logVariance)), number(1)), logVariance);
  const batch = Number(mean.shape[0]);
  return mul(reshape(reduceSum(terms, [0, 1, 2, 3]), []), number(0.5 / batch));
}

function slope(x: Value, axis: 2 | 3): Value {
  const size = Number(x.shape[axis]);
  return sub(slice(x, axis, [1, size]), slice(x, axis, [0, size - 1]));
}

/**
 * Mean absolute difference of the colours that latents stand for.
 * @param difference  [N, C, H, W]
 * @param block  side in pixels of what one latent stands for
 */
export function colorLoss(difference: Value, block: number): Value {
  return meanAbsolute(blockMeans(difference, block));
}

/** Means of blocks of `block` x `block` pixels: [N, C, H, W] to [N·C, H/block, W/block, 1]. */
export function blockMeans(x: Value, block: number): Value {
  const [n, channels, height, width] = x.shape.map(Number) as [number, number, number, number];
  const rows = reduceMean(reshape(x, [n * channels, height / block, block, width]), [2]);
  const columns = [n * channels, height / block, width / block, block];
  return reduceMean(reshape(rows, columns), [3]);
}

/** |d| is 2·relu(d) - d. */
export function meanAbsolute(difference: Value): Value {
  return meanOf(sub(mul(number(2), relu(difference)), difference));
}

function meanOf(x: Value): Value {
  return reshape(reduceMean(x, [0, 1, 2, 3]), []);
}

function number(value: number): Value {
  return constant([value], [], 'float32');
}
