/** Fetches what people attached: from Discord's own hosts only, and never more than allowed. */
import { UserError } from '../../shared/errors.ts';

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
const MEBIBYTE = 2 ** 20;

/**
 * Fetches an attachment whole.
 * @throws UserError if it is too large or gone
 */
export async function fetchAttachment(file: AttachedFile, { maxBytes, testOrigin }: FetchOptions): Promise<Uint8Array> {
  if (!isAllowed(file.url, testOrigin))
    throw new Error(`Cannot fetch an attachment: its host must be Discord's, got ${file.url}`);
  if (file.size > maxBytes) throw tooLarge(file, maxBytes);
  // A redirect could lead anywhere.
  const response = await fetch(file.url, { redirect: 'error', signal: AbortSignal.timeout(TIMEOUT_MS) });
  if (response.status === 404 || response.status === 403) {
    throw new UserError(`Cannot read ${file.name}: it is no longer there, attach it again`);
  }
  if (!response.ok || response.body === null) {
    throw new Error(`Cannot fetch an attachment: the status must be 200, got ${response.status}`);
  }
  return collect(response.body, () => tooLarge(file, maxBytes), maxBytes);
}

function isAllowed(url: string, testOrigin: string | undefined): boolean {
  const { protocol, hostname, origin, username } = new URL(url);
  return origin === testOrigin || (protocol === 'https:' && HOSTS.has(hostname) && username === '');
}

async function collect(body: AsyncIterable<Uint8Array>, tooMuch: () => Error, maxBytes: number): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let sizeBytes = 0;
  for await (const chunk of body) {
    sizeBytes += chunk.byteLength;
    if (sizeBytes > maxBytes) throw tooMuch();
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

function tooLarge({ name }: AttachedFile, maxBytes: number): UserError {
  return new UserError(
    `Cannot take ${name}: at most ${Math.floor(maxBytes / MEBIBYTE)} MiB, make it smaller and attach it again`,
  );
}
