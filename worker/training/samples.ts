/** What each step of a lesson sees, drawn from the seed and the number of the step: a lesson that goes on sees the same. */
import { elementCount } from '../runtime/element-count.ts';
import { RandomGenerator } from '../runtime/random.ts';
import { float32Tensor, type Tensor } from '../runtime/session.ts';
import { type LossTarget, lossInputs } from './diffusion-loss.ts';
import { cubicTimestep, minSnrWeight, signalToNoise } from './timesteps.ts';
import type { StepFeeds } from './trainer.ts';

/** One picture that a lesson learns from, encoded once. */
export interface Example {
  /** [C, H, W], times the scaling factor. */
  readonly latents: Float32Array;
  /** Inputs that go with the picture, without the batch axis: prompt embeds, sizes, conditioning image. */
  readonly conditions: Conditions;
}

/** Inputs of one sample by name. */
export type Conditions = Readonly<Record<string, Condition>>;

export interface Condition {
  readonly dims: readonly number[];
  readonly data: Float32Array | BigInt64Array;
}

export interface SampleOptions {
  readonly seed: number;
  /** ᾱ of every training timestep. */
  readonly alphasCumprod: Float64Array;
  readonly target: LossTarget;
  readonly instances: readonly Example[];
  /** Class pictures; as many as instances are seen per step. Empty without prior preservation. */
  readonly classes: readonly Example[];
  /** Whether class samples are the instances of their step under the class prompt, noised alike. */
  readonly isOutputPreserved?: boolean | undefined;
  readonly trainBatchSize: number;
  readonly priorLossWeight: number;
  /** [C, H, W] of the latents. */
  readonly latentShape: readonly [number, number, number];
  readonly snrGamma?: number | undefined;
  readonly offsetNoise?: number | undefined;
  /** T2I-Adapters learn from the early, noisy timesteps above all. */
  readonly hasCubicTimesteps?: boolean | undefined;
  /** Share of the instances that are seen with these conditions instead of their own, to learn without a prompt. */
  readonly emptyPrompt?: { readonly share: number; readonly conditions: Conditions } | undefined;
  /** Further conditions of which every instance is given one at random: the same picture under several prompts. */
  readonly variants?: readonly Conditions[] | undefined;
}

/** Odd, so that steps are spread over all seeds. */
const STEP_STRIDE = 0x9e3779b1;

/** The randomness of a step, counted from 0. */
export function stepGenerator(seed: number, step: number): RandomGenerator {
  return new RandomGenerator((seed + Math.imul(step + 1, STEP_STRIDE)) >>> 0);
}

/**
 * The feeds of one step.
 * @param step  counted from 0
 */
export function stepFeeds(step: number, options: SampleOptions): StepFeeds {
  const { instances, classes, trainBatchSize: count, latentShape } = options;
  const generator = stepGenerator(options.seed, step);
  const pick = (examples: readonly Example[], i: number) => examples[(step * count + i) % examples.length]!;
  const seen = Array.from({ length: count }, (_, i) => {
    return withVariant(withEmptyPrompt(pick(instances, i), generator, options), generator, options);
  });
  if (classes.length > 0) for (let i = 0; i < count; i++) seen.push(pick(classes, i));
  const drawnCount = options.isOutputPreserved ? count : seen.length;
  const drawnTimesteps = Array.from({ length: drawnCount }, () => drawTimestep(generator, options));
  const size = elementCount(latentShape);
  const drawnNoise = offsetNoise(generator.randn(drawnCount * size), generator, options);
  const timesteps = seen.map((_, i) => drawnTimesteps[i % drawnCount]!);
  const noise = Float32Array.from({ length: seen.length * size }, (_, i) => drawnNoise[i % drawnNoise.length]!);
  const { alphasCumprod: alphas } = options;
  const perSample = (values: number[], ...ones: number[]) =>
    float32Tensor(Float32Array.from(values), [seen.length, ...ones]);
  return {
    ...joinConditions(seen),
    [lossInputs.latents]: joinBatch(seen.map(({ latents }) => ({ dims: latentShape, data: latents }))),
    [lossInputs.noise]: float32Tensor(noise, [seen.length, ...latentShape]),
    [lossInputs.timestep]: perSample(timesteps),
    [lossInputs.signal]: perSample(
      timesteps.map((t) => Math.sqrt(alphas[t]!)),
      1,
      1,
      1,
    ),
    [lossInputs.sigma]: perSample(
      timesteps.map((t) => Math.sqrt(1 - alphas[t]!)),
      1,
      1,
      1,
    ),
    [lossInputs.weights]: perSample(timesteps.map((t, i) => sampleWeight(t, i, options))),
  };
}

/** 1/B, times min-SNR for instances or λ for class pictures: the weights of timesteps are for the subject's half alone. */
function sampleWeight(timestep: number, index: number, options: SampleOptions): number {
  const { trainBatchSize: count, priorLossWeight, snrGamma, alphasCumprod, target } = options;
  if (index >= count) return priorLossWeight / count;
  if (snrGamma === undefined) return 1 / count;
  return minSnrWeight(signalToNoise(alphasCumprod[timestep]!), { gamma: snrGamma, target }) / count;
}

function drawTimestep(generator: RandomGenerator, { alphasCumprod, hasCubicTimesteps = false }: SampleOptions): number {
  const count = alphasCumprod.length;
  return hasCubicTimesteps ? cubicTimestep(generator.uniform(1)[0]!, count) : generator.randint(count);
}

function withEmptyPrompt(example: Example, generator: RandomGenerator, { emptyPrompt }: SampleOptions): Example {
  if (!emptyPrompt || emptyPrompt.share === 0) return example;
  const isEmpty = generator.uniform(1)[0]! < emptyPrompt.share;
  return isEmpty ? { ...example, conditions: { ...example.conditions, ...emptyPrompt.conditions } } : example;
}

function withVariant(example: Example, generator: RandomGenerator, { variants = [] }: SampleOptions): Example {
  if (variants.length === 0) return example;
  return { ...example, conditions: { ...example.conditions, ...variants[generator.randint(variants.length)] } };
}

/** Adds noise that is the same over each channel. */
function offsetNoise(
  noise: Float32Array,
  generator: RandomGenerator,
  { offsetNoise: size, latentShape: [channels, height, width] }: SampleOptions,
): Float32Array {
  if (size === undefined) return noise;
  const area = height * width;
  const offsets = generator.randn((noise.length / area / channels) * channels);
  return noise.map((value, i) => value + size * offsets[Math.floor(i / area)]!);
}

function joinConditions(examples: readonly Example[]): Record<string, Tensor> {
  const names = Object.keys(examples[0]!.conditions);
  return Object.fromEntries(
    names.map((name) => [name, joinBatch(examples.map(({ conditions }) => conditions[name]!))]),
  );
}

function joinBatch(parts: readonly Condition[]): Tensor {
  const [first] = parts as readonly [Condition, ...Condition[]];
  const dims = [parts.length, ...first.dims];
  const size = first.data.length;
  if (first.data instanceof BigInt64Array) {
    const data = new BigInt64Array(size * parts.length);
    parts.forEach((part, i) => {
      data.set(part.data as BigInt64Array, i * size);
    });
    return { dtype: 'int64', dims, data };
  }
  const data = new Float32Array(size * parts.length);
  parts.forEach((part, i) => {
    data.set(part.data as Float32Array, i * size);
  });
  return float32Tensor(data, dims);
}
