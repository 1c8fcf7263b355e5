import { setTimeout as sleep } from 'node:timers/promises';
import { UserError } from '../../shared/errors.ts';

/** How patient a conversation with the hub is. */
export interface HubLimits {
  /** A try ends when no byte arrives for this long. */
  stallMs: number;
  /** Tries per request, the first included. */
  maxAttempts: number;
  /** Pause before the second try; doubles before each further one. */
  backoffMs: number;
}

export const DEFAULT_HUB_LIMITS: HubLimits = { stallMs: 30_000, maxAttempts: 6, backoffMs: 1_000 };

/** Where and as whom to ask. */
export interface Hub {
  /** Origin, perhaps with a path, without a trailing slash. */
  endpoint: string;
  token: string | undefined;
  limits: HubLimits;
  /** Ends everything that is under way. */
  signal: AbortSignal;
  /** Told before each pause between two tries. */
  onRetry(what: string, reason: string): void;
}

/** A failure that another try may cure. */
export class TransientError extends Error {
  override readonly name = 'TransientError';
}

/**
 * Repeats a try while it fails transiently.
 * @param what   the subject of the error: "download unet/config.json"
 * @throws UserError with the last reason when every try failed
 */
export async function withRetries<T>(hub: Hub, what: string, attempt: () => Promise<T>): Promise<T> {
  const { maxAttempts, backoffMs } = hub.limits;
  for (let attemptsMade = 1; ; attemptsMade++) {
    try {
      return await attempt();
    } catch (error) {
      if (!(error instanceof TransientError)) throw error;
      if (attemptsMade === maxAttempts) {
        throw new UserError(
          `Cannot ${what}: ${error.message}, after ${maxAttempts} tries; run the same command again, it continues`,
          { cause: error },
        );
      }
      hub.onRetry(what, error.message);
    }
    // An interrupted pause rejects with a general error; the signal knows the reason.
    const pauseMs = backoffMs * 2 ** (attemptsMade - 1);
    await sleep(pauseMs, undefined, { signal: hub.signal }).catch(() => hub.signal.throwIfAborted());
  }
}

/**
 * Sends one GET to the hub and hands its answer to `consume`.
 * The token goes to the hub's own origin: fetch removes Authorization when a redirect leaves it.
 * @param consume   calls `refresh` whenever bytes arrive; sees statuses 200, 206 and 416 only
 * @throws TransientError when the network or the server fails; UserError when the hub refuses
 */
export async function request<T>(
  hub: Hub,
  url: string,
  headers: Record<string, string>,
  consume: (response: Response, refresh: () => void) => Promise<T>,
): Promise<T> {
  hub.signal.throwIfAborted();
  const stall = new AbortController();
  const timer = setTimeout(() => stall.abort(), hub.limits.stallMs);
  try {
    const response = await fetch(url, {
      // A compressed answer could be neither resumed nor measured against Content-Length.
      headers: { 'accept-encoding': 'identity', ...authorization(hub), ...headers },
      signal: AbortSignal.any([hub.signal, stall.signal]),
    });
    const refusal = refusalOf(response, hub);
    if (refusal !== undefined) {
      await response.body?.cancel();
      throw refusal;
    }
    return await consume(response, () => timer.refresh());
  } catch (error) {
    hub.signal.throwIfAborted();
    if (stall.signal.aborted) throw new TransientError(`no byte came for ${hub.limits.stallMs / 1000} s`);
    throw networkFailure(error, hub) ?? error;
  } finally {
    clearTimeout(timer);
  }
}

function authorization(hub: Hub): Record<string, string> {
  return hub.token === undefined ? {} : { authorization: `Bearer ${hub.token}` };
}

function refusalOf(response: Response, hub: Hub): Error | undefined {
  const { status } = response;
  if (status === 200 || status === 206 || status === 416) return undefined;
  // Links to a storage network are signed and expire, so a refusal there says nothing about the hub's own.
  const isExpiredLink = status === 403 && new URL(response.url).origin !== new URL(hub.endpoint).origin;
  if (isExpiredLink || status === 408 || status === 429 || status >= 500) {
    return new TransientError(`the server answered HTTP ${status}`);
  }
  if (status === 401 || status === 403) return new UserError(accessRefusal(status, hub));
  if (status === 404) return new UserError(`Cannot find it on ${hub.endpoint}: no such repository, revision or file`);
  return new UserError(`Cannot read from ${hub.endpoint}: the server answered HTTP ${status}`);
}

function accessRefusal(status: number, hub: Hub): string {
  const rule = `the repository must be open to you (HTTP ${status})`;
  return hub.token === undefined
    ? `Cannot read from ${hub.endpoint}: ${rule}; it is gated, private or does not exist: accept its terms on its page and set HF_TOKEN`
    : `Cannot read from ${hub.endpoint}: ${rule}; accept its terms on its page with the account that HF_TOKEN belongs to`;
}

/** fetch reports what the network did as a TypeError that carries the socket's error as its cause. */
function networkFailure(error: unknown, hub: Hub): TransientError | undefined {
  if (!(error instanceof TypeError) || !(error.cause instanceof Error)) return undefined;
  const reason = 'code' in error.cause ? String(error.cause.code) : error.cause.message;
  return error.message === 'fetch failed'
    ? new TransientError(
        `no connection to ${new URL(hub.endpoint).host} (${reason}); check the network and HF_ENDPOINT`,
        {
          cause: error,
        },
      )
    : new TransientError(`the connection broke (${reason})`, { cause: error });
}
