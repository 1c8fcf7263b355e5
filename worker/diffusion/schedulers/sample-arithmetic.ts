import type { PredictionType, SolverSettings } from './scheduler-config.ts';

/** A factor and the sample that it multiplies. */
export type Term = readonly [factor: number, sample: Float32Array];

/** Adds samples, each times a factor; accumulates in float64. */
export function combine(...terms: readonly Term[]): Float32Array {
  const sum = new Float64Array(terms[0]?.[1].length ?? 0);
  for (const [factor, sample] of terms) {
    for (let index = 0; index < sum.length; index++) sum[index]! += factor * sample[index]!;
  }
  return Float32Array.from(sum);
}

/** The parts of a variance-preserving sample: x = signal · x0 + noise · ε with signal² + noise² = 1. */
export interface NoiseLevel {
  signal: number;
  noise: number;
}

/** Splits ᾱ into √ᾱ and √(1 - ᾱ). */
export function levelOfAlphaCumprod(alphaCumprod: number): NoiseLevel {
  return { signal: Math.sqrt(alphaCumprod), noise: Math.sqrt(1 - alphaCumprod) };
}

/** Normalizes sigma, the noise per unit of signal. */
export function levelOfSigma(sigma: number): NoiseLevel {
  const signal = 1 / Math.sqrt(sigma * sigma + 1);
  return { signal, noise: sigma * signal };
}

/** Factors of the variance-preserving sample and of the network's output. */
interface PredictionFactors {
  sample: number;
  output: number;
}

type PredictionRules = { [Type in PredictionType]: (level: NoiseLevel) => PredictionFactors };

// v-prediction: arXiv 2202.00512, appendix D.
const originalSampleRules: PredictionRules = {
  epsilon: ({ signal, noise }) => ({ sample: 1 / signal, output: -noise / signal }),
  v_prediction: ({ signal, noise }) => ({ sample: signal, output: -noise }),
  sample: () => ({ sample: 0, output: 1 }),
};

const epsilonRules: PredictionRules = {
  epsilon: () => ({ sample: 0, output: 1 }),
  v_prediction: ({ signal, noise }) => ({ sample: noise, output: signal }),
  sample: ({ signal, noise }) => ({ sample: 1 / noise, output: -signal / noise }),
};

/** Converts the network's output to the clean sample, from a variance-preserving sample. */
export function predictOriginalSample(
  type: PredictionType,
  level: NoiseLevel,
  output: Float32Array,
  sample: Float32Array,
): Float32Array {
  const factors = originalSampleRules[type](level);
  return combine([factors.sample, sample], [factors.output, output]);
}

/** Converts the network's output to the noise, from a variance-preserving sample. */
export function predictEpsilon(
  type: PredictionType,
  level: NoiseLevel,
  output: Float32Array,
  sample: Float32Array,
): Float32Array {
  const factors = epsilonRules[type](level);
  return combine([factors.sample, sample], [factors.output, output]);
}

/** Converts the network's output to the clean sample, from a sample x0 + σ·ε whose noise was added at full signal. */
export function predictOriginalSampleFromSigma(
  type: PredictionType,
  sigma: number,
  output: Float32Array,
  sample: Float32Array,
): Float32Array {
  const level = levelOfSigma(sigma);
  const factors = originalSampleRules[type](level);
  return combine([factors.sample * level.signal, sample], [factors.output, output]);
}

/** Clamps to ±clipSampleRange if the settings ask for it; latents should never be clipped. */
export function clipOriginalSample(settings: SolverSettings, originalSample: Float32Array): Float32Array {
  if (!settings.clipSample) return originalSample;
  const range = settings.clipSampleRange;
  return originalSample.map((value) => Math.min(Math.max(value, -range), range));
}
