import type { LossTarget } from './diffusion-loss.ts';

/** Signal-to-noise ratio ᾱ/(1 - ᾱ) of a timestep with cumulative product ᾱ. */
export function signalToNoise(alphaCumprod: number): number {
  return alphaCumprod / (1 - alphaCumprod);
}

/**
 * The weight that keeps easy timesteps from drowning the others: min(SNR, γ)/SNR, for v prediction over SNR + 1.
 * @see Hang et al. 2023 (arXiv 2303.09556), section 3.4
 */
export function minSnrWeight(snr: number, { gamma, target }: { gamma: number; target: LossTarget }): number {
  return Math.min(snr, gamma) / (target === 'epsilon' ? snr : snr + 1);
}

/**
 * Turns a uniform number into a timestep that favours the early, structural steps of sampling.
 * @param uniform  in [0, 1)
 * @see Mou et al. 2023 (arXiv 2302.08453), section 3.4
 */
export function cubicTimestep(uniform: number, numTrainTimesteps: number): number {
  return Math.min(Math.floor((1 - uniform ** 3) * numTrainTimesteps), numTrainTimesteps - 1);
}
