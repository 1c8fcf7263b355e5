import type { Log } from '../shared/log.ts';
import { pause } from './pause.ts';
import { type BotInbox, type Platform, UnreachableError } from './platform.ts';

export interface Connections {
  /** Ends the attempts that are under way; the platforms stay as they are. */
  stop(): Promise<void>;
}

const MIN_PAUSE_MS = 1000;
const MAX_PAUSE_MS = 60_000;

/**
 * Starts every platform. One that cannot be reached is tried again, with growing pauses, while the others work; any other
 * failure of a first start is thrown.
 */
export async function connectPlatforms(
  platforms: readonly Platform[],
  inbox: BotInbox,
  log: Log,
): Promise<Connections> {
  const ending = new AbortController();
  const retries: Promise<void>[] = [];
  await Promise.all(
    platforms.map(async (platform) => {
      const isConnected = await tryToStart(platform, inbox, { log, pauseMs: MIN_PAUSE_MS });
      if (!isConnected) retries.push(keepTrying(platform, inbox, { log, signal: ending.signal }));
    }),
  );
  return {
    stop: async () => {
      ending.abort();
      await Promise.all(retries);
    },
  };
}

async function keepTrying(
  platform: Platform,
  inbox: BotInbox,
  { log, signal }: { log: Log; signal: AbortSignal },
): Promise<void> {
  let pauseMs = MIN_PAUSE_MS;
  try {
    while (!signal.aborted) {
      await pause(pauseMs, signal);
      if (signal.aborted) return;
      pauseMs = Math.min(2 * pauseMs, MAX_PAUSE_MS);
      if (await tryToStart(platform, inbox, { log, pauseMs })) return;
    }
  } catch (error) {
    log.fatal({ err: error }, `Cannot use ${platform.name}: it stays off until the program is started again`);
  }
}

/** @returns whether it is connected; what no later try can cure is thrown */
async function tryToStart(
  platform: Platform,
  inbox: BotInbox,
  { log, pauseMs }: { log: Log; pauseMs: number },
): Promise<boolean> {
  try {
    await platform.start(inbox);
    return true;
  } catch (error) {
    if (!(error instanceof UnreachableError)) throw error;
    log.error(`${error.message}; it will be tried again in ${Math.round(pauseMs / 1000)} s, everything else works`);
    return false;
  }
}
