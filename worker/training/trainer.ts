import { gradients } from '../graph/gradient.ts';
import { loopNames } from '../graph/loop.ts';
import type { OnnxGraph } from '../graph/onnx-graph.ts';
import { mul } from '../graph/operators.ts';
import type { Value } from '../graph/value.ts';
import { type CompileOptions, lowerLoopFor, openSession } from '../runtime/compile.ts';
import { elementCount } from '../runtime/element-count.ts';
import { float32Tensor, int64Tensor, type Session, type Tensor } from '../runtime/session.ts';
import {
  type AdamwOptions,
  adamwInputs,
  adamwStep,
  EMA_NAME,
  STATE_NAMES,
  type StateName,
  type Trainable,
} from './adamw.ts';
import { initialScaling, lossScaling, SCALING_NAME, skippedOf, TAKEN_NAME } from './loss-scaling.ts';

/** What a lesson computes in one step. */
export interface Lesson {
  readonly trainables: readonly Trainable[];
  /** Scalar. */
  readonly loss: Value;
  /** Inputs that differ from step to step. */
  readonly perStep: readonly Value[];
  /** Whether a moving average of the parameters is kept beside them. */
  readonly hasEma?: boolean;
  /** Whether activations are computed again in the backward pass instead of being kept. */
  readonly isRecomputed?: boolean;
  /** Whether gradients are those of a scaled loss, because some of them are computed in float16. */
  readonly isLossScaled?: boolean;
  /** Further values to report of every step. */
  readonly reported: Readonly<Record<string, Value>>;
}

/** The feeds of one step, by input name, without the optimizer's. */
export type StepFeeds = Readonly<Record<string, Tensor>>;

export interface StepReport {
  readonly loss: number;
  /** L2 norm of all gradients before clipping. */
  readonly gradNorm: number;
  /** Whether the step changed nothing but the loss scaling, because a gradient was not finite. */
  readonly isSkipped: boolean;
  /** Reported values of the lesson, flattened. */
  readonly reported: Readonly<Record<string, Float32Array>>;
}

/** Vectors that not every lesson has. */
const FURTHER_NAMES = [EMA_NAME, SCALING_NAME] as const;
type FurtherStateName = (typeof FURTHER_NAMES)[number];

/** Everything that a lesson has learned and needs to go on. */
export interface TrainerState {
  /** Steps that are over, those that were skipped too. */
  step: number;
  /** All trainables one after another, the moments in the same order, and what else is kept: moving average, loss scaling. */
  readonly vectors: Record<StateName, Float32Array> & { [N in FurtherStateName]?: Float32Array };
}

/** Starts a lesson's state from the initial values of what it trains; the average, if one is kept, starts there too. */
export function initialState(
  trainables: readonly Trainable[],
  values: ReadonlyMap<string, Float32Array>,
  { hasEma = false, isLossScaled = false }: Pick<Lesson, 'hasEma' | 'isLossScaled'> = {},
): TrainerState {
  const total = learningCount(trainables);
  const parameters = new Float32Array(total);
  for (const { name, start, end } of placesOf(trainables)) {
    const size = end - start;
    const value = values.get(name);
    if (value?.length !== size)
      throw new Error(`Cannot start the lesson: ${name} needs ${size} values, got ${value?.length ?? 'none'}`);
    parameters.set(value, start);
  }
  const zeros = () => new Float32Array(total);
  const average = hasEma ? { [EMA_NAME]: parameters.slice() } : {};
  const scaling = isLossScaled ? { [SCALING_NAME]: initialScaling() } : {};
  return { step: 0, vectors: { parameters, first_moments: zeros(), second_moments: zeros(), ...average, ...scaling } };
}

/** Optimizer steps that have been taken: where the schedule of the learning rate is. */
export function takenSteps({ step, vectors }: TrainerState): number {
  const scaling = vectors[SCALING_NAME];
  return step - (scaling ? skippedOf(scaling) : 0);
}

/** What takes a lesson's steps on a device. */
export interface LessonTrainer {
  /**
   * Takes one optimizer step per entry, replacing the vectors of `state` or their values.
   * @param learningRates  of the next steps that are taken, as many as entries: a step that is skipped uses none up
   */
  run(state: TrainerState, steps: readonly StepFeeds[], learningRates: readonly number[]): Promise<StepReport[]>;
  dispose(): Promise<void>;
}

/**
 * Finds the trained tensors in a state: the averaged ones if an average was kept. They are views that are good until the
 * next run.
 */
export function trainedTensors(trainables: readonly Trainable[], { vectors }: TrainerState): Map<string, Float32Array> {
  const learned = vectors[EMA_NAME] ?? vectors.parameters;
  return new Map(placesOf(trainables).map(({ name, start, end }) => [name, learned.subarray(start, end)]));
}

/** Numbers that learn. */
export function learningCount(trainables: Lesson['trainables']): number {
  return trainables.reduce((sum, { shape }) => sum + elementCount(shape), 0);
}

/** Where a trainable lies in a state's vectors. */
export interface Place extends Pick<Trainable, 'name' | 'shape'> {
  readonly start: number;
  readonly end: number;
}

export function placesOf(trainables: readonly Trainable[]): Place[] {
  let end = 0;
  return trainables.map(({ name, shape }) => {
    const start = end;
    end += elementCount(shape);
    return { name, shape, start, end };
  });
}

