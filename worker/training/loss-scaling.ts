/**
 * Dynamic loss scaling: the loss is multiplied before it is differentiated, so that small gradients stay within float16's range,
 * and a step whose gradients leave it at the upper end is skipped. To the optimizer, to the schedule of its rate and to the
 * moving average a skipped step did not happen, as with accelerate's schedulers. Scale and counts are part of a lesson's state.
 * @see Micikevicius et al. 2018 (arXiv 1710.03740), section 3.2; PyTorch, torch/amp/grad_scaler.py, whose figures these are
 */
import { add, concat, constant, greater, input, mul, reshape, slice, where } from '../graph/operators.ts';
import type { Value } from '../graph/value.ts';

/** Name of the vector of a lesson's state. */
export const SCALING_NAME = 'loss_scaling';

export const INITIAL_SCALE = 2 ** 16;
const GROWTH_FACTOR = 2;
const BACKOFF_FACTOR = 0.5;
/** Good steps in a row after which the scale grows. */
const GROWTH_INTERVAL = 2000;
/** Below it there is nothing left to gain: what overflows now is no matter of scale. */
export const MIN_SCALE = 1;

/** Name of the count of steps that were taken in a run: rates and decays of a run are read at it. */
export const TAKEN_NAME = 'taken';

/** The vector before the first step: scale, good steps in a row, and steps that were skipped. */
export function initialScaling(scale = INITIAL_SCALE): Float32Array {
  return Float32Array.of(scale, 0, 0);
}

export function scaleOf(scaling: Float32Array): number {
  return scaling[0]!;
}

export function skippedOf(scaling: Float32Array): number {
  return scaling[2]!;
}

const LARGEST_FLOAT32 = 2 ** 127 * (2 - 2 ** -23);

/** A state's scaling within a step. */
export interface LossScaling {
  readonly before: Value;
  /** Scalar. */
  readonly scale: Value;
  /** Scalar of int64. */
  readonly taken: Value;
}

export function lossScaling(): LossScaling {
  const before = input(SCALING_NAME, { shape: [3], dtype: 'float32' });
  return { before, scale: entry(before, 0), taken: input(TAKEN_NAME, { shape: [], dtype: 'int64' }) };
}

/** What follows from the norm of a step's gradients. */
export interface ScaledStep {
  readonly carried: readonly { readonly before: Value; readonly after: Value }[];
  /** The value after a step, or the one before it where the step is skipped. */
  readonly unlessSkipped: (after: Value, before: Value) => Value;
}

/** @param gradNorm  of all gradients, the scale taken off: infinite or NaN if one of them is */
export function takeScaledStep({ before, scale, taken }: LossScaling, gradNorm: Value): ScaledStep {
  // Neither infinity nor NaN is below the largest number.
  const isGood = greater(number(LARGEST_FLOAT32), gradNorm);
  const goodSteps = add(entry(before, 1), number(1));
  const isGrowing = greater(goodSteps, number(GROWTH_INTERVAL - 0.5));
  const skipped = entry(before, 2);
  const scaled = (factor: number) => mul(scale, number(factor));
  const unlessSkipped = (after: Value, unchanged: Value) => where(isGood, after, unchanged);
  const after = [
    unlessSkipped(where(isGrowing, scaled(GROWTH_FACTOR), scale), scaled(BACKOFF_FACTOR)),
    unlessSkipped(where(isGrowing, number(0), goodSteps), number(0)),
    unlessSkipped(skipped, add(skipped, number(1))),
  ];
  const vector = concat(
    after.map((value) => reshape(value, [1])),
    0,
  );
  const next = add(taken, constant([1], [], 'int64'));
  return {
    carried: [
      { before, after: vector },
      { before: taken, after: unlessSkipped(next, taken) },
    ],
    unlessSkipped,
  };
}

function entry(vector: Value, index: number): Value {
  return reshape(slice(vector, 0, [index, index + 1]), []);
}

function number(value: number): Value {
  return constant([value], [], 'float32');
}
