import { UserError } from '../../../shared/errors.ts';
import { alphasCumprodTable } from './noise-schedule.ts';
import { checkSignal, noisingByAlpha } from './noising.ts';
import { clipOriginalSample, combine, levelOfAlphaCumprod, predictOriginalSample } from './sample-arithmetic.ts';
import type { CreateSolver } from './scheduler.ts';
import type { SolverSettings } from './scheduler-config.ts';

/** Standard deviation of the data in the boundary condition. */
const SIGMA_DATA = 0.5;

/** Picks timesteps evenly from those that the model was distilled on. */
function distilledTimesteps(settings: SolverSettings, numInferenceSteps: number): number[] {
  const { numTrainTimesteps, originalInferenceSteps } = settings;
  if (originalInferenceSteps > numTrainTimesteps) {
    throw new UserError(
      `Cannot use lcm: original_inference_steps must be at most ${numTrainTimesteps}, got ${originalInferenceSteps}`,
    );
  }
  if (numInferenceSteps > originalInferenceSteps) {
    throw new UserError(
      `Cannot space the steps: lcm takes at most ${originalInferenceSteps} steps, got ${numInferenceSteps}`,
    );
  }
  const stride = Math.floor(numTrainTimesteps / originalInferenceSteps);
  const interval = originalInferenceSteps / numInferenceSteps;
  return Array.from(
    { length: numInferenceSteps },
    (_, index) => (originalInferenceSteps - Math.floor(index * interval)) * stride - 1,
  );
}

/**
 * Creates multistep consistency sampling of latent consistency models (arXiv 2310.04378, algorithm 3).
 * predOriginalSample is the output of the consistency function, with its skip connection.
 */
export const createLcm: CreateSolver = (settings, { numInferenceSteps }) => {
  const alphas = alphasCumprodTable(settings);
  const timesteps = distilledTimesteps(settings, numInferenceSteps);
  checkSignal(settings, alphas, timesteps);
  return {
    timesteps,
    ...noisingByAlpha(alphas, timesteps),
    step(noisePred, index, sample, randn) {
      const timestep = timesteps[index]!;
      const level = levelOfAlphaCumprod(alphas[timestep]!);
      const originalSample = clipOriginalSample(
        settings,
        predictOriginalSample(settings.predictionType, level, noisePred, sample),
      );
      const scaledTimestep = timestep * settings.timestepScaling;
      const scale = Math.hypot(scaledTimestep, SIGMA_DATA);
      const skip = (SIGMA_DATA / scale) ** 2;
      const predOriginalSample = combine([scaledTimestep / scale, originalSample], [skip, sample]);

      const nextTimestep = timesteps[index + 1];
      if (nextTimestep === undefined) return { prevSample: predOriginalSample, predOriginalSample };
      const next = levelOfAlphaCumprod(alphas[nextTimestep]!);
      const prevSample = combine([next.signal, predOriginalSample], [next.noise, randn(sample.length)]);
      return { prevSample, predOriginalSample };
    },
  };
};
