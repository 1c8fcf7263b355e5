import { UserError } from '../../../shared/errors.ts';
import { lambdaOfSigma, multistepSchedule } from './multistep-schedule.ts';
import { noisingBySigma } from './noising.ts';
import { combine, levelOfSigma, predictOriginalSample, type Term } from './sample-arithmetic.ts';
import type { CreateSolver } from './scheduler.ts';

/** A prediction of x0 and the λ at which it was made. */
interface Prediction {
  originalSample: Float32Array;
  lambda: number;
}

/**
 * Creates UniPC (arXiv 2302.04867) of order 1 to 3, predicting x0, with the paper's B2(h) = e^h - 1, known as bh2.
 * The network's output at each step first corrects the step that led to it, then predicts the next.
 * @throws UserError if lower_order_final is false, because a higher order divides by 0 on the way to sigma 0
 */
export const createUnipc: CreateSolver = (settings, { numInferenceSteps }) => {
  if (!settings.lowerOrderFinal && settings.solverOrder > 1) {
    throw new UserError('Cannot use unipc: lower_order_final must be true to end at sigma 0, got false');
  }
  const { timesteps, sigmas } = multistepSchedule(settings, {
    numInferenceSteps,
    usedTimesteps: settings.numTrainTimesteps,
  });
  const levels = Array.from(sigmas, levelOfSigma);
  const history: Prediction[] = [];
  let prevStep: { sample: Float32Array; order: number } | undefined;

  // Both halves integrate from level `index - 1` or `index` to the next one; `slopes` multiply B(h).
  const transfer = (from: number, sample: Float32Array, h: number, slopes: readonly Term[]) => {
    const start = levels[from]!;
    const end = levels[from + 1]!;
    return combine(
      [end.noise / start.noise, sample],
      [-end.signal * Math.expm1(-h), history[0]!.originalSample],
      ...slopes.map(([factor, slope]): Term => [-end.signal * Math.expm1(-h) * factor, slope]),
    );
  };

  const correct = (index: number, predicted: Prediction, step: NonNullable<typeof prevStep>) => {
    const h = predicted.lambda - history[0]!.lambda;
    const nodes = [...history.slice(1, step.order), predicted];
    const weights = step.order === 1 ? [1 / 2] : solve(...momentEquations(nodesOf(nodes, history[0]!, h), h));
    return transfer(index - 1, step.sample, h, slopeTerms(nodes, history[0]!, h, weights));
  };

  const predict = (index: number, sample: Float32Array, order: number) => {
    const h = lambdaOfSigma(sigmas[index + 1]!) - history[0]!.lambda;
    const nodes = history.slice(1, order);
    const weights = order === 2 ? [1 / 2] : solve(...momentEquations(nodesOf(nodes, history[0]!, h), h));
    return transfer(index, sample, h, slopeTerms(nodes, history[0]!, h, weights));
  };

  return {
    timesteps,
    ...noisingBySigma(sigmas),
    step(noisePred, index, sample) {
      const predOriginalSample = predictOriginalSample(settings.predictionType, levels[index]!, noisePred, sample);
      const prediction = { originalSample: predOriginalSample, lambda: lambdaOfSigma(sigmas[index]!) };
      const corrected = prevStep === undefined ? sample : correct(index, prediction, prevStep);
      history.unshift(prediction);
      history.splice(settings.solverOrder);
      const order = Math.min(history.length, timesteps.length - index);
      prevStep = { sample: corrected, order };
      return { prevSample: predict(index, corrected, order), predOriginalSample };
    },
  };
};

/** Places predictions on the axis where the start of the step is 0 and its end 1. */
function nodesOf(predictions: readonly Prediction[], start: Prediction, h: number): number[] {
  return predictions.map(({ lambda }) => (lambda - start.lambda) / h);
}

function slopeTerms(
  predictions: readonly Prediction[],
  start: Prediction,
  h: number,
  weights: readonly number[],
): Term[] {
  const nodes = nodesOf(predictions, start, h);
  return predictions.map(({ originalSample }, index): Term => {
    const scale = 1 / nodes[index]!;
    return [weights[index]!, combine([scale, originalSample], [-scale, start.originalSample])];
  });
}

/** Builds R(h) ρ = φ(h) / B(h), which makes the slopes exact for polynomials in λ. */
function momentEquations(nodes: readonly number[], h: number): [number[][], number[]] {
  const rows: number[][] = [];
  const values: number[] = [];
  let phi = Math.expm1(-h) / -h - 1;
  let factorial = 1;
  for (let power = 0; power < nodes.length; power++) {
    rows.push(nodes.map((node) => node ** power));
    values.push((phi * factorial) / Math.expm1(-h));
    factorial *= power + 2;
    phi = phi / -h - 1 / factorial;
  }
  return [rows, values];
}

/** Solves a square system of at most 3 unknowns by elimination; the nodes are distinct, so no pivot is 0. */
function solve(rows: number[][], values: number[]): number[] {
  const [row, ...rest] = rows;
  const [value, ...restValues] = values;
  if (row === undefined || value === undefined) return [];
  const reduced = rest.map((other) =>
    row.slice(1).map((cell, column) => other[column + 1]! - (other[0]! / row[0]!) * cell),
  );
  const reducedValues = restValues.map((other, index) => other - (rest[index]![0]! / row[0]!) * value);
  const tail = solve(reduced, reducedValues);
  const known = tail.reduce((sum, unknown, index) => sum + unknown * row[index + 1]!, 0);
  return [(value - known) / row[0]!, ...tail];
}
