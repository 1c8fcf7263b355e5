/** Files of Slack: what people shared is fetched with the bot's token, pictures go up by the external flow. */
import { setTimeout as sleep } from 'node:timers/promises';
import { UserError } from '../../shared/errors.ts';
import type { BlobRef } from '../../shared/jobs.ts';
import { collectBytes, tooLarge } from '../collect-bytes.ts';
import type { MessageRef, ReplyPicture } from '../platform.ts';
import type { Bridge } from './bridge.ts';
import type { UploadedPicture } from './message.ts';

/** A file that a person shared, as Slack's payloads carry it. */
export interface SharedFile {
  readonly id: string;
}

interface FileFacts {
  readonly name: string;
  readonly size: number;
  readonly url: string;
}

const HOST = 'files.slack.com';
const TIMEOUT_MS = 60_000;

/**
 * Copies shared files into the store.
 * @throws UserError if one is too large, gone, or no picture
 */
export async function keepFiles(bridge: Bridge, files: readonly SharedFile[]): Promise<BlobRef[]> {
  return Promise.all(
    files.map(async ({ id }) => {
      const facts = await readFacts(bridge, id);
      return bridge.inbox.keepUpload(await download(bridge, facts), facts.name);
    }),
  );
}

/** Payloads of forms and of Slack Connect say little of a file, so it is asked for. */
async function readFacts({ client }: Bridge, id: string): Promise<FileFacts> {
  const { file } = await client.files.info({ file: id });
  const url = file?.url_private_download ?? file?.url_private;
  if (url === undefined) throw new UserError(`Cannot read ${file?.name ?? 'the file'}: it must be a file in Slack`);
  return { name: file?.name ?? 'picture', size: file?.size ?? 0, url };
}

async function download(
  { botToken, maxUploadBytes, testOrigin }: Bridge,
  { name, size, url }: FileFacts,
): Promise<Uint8Array> {
  const { protocol, hostname, origin } = new URL(url);
  // The token goes to Slack's own host and to no other.
  if (origin !== testOrigin && !(protocol === 'https:' && hostname === HOST)) {
    throw new Error(`Cannot fetch ${name}: its host must be ${HOST}, got ${url}`);
  }
  if (size > maxUploadBytes) throw tooLarge(name, maxUploadBytes);
  const headers = { authorization: `Bearer ${botToken}` };
  const response = await fetch(url, { headers, redirect: 'error', signal: AbortSignal.timeout(TIMEOUT_MS) });
  if (response.status === 404) throw new UserError(`Cannot read ${name}: it is no longer there, attach it again`);
  if (!response.ok || response.body === null) {
    throw new Error(`Cannot fetch ${name}: the status must be 200, got ${response.status}`);
  }
  // Without the scope Slack answers with its sign-in page.
  if (response.headers.get('content-type')?.startsWith('text/html')) {
    throw new Error(`Cannot fetch ${name}: the app must have the scope files:read, got a web page`);
  }
  return collectBytes(response.body, name, maxUploadBytes);
}

/** Where files are shared: in the thread under a message. */
export interface Thread {
  readonly channelId: string;
  readonly threadTs: string;
}

/** The thread that a message is in, or else starts. */
export function threadOf({ channelId, messageId, threadId }: MessageRef): Thread {
  return { channelId, threadTs: threadId ?? messageId };
}

/** @param names  file names, by which an upload is known again after a crash */
export async function sharePictures(
  bridge: Bridge,
  pictures: readonly ReplyPicture[],
  { thread, names }: { thread: Thread; names: readonly string[] },
): Promise<UploadedPicture[]> {
  const { client } = bridge;
  const uploaded: UploadedPicture[] = [];
  for (const [index, { blob, altText }] of pictures.entries()) {
    const bytes = await bridge.inbox.readBlob(blob);
    uploaded.push({ fileId: await upload(bridge, bytes, { name: names[index]!, altText }), altText });
  }
  const files = uploaded.map(({ fileId, altText }) => ({ id: fileId, title: altText.slice(0, 100) || 'Picture' }));
  await client.files.completeUploadExternal({
    files: files as [(typeof files)[number], ...typeof files],
    channel_id: thread.channelId,
    thread_ts: thread.threadTs,
  });
  return uploaded;
}

async function upload(
  { client }: Bridge,
  bytes: Uint8Array,
  { name, altText }: { name: string; altText: string },
): Promise<string> {
  // The method's name for it is alt_txt; the client's own types say alt_text, which Slack would ignore.
  const alt = altText === '' ? {} : { alt_txt: altText.slice(0, MAX_ALT_TEXT) };
  const upload = { filename: name, length: bytes.byteLength, ...alt };
  const place = (await client.apiCall('files.getUploadURLExternal', upload)) as {
    file_id?: string;
    upload_url?: string;
  };
  const response = await fetch(place.upload_url!, {
    method: 'POST',
    body: bytes,
    signal: AbortSignal.timeout(TIMEOUT_MS),
  });
  if (!response.ok) throw new Error(`Cannot upload ${name}: the status must be 200, got ${response.status}`);
  return place.file_id!;
}

const MAX_ALT_TEXT = 1000;
const POLL_MS = 500;
const MAX_POLLS = 40;

/**
 * Waits until Slack has shared a file, which it does after it has answered.
 * @returns whether it has
 */
export async function isShared({ client }: Bridge, fileId: string, channelId: string): Promise<boolean> {
  for (let poll = 0; poll < MAX_POLLS; poll++) {
    const { file } = await client.files.info({ file: fileId });
    const shares = { ...file?.shares?.public, ...file?.shares?.private };
    if (shares[channelId] !== undefined) return true;
    await sleep(POLL_MS);
  }
  return false;
}