/** A lesson compiled on a device; runs any number of steps per call in one ONNX Loop. Must be disposed of. */
export class Trainer implements LessonTrainer {
  readonly #session: Session;
  readonly #lesson: Lesson;
  readonly #adamw: AdamwOptions;

  private constructor(session: Session, lesson: Lesson, adamw: AdamwOptions) {
    this.#session = session;
    this.#lesson = lesson;
    this.#adamw = adamw;
  }

  /** The graph that a trainer runs. */
  static lower(lesson: Lesson, adamw: AdamwOptions, options: CompileOptions): OnnxGraph {
    const { trainables, loss, perStep, reported } = lesson;
    const learned = trainables.map(({ value }) => value);
    const scaling = lesson.isLossScaled ? lossScaling() : undefined;
    const scaledLoss = scaling ? mul(loss, scaling.scale) : loss;
    const slopes = gradients(scaledLoss, learned, { isRecomputed: lesson.isRecomputed });
    const optimizer = adamwStep(trainables, slopes, {
      ...adamw,
      hasEma: lesson.hasEma ?? false,
      scaling,
      reported: { loss, ...reported },
    });
    const { carried, fed } = optimizer;
    const fedAs = scaling
      ? { perStep, perCount: { count: scaling.taken, inputs: fed } }
      : { perStep: [...perStep, ...fed] };
    return lowerLoopFor({ carried, reported: optimizer.reported, ...fedAs }, options);
  }

  static async create(lesson: Lesson, adamw: AdamwOptions, options: CompileOptions): Promise<Trainer> {
    return new Trainer(await openSession(Trainer.lower(lesson, adamw, options), options), lesson, adamw);
  }

  async run(state: TrainerState, steps: readonly StepFeeds[], learningRates: readonly number[]): Promise<StepReport[]> {
    const taken = takenSteps(state);
    const results = await this.#session.run({
      [loopNames.iterations]: int64Tensor([steps.length], []),
      ...Object.fromEntries(vectorNames(state).map((name) => [loopNames.initial(name), vector(state.vectors[name]!)])),
      ...stackFeeds(
        [...steps.keys()].map((i) => ({ ...steps[i], ...this.#optimizerFeeds(taken + i + 1, learningRates[i]!) })),
      ),
      ...(this.#lesson.isLossScaled && { [loopNames.initial(TAKEN_NAME)]: int64Tensor([0], []) }),
    });
    for (const name of vectorNames(state)) state.vectors[name] = results[loopNames.final(name)]!.data as Float32Array;
    state.step += steps.length;
    return steps.map((_, i) => this.#report(results, i, steps.length));
  }

  dispose(): Promise<void> {
    return this.#session.dispose();
  }

  /** @param t  the optimizer's step, counted from 1 without those that were skipped */
  #optimizerFeeds(t: number, learningRate: number): Record<string, Tensor> {
    const scalar = (value: number) => float32Tensor(Float32Array.of(value), []);
    return {
      [adamwInputs.learningRate]: scalar(learningRate),
      [adamwInputs.biasCorrection1]: scalar(1 - this.#adamw.beta1 ** t),
      [adamwInputs.biasCorrection2]: scalar(1 - this.#adamw.beta2 ** t),
      ...(this.#lesson.hasEma && { [adamwInputs.emaDecay]: scalar(emaDecayAt(t)) }),
    };
  }

  #report(results: Readonly<Record<string, Tensor>>, index: number, count: number): StepReport {
    const entry = (name: string) => {
      const data = results[loopNames.reported(name)]!.data as Float32Array;
      return data.slice((index * data.length) / count, ((index + 1) * data.length) / count);
    };
    const gradNorm = entry('grad_norm')[0]!;
    return {
      loss: entry('loss')[0]!,
      gradNorm,
      isSkipped: this.#lesson.isLossScaled === true && !Number.isFinite(gradNorm),
      reported: Object.fromEntries(Object.keys(this.#lesson.reported).map((name) => [name, entry(name)])),
    };
  }
}

/** Names of the vectors that a state holds. */
export function vectorNames({ vectors }: TrainerState): (StateName | FurtherStateName)[] {
  return [...STATE_NAMES, ...FURTHER_NAMES.filter((name) => vectors[name])];
}

/**
 * The decay of diffusers' EMAModel: min(0.9999, (1 + s)/(10 + s)) with s = t - 1, and 0 at the first step.
 * @param t  the optimizer's step, counted from 1
 */
export function emaDecayAt(t: number): number {
  return t <= 1 ? 0 : Math.min(0.9999, t / (9 + t));
}

function vector(data: Float32Array): Tensor {
  return float32Tensor(data, [data.length]);
}

/** Joins the feeds of several steps along a new first axis. */
function stackFeeds(steps: readonly StepFeeds[]): Record<string, Tensor> {
  const [first] = steps;
  if (!first) throw new Error('Cannot train: at least one step is needed, got none');
  return Object.fromEntries(
    Object.entries(first).map(([name, { dtype, dims, data }]) => {
      if (dtype === 'bool') throw new Error(`Cannot train: ${name} must be float32 or int64, got bool`);
      const stacked =
        dtype === 'int64'
          ? new BigInt64Array(data.length * steps.length)
          : new Float32Array(data.length * steps.length);
      // The two array types are set from arrays of their own kind: every step feeds the same dtype.
      steps.forEach((step, i) => {
        stacked.set(step[name]!.data as never, i * data.length);
      });
      return [loopNames.stacked(name), { dtype, dims: [steps.length, ...dims], data: stacked } as Tensor];
    }),
  );
}
