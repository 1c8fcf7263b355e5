/** Pictures that are made or read as a lesson asks for them: no more than a pool of them is ever in memory. */

export interface PoolOptions<T> {
  /** Makes the picture of an index, always the same one. */
  readonly make: (index: number) => Promise<T>;
  /** Pictures that a step may choose from. */
  readonly poolSize: number;
  /** Pictures that each step replaces by new ones. */
  readonly freshPerStep: number;
}

/**
 * Returns a function from the number of a step to the pictures that it may choose from. Pictures are kept for a while, so
 * that a batch is diverse though only a few are made per step; which ones they are depends on the step alone, so that a
 * lesson that goes on sees what an undisturbed one sees.
 */
export function picturePool<T>({ make, poolSize, freshPerStep }: PoolOptions<T>): (step: number) => Promise<T[]> {
  const pool = new Map<number, T>();
  return async (step) => {
    const first = step * freshPerStep;
    for (const index of pool.keys()) if (index < first || index >= first + poolSize) pool.delete(index);
    const wanted = Array.from({ length: poolSize }, (_, i) => first + i);
    const missing = wanted.filter((index) => !pool.has(index));
    const made = await Promise.all(missing.map(make));
    missing.forEach((index, i) => {
      pool.set(index, made[i]!);
    });
    return wanted.map((index) => pool.get(index)!);
  };
}
