import { gradients } from '../graph/gradient.ts';
import type { OnnxGraph } from '../graph/onnx-graph.ts';
import { input } from '../graph/operators.ts';
import { rewrite } from '../graph/rewrite.ts';
import type { Value } from '../graph/value.ts';
import { type CompileOptions, lowerFor, openSession } from '../runtime/compile.ts';
import { float32Tensor, type Session, type Tensor } from '../runtime/session.ts';
import { type AdamwOptions, EMA_NAME, type Segment, segmentsOf } from './adamw.ts';
import { adamwInPlace, averageInPlace, norm } from './host-adamw.ts';
import {
  emaDecayAt,
  type Lesson,
  type LessonTrainer,
  type Place,
  placesOf,
  type StepFeeds,
  type StepReport,
  type TrainerState,
} from './trainer.ts';

/**
 * A lesson whose device gives gradients and whose optimizer runs on the host. Weights, both moments and gradients are held
 * once, 16 bytes for each number that learns, and 4 more while the gradients come out; an ONNX Loop holds its state before
 * and after a step, and what AdamW computes on the way. Must be disposed of.
 */
export class HostTrainer implements LessonTrainer {
  readonly #session: Session;
  readonly #lesson: Lesson;
  readonly #adamw: AdamwOptions;
  readonly #segments: readonly Segment[];
  readonly #places: readonly Place[];
  /** In the order of the state's vectors. */
  readonly #gradients: Float32Array;

  private constructor(session: Session, lesson: Lesson, adamw: AdamwOptions) {
    this.#session = session;
    this.#lesson = lesson;
    this.#adamw = adamw;
    this.#segments = segmentsOf(lesson.trainables, adamw);
    this.#places = placesOf(lesson.trainables);
    this.#gradients = new Float32Array(this.#places.at(-1)?.end ?? 0);
  }

  /** The graph that a trainer runs. */
  static lower(lesson: Lesson, _adamw: AdamwOptions, options: CompileOptions): OnnxGraph {
    return lowerFor(describeStep(lesson), options);
  }

  static async create(lesson: Lesson, adamw: AdamwOptions, options: CompileOptions): Promise<HostTrainer> {
    return new HostTrainer(await openSession(HostTrainer.lower(lesson, adamw, options), options), lesson, adamw);
  }

  /** The vectors of `state` stay and get new values. */
  async run(state: TrainerState, steps: readonly StepFeeds[], learningRates: readonly number[]): Promise<StepReport[]> {
    const reports: StepReport[] = [];
    for (const [i, feeds] of steps.entries()) reports.push(await this.#step(state, feeds, learningRates[i]!));
    return reports;
  }

  dispose(): Promise<void> {
    return this.#session.dispose();
  }

  async #step(state: TrainerState, feeds: StepFeeds, learningRate: number): Promise<StepReport> {
    const { parameters, first_moments, second_moments, [EMA_NAME]: average } = state.vectors;
    const weights = this.#views(parameters, names.trained);
    const into = this.#views(this.#gradients, names.gradient);
    const results = await this.#session.run({ ...feeds, ...weights }, into);
    const values = (name: string) => results[name]!.data as Float32Array;
    const gradNorm = norm(this.#gradients);
    const { maxGradNorm } = this.#adamw;
    // As torch.nn.utils.clip_grad_norm_.
    const gradientScale = maxGradNorm === undefined ? 1 : Math.min(1, maxGradNorm / (gradNorm + 1e-6));
    const t = state.step + 1;
    adamwInPlace(
      { parameters, firstMoments: first_moments, secondMoments: second_moments, gradients: this.#gradients },
      { ...this.#adamw, segments: this.#segments, learningRate, t, gradientScale },
    );
    if (average) averageInPlace(average, parameters, emaDecayAt(t));
    state.step = t;
    const reported = Object.keys(this.#lesson.reported).map((name) => [name, values(names.reported(name))]);
    return { loss: values(names.loss)[0]!, gradNorm, isSkipped: false, reported: Object.fromEntries(reported) };
  }

  /** Every trainable as a tensor over its place in a vector. */
  #views(vector: Float32Array, nameOf: (name: string) => string): Record<string, Tensor> {
    return Object.fromEntries(
      this.#places.map(({ name, shape, start, end }) => {
        return [nameOf(name), float32Tensor(vector.subarray(start, end), shape)];
      }),
    );
  }
}

/** Names of the session's inputs and outputs: tensors that learn may be called as those of a frozen network beside them. */
const names = {
  trained: (name: string) => `trained:${name}`,
  gradient: (name: string) => `gradient:${name}`,
  reported: (name: string) => `reported:${name}`,
  loss: 'loss',
} as const;

function describeStep({ trainables, loss, reported, isRecomputed }: Lesson): Record<string, Value> {
  const learned = trainables.map(({ value }) => value);
  const slopes = gradients(loss, learned, { isRecomputed });
  // The norm of all gradients is not computed here: ONNX Runtime would keep them all for it, beside the arrays they go to.
  const outputs = {
    [names.loss]: loss,
    ...renamed(reported, names.reported),
    ...Object.fromEntries(slopes.map((slope, i) => [names.gradient(trainables[i]!.name), slope])),
  };
  const fed = trainables.map(({ name, shape, value }) => {
    return [value, input(names.trained(name), { shape, dtype: 'float32' })] as const;
  });
  const values = rewrite(Object.values(outputs), new Map(fed));
  return Object.fromEntries(Object.keys(outputs).map((name, i) => [name, values[i]!]));
}

function renamed(values: Readonly<Record<string, Value>>, nameOf: (name: string) => string): Record<string, Value> {
  return Object.fromEntries(Object.entries(values).map(([name, value]) => [nameOf(name), value]));
}
