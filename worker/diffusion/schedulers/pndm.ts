import { UserError } from '../../../shared/errors.ts';
import { alphasCumprodTable } from './noise-schedule.ts';
import { noisingByAlpha } from './noising.ts';
import { combine, levelOfAlphaCumprod, predictEpsilon, predictOriginalSample, type Term } from './sample-arithmetic.ts';
import type { CreateSolver } from './scheduler.ts';
import { integerTimesteps } from './timestep-spacing.ts';

/** Adams-Bashforth weights, newest output first, per length of the history. */
const MULTISTEP_WEIGHTS = [
  [1],
  [3 / 2, -1 / 2],
  [23 / 12, -16 / 12, 5 / 12],
  [55 / 24, -59 / 24, 37 / 24, -9 / 24],
] as const;

/**
 * Creates PNDM without Runge-Kutta steps, known as PLMS (arXiv 2202.09778, eq. 9 and 12).
 * It visits the second timestep twice, so N steps take N + 1 network calls; the second call redoes the first step with
 * the average of both outputs. As in diffusers it is always the second call that does so, even where sampling starts
 * late and the list has no repeated timestep there.
 */
export const createPndm: CreateSolver = (settings, { numInferenceSteps }) => {
  if (settings.predictionType === 'sample') {
    throw new UserError('Cannot use pndm: prediction_type must be epsilon or v_prediction, got sample');
  }
  const alphas = alphasCumprodTable(settings);
  const distinct = integerTimesteps(settings, numInferenceSteps);
  const timesteps = [...distinct.slice(0, 2), ...distinct.slice(1)];
  const stride = Math.floor(settings.numTrainTimesteps / numInferenceSteps);
  const finalAlpha = settings.setAlphaToOne ? 1 : alphas[0]!;
  const alphaAt = (timestep: number) => (timestep >= 0 ? alphas[timestep]! : finalAlpha);

  const transfer = (timestep: number, prevTimestep: number, sample: Float32Array, output: Float32Array) => {
    const alpha = alphaAt(timestep);
    const prevAlpha = alphaAt(prevTimestep);
    const epsilon = predictEpsilon(settings.predictionType, levelOfAlphaCumprod(alpha), output, sample);
    const divisor = alpha * Math.sqrt(1 - prevAlpha) + Math.sqrt(alpha * (1 - alpha) * prevAlpha);
    return combine([Math.sqrt(prevAlpha / alpha), sample], [(alpha - prevAlpha) / divisor, epsilon]);
  };

  const outputs: Float32Array[] = [];
  let firstSample: Float32Array | undefined;
  let calls = 0;
  return {
    timesteps,
    ...noisingByAlpha(alphas, timesteps),
    step(noisePred, index, sample) {
      const timestep = timesteps[index]!;
      const level = levelOfAlphaCumprod(alphas[timestep]!);
      const predOriginalSample = predictOriginalSample(settings.predictionType, level, noisePred, sample);
      calls += 1;
      if (calls === 2) {
        const average = combine([1 / 2, noisePred], [1 / 2, outputs[0]!]);
        return { prevSample: transfer(timestep + stride, timestep, firstSample!, average), predOriginalSample };
      }
      if (calls === 1) firstSample = sample;
      outputs.unshift(noisePred);
      outputs.splice(MULTISTEP_WEIGHTS.length);
      const weights = MULTISTEP_WEIGHTS[outputs.length - 1]!;
      const output = combine(...weights.map((weight, age): Term => [weight, outputs[age]!]));
      return { prevSample: transfer(timestep, timestep - stride, sample, output), predOriginalSample };
    },
  };
};
