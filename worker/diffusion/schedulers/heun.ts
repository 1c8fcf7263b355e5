import { noisingAtFullSignal, sigmaSchedule } from './noising.ts';
import { clipOriginalSample, combine, predictOriginalSampleFromSigma } from './sample-arithmetic.ts';
import type { CreateSolver } from './scheduler.ts';

/** Repeats all but the first and the last value. */
function repeatInner(values: readonly number[]): number[] {
  return values.flatMap((value, index) => (index === 0 || index === values.length - 1 ? [value] : [value, value]));
}

/** A step that waits for the slope at its end. */
interface HalfStep {
  sample: Float32Array;
  slope: Float32Array;
  sigmaChange: number;
}

/**
 * Creates Heun's method (arXiv 2206.00364, algorithm 1): an Euler step, then the same step with the average of the
 * slopes at both ends; the last step, to sigma 0, is Euler's. N steps take 2N - 1 network calls.
 */
export const createHeun: CreateSolver = (settings, { numInferenceSteps }) => {
  const schedule = sigmaSchedule(settings, numInferenceSteps);
  const sigmas = Float32Array.from(repeatInner(Array.from(schedule.sigmas)));
  const timesteps = schedule.timesteps.flatMap((timestep, index) => (index === 0 ? [timestep] : [timestep, timestep]));

  let pending: HalfStep | undefined;
  return {
    timesteps,
    ...noisingAtFullSignal(sigmas, settings),
    step(noisePred, index, sample) {
      const sigma = sigmas[index]!;
      const predOriginalSample = clipOriginalSample(
        settings,
        predictOriginalSampleFromSigma(settings.predictionType, sigma, noisePred, sample),
      );
      const slope = combine([1 / sigma, sample], [-1 / sigma, predOriginalSample]);
      if (pending === undefined) {
        const sigmaChange = sigmas[index + 1]! - sigma;
        pending = { sample, slope, sigmaChange };
        return { prevSample: combine([1, sample], [sigmaChange, slope]), predOriginalSample };
      }
      const { sample: start, slope: firstSlope, sigmaChange } = pending;
      pending = undefined;
      const prevSample = combine([1, start], [sigmaChange / 2, firstSlope], [sigmaChange / 2, slope]);
      return { prevSample, predOriginalSample };
    },
  };
};
