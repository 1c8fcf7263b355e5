/** Tells when commands come faster than they can be answered. */
export interface Load {
  /** Whether a further command would wait longer for its answer than people and platforms do. */
  isTooHigh(): boolean;
  /** Counts a command until it is answered. */
  during<T>(answer: () => Promise<T>): Promise<T>;
}

/** Platforms give up after 3 seconds. */
const SLOW_MS = 1500;
/** One that is slow by itself, such as the check of a lesson's photos, says nothing about the others while they are few. */
const FEW = 32;
const MAX_WAITING = 400;

export function watchLoad(): Load {
  let waiting = 0;
  let newestMs = 0;
  return {
    isTooHigh: () => waiting >= MAX_WAITING || (waiting > FEW && newestMs > SLOW_MS),
    during: async (answer) => {
      const from = performance.now();
      waiting++;
      try {
        return await answer();
      } finally {
        waiting--;
        newestMs = performance.now() - from;
      }
    },
  };
}
