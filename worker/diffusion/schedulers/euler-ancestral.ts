import { UserError } from '../../../shared/errors.ts';
import { noisingAtFullSignal, sigmaSchedule } from './noising.ts';
import { combine, predictOriginalSampleFromSigma } from './sample-arithmetic.ts';
import type { CreateSolver } from './scheduler.ts';

/** Creates Euler steps to below the next sigma, with fresh noise up to it; equals DDPM on the same timesteps. */
export const createEulerAncestral: CreateSolver = (settings, { numInferenceSteps }) => {
  if (settings.predictionType === 'sample') {
    throw new UserError('Cannot use euler-a: prediction_type must be epsilon or v_prediction, got sample');
  }
  // The class knows no Karras spacing.
  const { timesteps, sigmas } = sigmaSchedule({ ...settings, useKarrasSigmas: false }, numInferenceSteps);
  return {
    timesteps,
    ...noisingAtFullSignal(sigmas, settings),
    step(noisePred, index, sample, randn) {
      const sigma = sigmas[index]!;
      const nextSigma = sigmas[index + 1]!;
      const predOriginalSample = predictOriginalSampleFromSigma(settings.predictionType, sigma, noisePred, sample);
      // down² + up² = nextSigma², with up² the posterior variance of DDPM.
      const down = nextSigma ** 2 / sigma;
      const up = Math.sqrt(nextSigma ** 2 - down ** 2);
      const kept = down / sigma;
      const prevSample = combine([kept, sample], [1 - kept, predOriginalSample], [up, randn(sample.length)]);
      return { prevSample, predOriginalSample };
    },
  };
};
