import { elementCount } from '../runtime/element-count.ts';
import type { RandomGenerator } from '../runtime/random.ts';
import type { Trainable } from './adamw.ts';

export interface FreshWeightOptions {
  readonly generator: RandomGenerator;
  /** Tensors that start at 0, by name: a branch that begins as nothing lets the rest be learned first. */
  readonly isZero?: (name: string) => boolean;
}

/**
 * Where networks start that were never trained: torch's defaults for convolutions and linear layers, uniform within
 * 1/√fan-in; norms that change nothing; and embeddings in which words are far apart.
 */
export function freshWeights(
  trainables: readonly Trainable[],
  { generator, isZero = () => false }: FreshWeightOptions,
): Map<string, Float32Array> {
  const shapes = new Map(trainables.map(({ name, shape }) => [name, shape]));
  return new Map(
    trainables.map(({ name, shape }) => {
      const size = elementCount(shape);
      if (isZero(name)) return [name, new Float32Array(size)];
      return [name, freshTensor(name, size, { shapes, generator })];
    }),
  );
}

/**
 * With CLIP's 0.02 for both, what the first layers add buries which word it was: after 80,000 pictures a UNet that learned
 * with such an encoder knew no noun and no colour.
 */
const EMBEDDING_DEVIATIONS = { token: 1, position: 0.02 } as const;

function freshTensor(
  name: string,
  size: number,
  { shapes, generator }: { shapes: ReadonlyMap<string, readonly number[]>; generator: RandomGenerator },
): Float32Array {
  const embedded = /(token|position)_embedding\.weight$/.exec(name)?.[1] as
    | keyof typeof EMBEDDING_DEVIATIONS
    | undefined;
  if (embedded) return generator.randn(size).map((value) => EMBEDDING_DEVIATIONS[embedded] * value);
  const weight = shapes.get(name.replace(/bias$/, 'weight'))!;
  // The scale and shift of a norm are vectors.
  if (weight.length === 1) return new Float32Array(size).fill(name.endsWith('.bias') ? 0 : 1);
  const bound = 1 / Math.sqrt(elementCount(weight.slice(1)));
  return generator.uniform(size).map((value) => (2 * value - 1) * bound);
}
