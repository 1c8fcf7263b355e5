import { createHash, type Hash } from 'node:crypto';
import { createReadStream, statSync } from 'node:fs';
import { type FileHandle, mkdir, open, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { type FileHash, fileUrl, type HubFile, type HubRepository } from './hub.ts';
import { type Hub, request, TransientError, withRetries } from './hub-request.ts';

/**
 * Downloads one file and gives it its name only when its size and hash are the listed ones.
 * Bytes that have come lie in `<target>.part` and are not asked for again, in this call or a later one.
 * @param onBytes   told how many bytes of the file are there
 * @throws UserError when every try failed
 */
export async function downloadFile(
  hub: Hub,
  repository: HubRepository,
  file: HubFile,
  { target, onBytes }: { target: string; onBytes: (receivedBytes: number) => void },
): Promise<void> {
  await mkdir(dirname(target), { recursive: true });
  if (await isWhole(target, file)) return onBytes(file.sizeBytes);
  await rm(target, { force: true });
  await withRetries(hub, `download ${file.path} of ${repository.id}`, () =>
    tryDownload(hub, fileUrl(hub, repository, file.path), { file, part: `${target}.part`, onBytes }),
  );
  await rename(`${target}.part`, target);
  await rm(etagPath(`${target}.part`), { force: true });
}

/** Counts the bytes of a file that an earlier call brought. */
export function bytesOnDisk(target: string): number {
  return sizeOf(target) ?? sizeOf(`${target}.part`) ?? 0;
}

interface Try {
  file: HubFile;
  part: string;
  onBytes: (receivedBytes: number) => void;
}

async function tryDownload(hub: Hub, url: string, { file, part, onBytes }: Try): Promise<void> {
  if ((sizeOf(part) ?? 0) > file.sizeBytes) await discard(part);
  const offset = sizeOf(part) ?? 0;
  const hash = await hashOf(part, file, offset);
  const handle = await open(part, 'a');
  try {
    const receiver = { handle, hash, file, part, receivedBytes: offset, onBytes };
    onBytes(offset);
    if (offset < file.sizeBytes || file.sizeBytes === 0) await receiveRest(hub, url, receiver);
    const hex = receiver.hash.digest('hex');
    if (hex !== file.hash.hex) {
      await discard(part);
      throw new TransientError(`its ${file.hash.algorithm} hash must be ${file.hash.hex}, got ${hex}`);
    }
    await handle.sync();
  } finally {
    await handle.close();
  }
}

interface Receiver extends Try {
  handle: FileHandle;
  hash: Hash;
  receivedBytes: number;
}

async function receiveRest(hub: Hub, url: string, receiver: Receiver): Promise<void> {
  await request(hub, url, await resumeHeaders(receiver), async (response, refresh) => {
    await placeAnswer(response, receiver);
    for await (const chunk of response.body ?? []) {
      refresh();
      await append(receiver, chunk);
    }
  });
  const { receivedBytes, file } = receiver;
  if (receivedBytes < file.sizeBytes) {
    throw new TransientError(`the body ended after ${receivedBytes} of ${file.sizeBytes} bytes`);
  }
}

async function resumeHeaders({ part, receivedBytes }: Receiver): Promise<Record<string, string>> {
  if (receivedBytes === 0) return {};
  const range = { range: `bytes=${receivedBytes}-` };
  const etagFile = etagPath(part);
  if (sizeOf(etagFile) === undefined) return range;
  return { ...range, 'if-range': await readFile(etagFile, 'utf8') };
}

/** Decides where the bytes of an answer belong: at the end of the part, or in place of it. */
async function placeAnswer(response: Response, receiver: Receiver): Promise<void> {
  const { file, part } = receiver;
  if (response.status === 206) {
    const expected = `bytes ${receiver.receivedBytes}-${file.sizeBytes - 1}/${file.sizeBytes}`;
    const contentRange = response.headers.get('content-range');
    if (contentRange === expected) return;
    await discard(part);
    throw new TransientError(`the server must answer with ${expected}, got ${contentRange}`);
  }
  if (response.status === 416) {
    await discard(part);
    throw new TransientError('the server has fewer bytes than it lists');
  }
  const length = Number(response.headers.get('content-length') ?? file.sizeBytes);
  if (length !== file.sizeBytes) throw new TransientError(`the file must have ${file.sizeBytes} bytes, got ${length}`);
  await receiver.handle.truncate(0);
  receiver.receivedBytes = 0;
  receiver.hash = emptyHash(file);
  await keepEtag(response, part);
}

async function append(receiver: Receiver, chunk: Uint8Array): Promise<void> {
  const { handle, hash, file, part, onBytes } = receiver;
  if (receiver.receivedBytes + chunk.byteLength > file.sizeBytes) {
    await discard(part);
    throw new TransientError(`the file must have ${file.sizeBytes} bytes, got more`);
  }
  await handle.appendFile(chunk);
  hash.update(chunk);
  receiver.receivedBytes += chunk.byteLength;
  onBytes(receiver.receivedBytes);
}

/** If-Range takes strong tags only (RFC 9110, section 13.1.5). */
async function keepEtag(response: Response, part: string): Promise<void> {
  const etag = response.headers.get('etag');
  if (etag?.startsWith('"')) await writeFile(etagPath(part), etag);
  else await rm(etagPath(part), { force: true });
}

function etagPath(part: string): string {
  return `${part}.etag`;
}

/** An open handle keeps a discarded part writable but nameless, so the next try starts from nothing. */
async function discard(part: string): Promise<void> {
  await rm(part, { force: true });
  await rm(etagPath(part), { force: true });
}

async function isWhole(target: string, file: HubFile): Promise<boolean> {
  if (sizeOf(target) !== file.sizeBytes) return false;
  return (await hashOf(target, file, file.sizeBytes)).digest('hex') === file.hash.hex;
}

const HASHES: { [Algorithm in FileHash['algorithm']]: (sizeBytes: number) => Hash } = {
  sha256: () => createHash('sha256'),
  gitBlob: (sizeBytes) => createHash('sha1').update(`blob ${sizeBytes}\0`),
};

function emptyHash(file: HubFile): Hash {
  return HASHES[file.hash.algorithm](file.sizeBytes);
}

async function hashOf(path: string, file: HubFile, sizeBytes: number): Promise<Hash> {
  const hash = emptyHash(file);
  if (sizeBytes === 0) return hash;
  for await (const chunk of createReadStream(path, { highWaterMark: 2 ** 20 })) hash.update(chunk);
  return hash;
}

function sizeOf(path: string): number | undefined {
  return statSync(path, { throwIfNoEntry: false })?.size;
}
