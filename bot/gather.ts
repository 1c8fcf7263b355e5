/** Waits for a turn that carries out all that came meanwhile. */
export type Gathered<I, O> = (item: I) => Promise<O>;

interface Waiting<I, O> {
  readonly item: I;
  readonly resolve: (output: O) => void;
  readonly reject: (reason: unknown) => void;
}

/** Of one turn: what comes after it must not wait for too many. */
const MAX_PER_TURN = 100;

/**
 * Carries out together what comes while an earlier turn is under way: the more people wait, the less each of them costs.
 * Where a turn fails, each of its items is tried alone, so that only what cannot be carried out fails.
 * @param run  gives as many outputs as items, in their order
 */
export function gather<I, O>(run: (items: readonly I[]) => Promise<readonly O[]>): Gathered<I, O> {
  const waiting: Waiting<I, O>[] = [];
  let isRunning = false;
  const takeTurns = async () => {
    isRunning = true;
    while (waiting.length > 0) await takeTurn(run, waiting.splice(0, MAX_PER_TURN));
    isRunning = false;
  };
  return (item) =>
    new Promise((resolve, reject) => {
      waiting.push({ item, resolve, reject });
      if (!isRunning) void takeTurns();
    });
}

async function takeTurn<I, O>(
  run: (items: readonly I[]) => Promise<readonly O[]>,
  turn: readonly Waiting<I, O>[],
): Promise<void> {
  try {
    const outputs = await run(turn.map(({ item }) => item));
    for (const [i, { resolve }] of turn.entries()) resolve(outputs[i] as O);
  } catch (error) {
    if (turn.length === 1) turn[0]?.reject(error);
    else for (const one of turn) await takeTurn(run, [one]);
  }
}
