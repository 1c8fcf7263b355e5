import { alphasCumprodTable } from './noise-schedule.ts';
import { checkSignal, noisingByAlpha } from './noising.ts';
import {
  clipOriginalSample,
  combine,
  levelOfAlphaCumprod,
  predictEpsilon,
  predictOriginalSample,
} from './sample-arithmetic.ts';
import type { CreateSolver } from './scheduler.ts';
import { integerTimesteps } from './timestep-spacing.ts';

/** Creates DDIM (arXiv 2010.02502, eq. 12 and 16); with eta 1 it adds as much noise as DDPM. */
export const createDdim: CreateSolver = (settings, { numInferenceSteps, eta }) => {
  const alphas = alphasCumprodTable(settings);
  const timesteps = integerTimesteps(settings, numInferenceSteps);
  checkSignal(settings, alphas, timesteps);
  const stride = Math.floor(settings.numTrainTimesteps / numInferenceSteps);
  const finalAlpha = settings.setAlphaToOne ? 1 : alphas[0]!;
  return {
    timesteps,
    ...noisingByAlpha(alphas, timesteps),
    step(noisePred, index, sample, randn) {
      const timestep = timesteps[index]!;
      const alpha = alphas[timestep]!;
      const prevAlpha = timestep >= stride ? alphas[timestep - stride]! : finalAlpha;
      const level = levelOfAlphaCumprod(alpha);
      const predOriginalSample = clipOriginalSample(
        settings,
        predictOriginalSample(settings.predictionType, level, noisePred, sample),
      );
      const epsilon = predictEpsilon(settings.predictionType, level, noisePred, sample);
      const sigma = eta * Math.sqrt(((1 - prevAlpha) / (1 - alpha)) * (1 - alpha / prevAlpha));
      // Rounding can leave a small negative number where eta is 1 and no signal came before.
      const direction = Math.sqrt(Math.max(1 - prevAlpha - sigma ** 2, 0));
      const mean = combine([Math.sqrt(prevAlpha), predOriginalSample], [direction, epsilon]);
      const prevSample = eta > 0 ? combine([1, mean], [sigma, randn(sample.length)]) : mean;
      return { prevSample, predOriginalSample };
    },
  };
};
