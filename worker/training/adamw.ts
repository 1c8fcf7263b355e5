import {
  add,
  concat,
  constant,
  div,
  expand,
  greater,
  input,
  mul,
  reduceSum,
  reshape,
  scalar,
  slice,
  sqrt,
  sub,
  where,
} from '../graph/operators.ts';
import { rewrite } from '../graph/rewrite.ts';
import type { Value } from '../graph/value.ts';
import { elementCount } from '../runtime/element-count.ts';
import { type LossScaling, takeScaledStep } from './loss-scaling.ts';

export interface AdamwOptions {
  readonly beta1: number;
  readonly beta2: number;
  readonly epsilon: number;
  readonly weightDecay: number;
  /** Global L2 norm that gradients are scaled down to; undefined leaves them as they are. */
  readonly maxGradNorm: number | undefined;
}

export const ADAMW_DEFAULTS: AdamwOptions = {
  beta1: 0.9,
  beta2: 0.999,
  epsilon: 1e-8,
  weightDecay: 1e-2,
  maxGradNorm: 1,
};

/** A tensor that learns. */
export interface Trainable {
  readonly name: string;
  readonly shape: readonly number[];
  /** Input that stands for it in the description, float32. */
  readonly value: Value;
  /** What it learns by in place of the optimizer's settings. */
  readonly group?: ParameterGroup | undefined;
}

/** Tensors that learn at a rate and decay of their own, such as a text encoder's. */
export interface ParameterGroup {
  /** Multiplies the schedule's learning rate; 1 by default. */
  readonly learningRateScale?: number;
  readonly weightDecay?: number;
}

/** Scalars of one step that the host computes: the schedule's learning rate, 1 - β^t of both moments, and EMA's decay. */
export const adamwInputs = {
  learningRate: 'learning_rate',
  biasCorrection1: 'bias_correction_1',
  biasCorrection2: 'bias_correction_2',
  emaDecay: 'ema_decay',
} as const;

/** The optimizer's state: all trainables one after another in one vector, and a vector for each moment. */
export const STATE_NAMES = ['parameters', 'first_moments', 'second_moments'] as const;
/** The moving average of the parameters, where one is kept. */
export const EMA_NAME = 'moving_average';
export type StateName = (typeof STATE_NAMES)[number];

export interface AdamwStep {
  /** The vectors of the state, before and after. */
  readonly carried: { readonly before: Value; readonly after: Value }[];
  /** Inputs of adamwInputs; with loss scaling they go by the steps that are taken. */
  readonly fed: readonly Value[];
  /** What was to be reported, and grad_norm: the L2 norm of all gradients before clipping. */
  readonly reported: Readonly<Record<string, Value>>;
}

export interface AdamwStepOptions {
  readonly reported: Readonly<Record<string, Value>>;
  readonly hasEma: boolean;
  /** Undefined where the loss is not scaled. */
  readonly scaling: LossScaling | undefined;
}

/**
 * Emits one AdamW step in the order of torch.optim.AdamW: decay, moments, then the update
 * p ← p·(1 - lr·wd) - lr·(m/(1 - β1^t)) / (√(v/(1 - β2^t)) + ε).
 * All trainables lie in one vector, so that the optimizer is a score of nodes however many tensors learn; the description
 * reads its tensors as slices of it. Neighbours that learn alike make a segment of the vector. With loss scaling the
 * gradients are those of the scaled loss; a step in which one of them is not finite changes nothing but scale and counts.
 * @see Loshchilov and Hutter 2019 (arXiv 1711.05101), algorithm 2
 */
export function adamwStep(
  trainables: readonly Trainable[],
  gradients: readonly Value[],
  { reported, hasEma, scaling, ...options }: AdamwOptions & AdamwStepOptions,
): AdamwStep {
  const sizes = trainables.map(({ shape }) => elementCount(shape));
  const total = sizes.reduce((sum, size) => sum + size, 0);
  const [parameters, first, second] = STATE_NAMES.map((name) => input(name, { shape: [total], dtype: 'float32' })) as [
    Value,
    Value,
    Value,
  ];
  const learningRate = fedScalar(adamwInputs.learningRate);
  const joined = concat(
    gradients.map((gradient, i) => reshape(gradient, [sizes[i]!])),
    0,
  );
  const whole = scaling ? div(joined, scaling.scale) : joined;
  const gradNorm = sqrt(reshape(reduceSum(mul(whole, whole), [0]), []));
  const gradient = options.maxGradNorm === undefined ? whole : clip(whole, gradNorm, options.maxGradNorm);
  const scaled = scaling && takeScaledStep(scaling, gradNorm);
  const corrections = [fedScalar(adamwInputs.biasCorrection1), fedScalar(adamwInputs.biasCorrection2)] as const;
  const nextFirst = add(mul(first, number(options.beta1)), mul(gradient, number(1 - options.beta1)));
  const nextSecond = add(mul(second, number(options.beta2)), mul(mul(gradient, gradient), number(1 - options.beta2)));
  const next = moved(parameters, {
    moments: [nextFirst, nextSecond],
    corrections,
    segments: segmentsOf(trainables, options),
    learningRate,
    epsilon: options.epsilon,
  });
  const unlessSkipped = scaled?.unlessSkipped ?? ((after) => after);
  const steps = [
    [parameters, next],
    [first, nextFirst],
    [second, nextSecond],
  ] as const;
  const ema = hasEma ? movingAverage(next) : undefined;
  const states = [
    ...steps.map(([before, after]) => ({ before, after: unlessSkipped(after, before) })),
    ...(ema ? [{ before: ema.before, after: unlessSkipped(ema.after, ema.before) }] : []),
    ...(scaled?.carried ?? []),
  ];
  const names = ['grad_norm', ...Object.keys(reported)];
  const rewritten = rewrite(
    [...states.map(({ after }) => after), gradNorm, ...Object.values(reported)],
    slices(trainables, sizes, parameters),
  );
  return {
    carried: states.map(({ before }, i) => ({ before, after: rewritten[i]! })),
    fed: [learningRate, ...corrections, ...(ema ? [ema.decay] : [])],
    reported: Object.fromEntries(names.map((name, i) => [name, rewritten[states.length + i]!])),
  };
}

