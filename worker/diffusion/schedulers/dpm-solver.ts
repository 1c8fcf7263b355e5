import { UserError } from '../../../shared/errors.ts';
import { lambdaOfSigma, multistepSchedule } from './multistep-schedule.ts';
import { sigmaTable } from './noise-schedule.ts';
import { noisingBySigma } from './noising.ts';
import { combine, levelOfSigma, predictOriginalSample, type Term } from './sample-arithmetic.ts';
import type { CreateSolver } from './scheduler.ts';
import type { SolverSettings } from './scheduler-config.ts';
import { roundHalfToEven } from './timestep-spacing.ts';

/** Below this many steps the last ones fall back to lower orders, where lower_order_final allows it. */
const FEW_STEPS = 15;

/** A prediction of x0 and the λ at which it was made. */
interface Prediction {
  originalSample: Float32Array;
  lambda: number;
}

/**
 * Creates multistep DPM-Solver++ of order 1 to 3 (arXiv 2211.01095, algorithm 2), or its stochastic variant SDE-DPM-Solver++.
 * @throws UserError for the stochastic variant at order 3, which has no published update
 */
export const createDpmSolver: CreateSolver = (settings, { numInferenceSteps }) => {
  const isStochastic = settings.algorithmType === 'sde-dpmsolver++';
  if (isStochastic && settings.solverOrder > 2) {
    throw new UserError(`Cannot use sde-dpmsolver++: solver_order must be 1 or 2, got ${settings.solverOrder}`);
  }
  const { timesteps, sigmas } = dpmSchedule(settings, numInferenceSteps);
  const history: Prediction[] = [];
  return {
    timesteps,
    ...noisingBySigma(sigmas),
    step(noisePred, index, sample, randn) {
      const level = levelOfSigma(sigmas[index]!);
      const next = levelOfSigma(sigmas[index + 1]!);
      const lambda = lambdaOfSigma(sigmas[index]!);
      const h = lambdaOfSigma(sigmas[index + 1]!) - lambda;
      const predOriginalSample = predictOriginalSample(settings.predictionType, level, noisePred, sample);
      history.unshift({ originalSample: predOriginalSample, lambda });
      history.splice(settings.solverOrder);

      const order = Math.min(history.length, allowedOrder(settings, index, timesteps.length));
      // The stochastic update is the deterministic one with the exponent doubled, and noise for what that removes.
      const exponent = isStochastic ? 2 * h : h;
      const decay = isStochastic ? Math.exp(-h) : 1;
      const update = originalSampleTerms(history.slice(0, order), h, exponent, settings);
      const prevSample = combine(
        [(next.noise / level.noise) * decay, sample],
        ...update.map(([factor, term]): Term => [next.signal * factor, term]),
        ...(isStochastic ? [[next.noise * Math.sqrt(-Math.expm1(-2 * h)), randn(sample.length)] satisfies Term] : []),
      );
      return { prevSample, predOriginalSample };
    },
  };
};

function dpmSchedule(settings: SolverSettings, numInferenceSteps: number) {
  // The cosine schedule's Karras timesteps are cut, not rounded, in the reference.
  const roundTimestep = settings.betaSchedule === 'squaredcos_cap_v2' ? Math.trunc : roundHalfToEven;
  const isUsed = (sigma: number) => lambdaOfSigma(sigma) >= settings.lambdaMinClipped;
  const usedTimesteps = sigmaTable(settings).filter(isUsed).length;
  return multistepSchedule(settings, { numInferenceSteps, usedTimesteps }, roundTimestep);
}

/** The last step goes to sigma 0, where only order 1 is finite. */
function allowedOrder(settings: SolverSettings, index: number, stepCount: number): number {
  const stepsLeft = stepCount - index;
  const isLowered = stepsLeft === 1 || (stepsLeft === 2 && settings.lowerOrderFinal && stepCount < FEW_STEPS);
  return isLowered ? stepsLeft : settings.solverOrder;
}

/** Integrates the Taylor expansion of x0 in λ; D1 and D2 are its divided differences. */
function originalSampleTerms(
  history: readonly Prediction[],
  h: number,
  exponent: number,
  settings: SolverSettings,
): Term[] {
  const [newest, second, third] = history;
  const m0 = newest!.originalSample;
  const phi1 = -Math.expm1(-exponent);
  if (second === undefined) return [[phi1, m0]];

  const m1 = second.originalSample;
  const r0 = (newest!.lambda - second.lambda) / h;
  const slope = combine([1 / r0, m0], [-1 / r0, m1]);
  const phi2 = 1 - phi1 / exponent;
  if (third === undefined) {
    return [
      [phi1, m0],
      [settings.solverType === 'heun' ? phi2 : phi1 / 2, slope],
    ];
  }
  const r1 = (second.lambda - third.lambda) / h;
  const prevSlope = combine([1 / r1, m1], [-1 / r1, third.originalSample]);
  const curvature = combine([1 / (r0 + r1), slope], [-1 / (r0 + r1), prevSlope]);
  const phi3 = (phi1 - exponent) / exponent ** 2 + 1 / 2;
  return [
    [phi1, m0],
    [phi2, combine([1, slope], [r0, curvature])],
    [phi3, curvature],
  ];
}
