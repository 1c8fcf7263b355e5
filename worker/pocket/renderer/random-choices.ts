import { RandomGenerator } from '../../runtime/random.ts';

/** Draws of one seed, in the order in which they are asked for. */
export interface RandomChoices {
  /** A number in [low, high). */
  between(low: number, high: number): number;
  /** True with this probability. */
  chance(probability: number): boolean;
  pick<T>(values: readonly [T, ...T[]] | readonly T[]): T;
}

export function randomChoices(seed: number): RandomChoices {
  const generator = new RandomGenerator(seed);
  const unit = () => generator.uniform(1)[0] ?? 0;
  return {
    between: (low, high) => low + unit() * (high - low),
    chance: (probability) => unit() < probability,
    pick: (values) => {
      const value = values[Math.floor(unit() * values.length)];
      if (value === undefined) throw new Error('Cannot pick a value: the list must not be empty, got []');
      return value;
    },
  };
}
