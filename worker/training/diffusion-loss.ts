import { add, cast, concat, input, mul, reduceMean, reduceSum, reshape, slice, sub } from '../graph/operators.ts';
import type { Value } from '../graph/value.ts';

/** What the network is taught to predict. */
export type LossTarget = 'epsilon' | 'v_prediction';

export interface DiffusionLossOptions {
  /** Samples per step, class pictures included. */
  readonly batch: number;
  /** [channels, height, width] of the latents. */
  readonly latentShape: readonly [number, number, number];
  readonly target: LossTarget;
  /** Whether the error counts only where a mask says so. */
  readonly hasMask?: boolean | undefined;
  /** The network's prediction from noised latents [N, C, H, W] and timesteps [N], float32. */
  readonly predict: (noisyLatents: Value, timestep: Value) => Value;
  /** What the second half of the batch is to be predicted as, in place of its noise; of that half alone. */
  readonly preserved?: ((noisyLatents: Value, timestep: Value) => Value) | undefined;
}

export interface DiffusionLoss {
  /** Scalar: Σ weight·mean squared error of each sample. */
  readonly loss: Value;
  /** Mean squared error of each sample, [N]. */
  readonly sampleLosses: Value;
  readonly noisyLatents: Value;
  /** What the network should predict, like the latents. */
  readonly wanted: Value;
  /** latents, noise, timestep, signal (√ᾱ) and sigma (√(1 - ᾱ)) [N, 1, 1, 1], and the samples' weights [N]. */
  readonly perStep: readonly Value[];
}

/** Names of the inputs that every diffusion lesson is fed per step. */
export const lossInputs = {
  latents: 'latents',
  noise: 'noise',
  timestep: 'timestep',
  signal: 'signal',
  sigma: 'sigma',
  weights: 'sample_weights',
  /** [N, 1, H, W] in [0, 1]. */
  mask: 'loss_mask',
} as const;

/**
 * Describes the diffusion objective: noise the latents, predict, compare. The weights of the samples carry everything that
 * tells methods apart: 1/B for B instances, λ/B for class pictures, and min-SNR factors on top.
 * @see Ho et al. 2020 (arXiv 2006.11239), eq. 14; Salimans and Ho 2022 (arXiv 2202.00512), appendix D for v
 */
export function diffusionLoss({
  batch,
  latentShape,
  target,
  predict,
  hasMask = false,
  preserved,
}: DiffusionLossOptions): DiffusionLoss {
  const float = (name: string, ...shape: number[]) => input(name, { shape, dtype: 'float32' });
  const [latents, noise] = [
    float(lossInputs.latents, batch, ...latentShape),
    float(lossInputs.noise, batch, ...latentShape),
  ];
  const [signal, sigma] = [float(lossInputs.signal, batch, 1, 1, 1), float(lossInputs.sigma, batch, 1, 1, 1)];
  const [timestep, weights] = [float(lossInputs.timestep, batch), float(lossInputs.weights, batch)];
  const noisyLatents = add(mul(signal, latents), mul(sigma, noise));
  const drawn = target === 'epsilon' ? noise : sub(mul(signal, noise), mul(sigma, latents));
  const wanted = preserved ? secondHalfPreserved(drawn, { noisyLatents, timestep, preserved }) : drawn;
  const difference = sub(cast(predict(noisyLatents, timestep), 'float32'), wanted);
  const [, height, width] = latentShape;
  const masks = hasMask ? [float(lossInputs.mask, batch, 1, height, width)] : [];
  // The mean is over all positions, as kohya's masked loss takes it: a small subject teaches less per step.
  const errors = masks.reduce(mul, mul(difference, difference));
  const sampleLosses = reshape(reduceMean(errors, [1, 2, 3]), [batch]);
  const loss = reshape(reduceSum(mul(sampleLosses, weights), [0]), []);
  const perStep = [latents, noise, timestep, signal, sigma, weights, ...masks];
  return { loss, sampleLosses, noisyLatents, wanted, perStep };
}

interface Preserving {
  readonly noisyLatents: Value;
  readonly timestep: Value;
  readonly preserved: (noisyLatents: Value, timestep: Value) => Value;
}

/** Nothing of what is preserved learns, so that no gradient comes through the target. */
function secondHalfPreserved(drawn: Value, { noisyLatents, timestep, preserved }: Preserving): Value {
  const batch = Number(drawn.shape[0]);
  const second = (value: Value) => slice(value, 0, [batch / 2, batch]);
  const kept = cast(preserved(second(noisyLatents), second(timestep)), 'float32');
  return concat([slice(drawn, 0, [0, batch / 2]), kept], 0);
}
