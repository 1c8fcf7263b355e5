/** Fetches what people attached: from Discord's own hosts only, and never more than allowed. */
import { UserError } from '../../shared/errors.ts';
import { collectBytes, tooLarge } from '../collect-bytes.ts';

export interface AttachedFile {
  readonly url: string;
  readonly name: string;
  /** As Discord says; the bytes are counted too. */
  readonly size: number;
}

export interface FetchOptions {
  readonly maxBytes: number;
  /** Origin that may serve files besides Discord's, for tests. */
  readonly testOrigin: string | undefined;
}

const HOSTS = new Set(['cdn.discordapp.com', 'media.discordapp.net']);
const TIMEOUT_MS = 60_000;

/**
 * Fetches an attachment whole.
 * @throws UserError if it is too large or gone
 */
export async function fetchAttachment(file: AttachedFile, { maxBytes, testOrigin }: FetchOptions): Promise<Uint8Array> {
  if (!isAllowed(file.url, testOrigin))
    throw new Error(`Cannot fetch an attachment: its host must be Discord's, got ${file.url}`);
  if (file.size > maxBytes) throw tooLarge(file.name, maxBytes);
  // A redirect could lead anywhere.
  const response = await fetch(file.url, { redirect: 'error', signal: AbortSignal.timeout(TIMEOUT_MS) });
  if (response.status === 404 || response.status === 403) {
    throw new UserError(`Cannot read ${file.name}: it is no longer there, attach it again`);
  }
  if (!response.ok || response.body === null) {
    throw new Error(`Cannot fetch an attachment: the status must be 200, got ${response.status}`);
  }
  return collectBytes(response.body, file.name, maxBytes);
}

function isAllowed(url: string, testOrigin: string | undefined): boolean {
  const { protocol, hostname, origin, username } = new URL(url);
  return origin === testOrigin || (protocol === 'https:' && HOSTS.has(hostname) && username === '');
}
