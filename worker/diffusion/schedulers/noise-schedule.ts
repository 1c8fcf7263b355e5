import { UserError } from '../../../shared/errors.ts';
import type { BetaSchedule, SchedulerConfig, SolverSettings } from './scheduler-config.ts';
import { solverSettings } from './scheduler-config.ts';

// The tables are stored in float32 as diffusers stores them, because 1 - beta and 1 - alphasCumprod cancel: the noisiest
// and cleanest levels would otherwise differ from the reference in the fifth digit.

/** Smallest float16 above 0; stands for a terminal signal of 0 where sigma would otherwise be infinite. */
const ALMOST_NO_SIGNAL = 2 ** -24;
const MAX_COSINE_BETA = 0.999;

type BetaRule = (settings: SolverSettings) => ArrayLike<number>;

const betaRules: { [Schedule in BetaSchedule]: BetaRule } = {
  linear: ({ betaStart, betaEnd, numTrainTimesteps }) => linspace(betaStart, betaEnd, numTrainTimesteps),
  scaled_linear: ({ betaStart, betaEnd, numTrainTimesteps }) =>
    linspace(Math.sqrt(betaStart), Math.sqrt(betaEnd), numTrainTimesteps).map((root) => root * root),
  // Improved DDPM (arXiv 2102.09672), eq. 17.
  squaredcos_cap_v2: ({ numTrainTimesteps }) => {
    const alphaBar = (t: number) => Math.cos(((t + 0.008) / 1.008) * (Math.PI / 2)) ** 2;
    return Array.from({ length: numTrainTimesteps }, (_, index) =>
      Math.min(1 - alphaBar((index + 1) / numTrainTimesteps) / alphaBar(index / numTrainTimesteps), MAX_COSINE_BETA),
    );
  },
};

/** Computes alphasCumprod per training timestep as training with this folder uses it, that is with DDPM's defaults. */
export function alphasCumprod(config: SchedulerConfig): Float64Array {
  return Float64Array.from(alphasCumprodTable(solverSettings(config, 'ddpm')));
}

/**
 * Computes the cumulative product of 1 - beta, one value per training timestep.
 * @throws UserError if trained_betas has another length than num_train_timesteps
 */
export function alphasCumprodTable(settings: SolverSettings): Float32Array {
  const betas = Float32Array.from(settings.trainedBetas ?? betaRules[settings.betaSchedule](settings));
  if (betas.length !== settings.numTrainTimesteps) {
    throw new UserError(
      `Cannot use the scheduler: trained_betas must have ${settings.numTrainTimesteps} values, got ${betas.length}`,
    );
  }
  const alphas = betas.map((beta) => 1 - beta);
  return settings.rescaleBetasZeroSnr ? cumulativeProduct(zeroTerminalSnrAlphas(alphas)) : cumulativeProduct(alphas);
}

/** Computes sigma = √((1 - ᾱ) / ᾱ) per training timestep; a signal of 0 counts as almost 0. */
export function sigmaTable(settings: SolverSettings): Float32Array {
  const table = alphasCumprodTable(settings);
  if (settings.rescaleBetasZeroSnr) table[table.length - 1] = ALMOST_NO_SIGNAL;
  return table.map((alphaCumprod) => Math.sqrt((1 - alphaCumprod) / alphaCumprod));
}

/** Shifts and scales √ᾱ so that the last is 0 and the first stays (arXiv 2305.08891, algorithm 1). */
function zeroTerminalSnrAlphas(alphas: Float32Array): Float32Array {
  const roots = cumulativeProduct(alphas).map(Math.sqrt);
  const first = roots[0]!;
  const last = roots[roots.length - 1]!;
  const scale = Math.fround(first / Math.fround(first - last));
  const rescaled = roots.map((root) => Math.fround(root - last) * scale).map((root) => root * root);
  // The round trip over beta = 1 - alpha is part of the reference's rounding.
  return rescaled
    .map((alphaCumprod, index) => 1 - (index === 0 ? alphaCumprod : Math.fround(alphaCumprod / rescaled[index - 1]!)))
    .map((beta) => 1 - beta);
}

function cumulativeProduct(factors: Float32Array): Float32Array {
  let product = 1;
  return factors.map((factor) => {
    product *= factor;
    return product;
  });
}

/** Spaces `count` values evenly from start to end, both included; a single value is the start. */
export function linspace(start: number, end: number, count: number): Float64Array {
  const step = (end - start) / (count - 1);
  return Float64Array.from({ length: count }, (_, index) => {
    if (index === 0) return start;
    return index === count - 1 ? end : start + step * index;
  });
}

/** Interpolates sigma linearly between training timesteps. */
export function sigmaAt(sigmas: Float32Array, timestep: number): number {
  const low = Math.min(Math.floor(timestep), sigmas.length - 1);
  const high = Math.min(low + 1, sigmas.length - 1);
  return sigmas[low]! + (timestep - low) * (sigmas[high]! - sigmas[low]!);
}

/** Interpolates the timestep at which the table reaches sigma, linearly in log sigma; may be fractional. */
export function timestepAt(sigmas: Float32Array, sigma: number): number {
  const logSigmas = sigmas.map(Math.log);
  const logSigma = Math.log(sigma);
  const above = logSigmas.findIndex((value) => value > logSigma);
  const low = Math.min(Math.max((above === -1 ? sigmas.length : above) - 1, 0), sigmas.length - 2);
  const weight = (logSigmas[low]! - logSigma) / (logSigmas[low]! - logSigmas[low + 1]!);
  return low + Math.min(Math.max(weight, 0), 1);
}

const KARRAS_RHO = 7;

/** Spaces sigmas from sigmaMax down to sigmaMin, both included, evenly in their 7th root (arXiv 2206.00364, eq. 5). */
export function karrasSigmas(sigmaMax: number, sigmaMin: number, count: number): Float64Array {
  const maxRoot = sigmaMax ** (1 / KARRAS_RHO);
  const minRoot = sigmaMin ** (1 / KARRAS_RHO);
  return linspace(0, 1, count).map((ramp) => (maxRoot + ramp * (minRoot - maxRoot)) ** KARRAS_RHO);
}
