import type { Logger } from 'pino';

/** Answers that are under way after their delivery was acknowledged. */
export interface PendingWork {
  /** @param what  for the log, should it fail: "answer a command" */
  track(what: string, work: Promise<void>): void;
  /** Waits for all that is under way. */
  settle(): Promise<void>;
}

export function createPendingWork(log: Logger): PendingWork {
  const pending = new Set<Promise<void>>();
  return {
    track: (what, work) => {
      const tracked: Promise<void> = work
        .catch((error: unknown) => log.error({ err: error }, `Cannot ${what}`))
        .finally(() => pending.delete(tracked));
      pending.add(tracked);
    },
    settle: async () => {
      await Promise.all(pending);
    },
  };
}
