import type { Log } from '../shared/log.ts';
import { pause } from './pause.ts';

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
  let waking = new AbortController();
  waking.abort();
  const loop = (async () => {
    while (!isStopped) {
      await pause(everyMs, waking.signal);
      if (isStopped) return;
      waking = new AbortController();
      try {
        if (await run()) waking.abort();
      } catch (error) {
        log.warn({ err: error }, `Cannot ${what}; it will be tried again`);
      }
    }
  })();
  return {
    wake: () => waking.abort(),
    stop: async () => {
      isStopped = true;
      waking.abort();
      await loop;
    },
  };
}
