import type { Log } from '../shared/log.ts';

export interface Repeated {
  /** Runs it again as soon as the present run has ended. */
  wake(): void;
  /** Waits for the present run and ends. */
  stop(): Promise<void>;
}

export interface RepeatOptions {
  /** Milliseconds between runs that nobody asked for. */
  readonly everyMs: number;
  readonly log: Log;
  /** What it does, for the log: "enqueue jobs". */
  readonly what: string;
}

/**
 * Runs something now, at every wake-up and every few seconds, one run at a time. A failure is logged and the next run
 * tries again: what it works on lies in the database.
 * @param run  says whether it wants to be run again at once
 */
export function repeat(run: () => Promise<boolean>, { everyMs, log, what }: RepeatOptions): Repeated {
  let isStopped = false;
  let isWoken = true;
  let wakeUp = () => {};
  const loop = (async () => {
    while (!isStopped) {
      if (!isWoken) await sleep(everyMs, (wake) => (wakeUp = wake));
      if (isStopped) return;
      isWoken = false;
      try {
        if (await run()) isWoken = true;
      } catch (error) {
        log.warn({ err: error }, `Cannot ${what}; it will be tried again`);
      }
    }
  })();
  const wake = () => {
    isWoken = true;
    wakeUp();
  };
  return {
    wake,
    stop: async () => {
      isStopped = true;
      wake();
      await loop;
    },
  };
}

function sleep(ms: number, onStart: (wake: () => void) => void): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    onStart(() => {
      clearTimeout(timer);
      resolve();
    });
  });
}
