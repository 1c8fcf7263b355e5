import { UserError } from '../../../shared/errors.ts';
import { karrasSigmas, sigmaAt, sigmaTable, timestepAt } from './noise-schedule.ts';
import { combine, levelOfAlphaCumprod, levelOfSigma, type NoiseLevel } from './sample-arithmetic.ts';
import type { Solver } from './scheduler.ts';
import type { SolverSettings } from './scheduler-config.ts';
import { fractionalTimesteps } from './timestep-spacing.ts';

/** How a family of solvers scales and noises samples. */
type Noising = Pick<Solver, 'initNoiseSigma' | 'scaleModelInput' | 'addNoise'>;

/** Noising of DDPM: x = √ᾱ x0 + √(1 - ᾱ) ε, which the network sees as it is. */
export function noisingByAlpha(alphas: Float32Array, timesteps: readonly number[]): Noising {
  return noisingByLevel((index) => levelOfAlphaCumprod(alphas[timesteps[index]!]!));
}

/** The same noising with its levels given as sigma = √((1 - ᾱ) / ᾱ), one per step. */
export function noisingBySigma(sigmas: Float32Array): Noising {
  return noisingByLevel((index) => levelOfSigma(sigmas[index]!));
}

function noisingByLevel(levelAt: (index: number) => NoiseLevel): Noising {
  return {
    initNoiseSigma: 1,
    scaleModelInput: (sample) => sample,
    addNoise(original, noise, index) {
      const level = levelAt(index);
      return combine([level.signal, original], [level.noise, noise]);
    },
  };
}

/** Noising of Karras (arXiv 2206.00364): x = x0 + σ ε, which the network sees divided by √(σ² + 1). */
export function noisingAtFullSignal(sigmas: Float32Array, settings: SolverSettings): Noising {
  const sigmaMax = Math.max(...sigmas);
  return {
    // The first level of leading spacing is not noise alone, so its standard deviation includes the signal's.
    initNoiseSigma: settings.timestepSpacing === 'leading' ? Math.hypot(sigmaMax, 1) : sigmaMax,
    scaleModelInput: (sample, index) => combine([levelOfSigma(sigmas[index]!).signal, sample]),
    addNoise: (original, noise, index) => combine([1, original], [sigmas[index]!, noise]),
  };
}

/** Timesteps and their sigmas; the sigmas end with an additional 0. */
export interface SigmaSchedule {
  timesteps: number[];
  sigmas: Float32Array;
}

/** Schedule of Euler and Heun: Karras spacing spans the levels that the timestep spacing selected. */
export function sigmaSchedule(settings: SolverSettings, numInferenceSteps: number): SigmaSchedule {
  const table = sigmaTable(settings);
  const timesteps = fractionalTimesteps(settings, numInferenceSteps);
  const selected = timesteps.map((timestep) => sigmaAt(table, timestep));
  if (!settings.useKarrasSigmas) return { timesteps, sigmas: Float32Array.of(...selected, 0) };

  const karras = karrasSigmas(selected[0]!, selected[selected.length - 1]!, numInferenceSteps);
  return {
    timesteps: Array.from(karras, (sigma) => timestepAt(table, sigma)),
    sigmas: Float32Array.of(...karras, 0),
  };
}

/**
 * Refuses to predict noise at a level that has no signal, where x0 = (x - √(1 - ᾱ) ε) / √ᾱ divides by 0.
 * @throws UserError
 */
export function checkSignal(settings: SolverSettings, alphas: Float32Array, timesteps: readonly number[]): void {
  if (settings.predictionType === 'epsilon' && timesteps.some((timestep) => alphas[timestep] === 0)) {
    throw new UserError(
      'Cannot use the scheduler: rescale_betas_zero_snr needs prediction_type v_prediction or sample, got epsilon',
    );
  }
}