interface Move {
  /** Both moments after the step. */
  readonly moments: readonly [first: Value, second: Value];
  /** 1 - β^t of both. */
  readonly corrections: readonly [first: Value, second: Value];
  readonly segments: readonly Segment[];
  readonly learningRate: Value;
  readonly epsilon: number;
}

/** The parameters after decay and update. */
function moved(parameters: Value, { moments, corrections, segments, learningRate, epsilon }: Move): Value {
  const [mean, variance] = moments.map((moment, i) => div(moment, corrections[i]!)) as [Value, Value];
  const rateOf = ({ learningRateScale }: Segment) => mul(learningRate, number(learningRateScale));
  const kept = perSegment(segments, (segment) => sub(number(1), mul(rateOf(segment), number(segment.weightDecay))));
  const change = mul(perSegment(segments, rateOf), div(mean, add(sqrt(variance), number(epsilon))));
  return sub(mul(parameters, kept), change);
}

function fedScalar(name: string): Value {
  return input(name, { shape: [], dtype: 'float32' });
}

function number(value: number): Value {
  return constant([value], [], 'float32');
}

/** A stretch of the vectors whose elements learn alike. */
export interface Segment extends Required<ParameterGroup> {
  readonly size: number;
}

export function segmentsOf(trainables: readonly Trainable[], { weightDecay }: AdamwOptions): Segment[] {
  const segments: Segment[] = [];
  for (const { shape, group } of trainables) {
    const own = { learningRateScale: group?.learningRateScale ?? 1, weightDecay: group?.weightDecay ?? weightDecay };
    const last = segments.at(-1);
    const isAlike = last?.learningRateScale === own.learningRateScale && last.weightDecay === own.weightDecay;
    const size = elementCount(shape) + (isAlike ? last.size : 0);
    segments.splice(isAlike ? -1 : segments.length, 1, { ...own, size });
  }
  return segments;
}

/** A scalar where all elements learn alike, else one number for each element. */
function perSegment(segments: readonly Segment[], make: (segment: Segment) => Value): Value {
  const [first] = segments;
  if (first && segments.length === 1) return make(first);
  return concat(
    segments.map((segment) => expand(reshape(make(segment), [1]), [segment.size])),
    0,
  );
}

/** ema ← ema - (1 - d)·(ema - p), as diffusers' EMAModel. */
function movingAverage(parameters: Value): { before: Value; after: Value; decay: Value } {
  const before = input(EMA_NAME, { shape: parameters.shape, dtype: 'float32' });
  const decay = input(adamwInputs.emaDecay, { shape: [], dtype: 'float32' });
  const after = sub(before, mul(sub(constant([1], [], 'float32'), decay), sub(before, parameters)));
  return { before, after, decay };
}

/** Where each trainable lies in the vector of all parameters. */
function slices(trainables: readonly Trainable[], sizes: readonly number[], parameters: Value): Map<Value, Value> {
  let end = 0;
  return new Map(
    trainables.map(({ value, shape }, i) => {
      const start = end;
      end += sizes[i]!;
      return [value, reshape(slice(parameters, 0, [start, end]), shape)];
    }),
  );
}

/** As torch.nn.utils.clip_grad_norm_: scales by max / (norm + 1e-6) where that is below 1. */
function clip(gradient: Value, gradNorm: Value, maxGradNorm: number): Value {
  const one = scalar(1, gradNorm);
  const ratio = div(scalar(maxGradNorm, gradNorm), add(gradNorm, scalar(1e-6, gradNorm)));
  return mul(gradient, where(greater(one, ratio), ratio, one));
}
