import { alphasCumprodTable } from './noise-schedule.ts';
import { checkSignal, noisingByAlpha } from './noising.ts';
import { clipOriginalSample, combine, levelOfAlphaCumprod, predictOriginalSample } from './sample-arithmetic.ts';
import type { CreateSolver } from './scheduler.ts';
import { integerTimesteps } from './timestep-spacing.ts';

const MIN_VARIANCE = 1e-20;

/** Creates ancestral sampling of DDPM (arXiv 2006.11239, eq. 7) between any two timesteps, with its smaller variance. */
export const createDdpm: CreateSolver = (settings, { numInferenceSteps }) => {
  const alphas = alphasCumprodTable(settings);
  const timesteps = integerTimesteps(settings, numInferenceSteps);
  checkSignal(settings, alphas, timesteps);
  return {
    timesteps,
    ...noisingByAlpha(alphas, timesteps),
    step(noisePred, index, sample, randn) {
      const timestep = timesteps[index]!;
      const alphaCumprod = alphas[timestep]!;
      const prevTimestep = timesteps[index + 1];
      const prevAlphaCumprod = prevTimestep === undefined ? 1 : alphas[prevTimestep]!;
      const alpha = alphaCumprod / prevAlphaCumprod;
      const beta = 1 - alpha;
      const predOriginalSample = clipOriginalSample(
        settings,
        predictOriginalSample(settings.predictionType, levelOfAlphaCumprod(alphaCumprod), noisePred, sample),
      );
      const mean = combine(
        [(Math.sqrt(prevAlphaCumprod) * beta) / (1 - alphaCumprod), predOriginalSample],
        [(Math.sqrt(alpha) * (1 - prevAlphaCumprod)) / (1 - alphaCumprod), sample],
      );
      if (timestep === 0) return { prevSample: mean, predOriginalSample };
      const variance = Math.max(((1 - prevAlphaCumprod) / (1 - alphaCumprod)) * beta, MIN_VARIANCE);
      const prevSample = combine([1, mean], [Math.sqrt(variance), randn(sample.length)]);
      return { prevSample, predOriginalSample };
    },
  };
};
