import { setImmediate } from 'node:timers/promises';

/**
 * Lets the process hear what it was sent, since a session's run blocks its thread.
 * @throws the signal's reason once it is aborted
 */
export async function pauseForSignal(signal: AbortSignal | undefined): Promise<void> {
  await setImmediate();
  signal?.throwIfAborted();
}
