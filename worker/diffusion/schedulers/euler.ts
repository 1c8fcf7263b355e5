import { noisingAtFullSignal, sigmaSchedule } from './noising.ts';
import { combine, predictOriginalSampleFromSigma } from './sample-arithmetic.ts';
import type { CreateSolver } from './scheduler.ts';

/** Creates Euler's method on dx/dσ = (x - x0) / σ (arXiv 2206.00364, algorithm 1 without its second-order correction). */
export const createEuler: CreateSolver = (settings, { numInferenceSteps }) => {
  const { timesteps, sigmas } = sigmaSchedule(settings, numInferenceSteps);
  return {
    timesteps,
    ...noisingAtFullSignal(sigmas, settings),
    step(noisePred, index, sample) {
      const sigma = sigmas[index]!;
      const predOriginalSample = predictOriginalSampleFromSigma(settings.predictionType, sigma, noisePred, sample);
      const kept = sigmas[index + 1]! / sigma;
      const prevSample = combine([kept, sample], [1 - kept, predOriginalSample]);
      return { prevSample, predOriginalSample };
    },
  };
};
