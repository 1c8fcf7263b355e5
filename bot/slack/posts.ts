/**
 * Results as messages. A message comes first, without its pictures: Slack shares files after it has answered and does not
 * say where, but a message can be answered, reacted to and edited at once. Its pictures go into its thread, and when Slack
 * has them, into the message too.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { ReplyTo } from '../../shared/jobs.ts';
import type { MessageRef, Reply, ReplyPicture } from '../platform.ts';
import { request, slackError } from './api-errors.ts';
import type { Bridge } from './bridge.ts';
import { isShared, sharePictures, threadOf } from './files.ts';
import { picturesOf, toMessage, type UploadedPicture } from './message.ts';

/** Name of the metadata by which a message of ours is found again. */
const EVENT_TYPE = 'sketchbooth_post';

type PostState = 'begun' | 'whole';

function metadata(key: string, state: PostState) {
  return { event_type: EVENT_TYPE, event_payload: { key, state } };
}

/** Nothing of a message is ever turned into a link with a preview. */
const QUIET = { unfurl_links: false, unfurl_media: false } as const;

export async function post(
  bridge: Bridge,
  to: ReplyTo,
  { reply, key }: { reply: Reply; key: string },
): Promise<MessageRef> {
  const hasPictures = picturesOf(reply).length > 0;
  const message = bridge.unfinished.get(key) ?? (await begin(bridge, to, { reply, key, hasPictures }));
  if (hasPictures) await addPictures(bridge, message, { reply, key });
  bridge.unfinished.delete(key);
  return message;
}

async function begin(
  { client }: Bridge,
  { place }: ReplyTo,
  { reply, key, hasPictures }: { reply: Reply; key: string; hasPictures: boolean },
): Promise<MessageRef> {
  const { channelId, threadId } = place;
  const posted = await request('post a result', () =>
    client.chat.postMessage({
      channel: channelId,
      ...(threadId !== undefined && { thread_ts: threadId }),
      ...toMessage(reply, { isMentioning: true }),
      ...QUIET,
      metadata: metadata(key, hasPictures ? 'begun' : 'whole'),
    }),
  );
  return {
    platform: 'slack',
    channelId: posted.channel!,
    messageId: posted.ts!,
    ...(threadId !== undefined && { threadId }),
  };
}

async function addPictures(
  bridge: Bridge,
  message: MessageRef,
  { reply, key }: { reply: Reply; key: string },
): Promise<void> {
  const pictures = picturesOf(reply);
  const names = pictures.map((_, index) => `${key}-${index + 1}.png`);
  const thread = threadOf(message);
  const uploaded =
    (await findShared(bridge, message, { pictures, names })) ??
    (await request('share pictures', () => sharePictures(bridge, pictures, { thread, names })));
  const shared = await Promise.all(uploaded.map(({ fileId }) => isShared(bridge, fileId, message.channelId)));
  await showPictures(bridge, message, { reply, key, pictures: shared.every(Boolean) ? uploaded : [] });
}

/** Slack may take a file a moment before it takes blocks that show it. */
const NOT_READY = new Set(['invalid_blocks', 'file_not_found', 'slack_file_not_found']);

/** Where Slack does not take the pictures into the message, they stay in its thread. */
async function showPictures(
  { client, log }: Bridge,
  { channelId, messageId }: MessageRef,
  { reply, key, pictures }: { reply: Reply; key: string; pictures: readonly UploadedPicture[] },
): Promise<void> {
  const update = (shown: readonly UploadedPicture[]) =>
    client.chat.update({
      channel: channelId,
      ts: messageId,
      ...toMessage(reply, { isMentioning: true, pictures: shown }),
      metadata: metadata(key, 'whole'),
    });
  try {
    await update(pictures);
  } catch (error) {
    if (!NOT_READY.has(slackError(error) ?? '')) throw error;
    log.warn({ err: error, key }, 'Slack does not show pictures in a message; they are in its thread');
    await update([]);
  }
}

const PAGE = 100;
/** How far back a message is looked for. */
const PAGES = 5;

interface PastMessage {
  readonly ts?: string;
  readonly thread_ts?: string;
  readonly metadata?: { readonly event_type?: string; readonly event_payload?: { key?: unknown; state?: unknown } };
  readonly files?: readonly { readonly id?: string; readonly name?: string | null }[];
}

/** Our whole message with the key. One that was only begun is noted, so that posting goes on with it. */
export async function findPosted(bridge: Bridge, { place }: ReplyTo, key: string): Promise<MessageRef | undefined> {
  const { channelId, threadId } = place;
  let cursor: string | undefined;
  for (let page = 0; page < PAGES; page++) {
    const { messages, next } = await readPage(bridge, { channelId, threadId }, cursor);
    const found = messages.find(
      ({ metadata: data }) => data?.event_type === EVENT_TYPE && data.event_payload?.key === key,
    );
    if (found?.ts !== undefined) {
      const message: MessageRef = { platform: 'slack', channelId, messageId: found.ts, threadId };
      if (found.metadata?.event_payload?.state === 'whole') return message;
      bridge.unfinished.set(key, message);
      return undefined;
    }
    if (next === undefined) return undefined;
    cursor = next;
  }
  return undefined;
}

async function readPage(
  { client }: Bridge,
  { channelId, threadId }: { channelId: string; threadId?: string | undefined },
  cursor: string | undefined,
): Promise<{ messages: readonly PastMessage[]; next: string | undefined }> {
  const options = {
    channel: channelId,
    limit: PAGE,
    include_all_metadata: true,
    ...(cursor !== undefined && { cursor }),
  };
  const answer = await request('look for a message', () =>
    threadId === undefined
      ? client.conversations.history(options)
      : client.conversations.replies({ ...options, ts: threadId }),
  );
  const next = answer.response_metadata?.next_cursor;
  return { messages: (answer.messages ?? []) as readonly PastMessage[], next: next === '' ? undefined : next };
}

/** Slack shares a while after it was told to: what an earlier process sent up may come yet. */
const SHARE_POLL_MS = 300;
const SHARE_POLLS = 10;

/** Pictures that an earlier process shared under a message and did not note. */
async function findShared(
  bridge: Bridge,
  message: MessageRef,
  { pictures, names }: { pictures: readonly ReplyPicture[]; names: readonly string[] },
): Promise<UploadedPicture[] | undefined> {
  if (![...bridge.unfinished.values()].some(({ messageId }) => messageId === message.messageId)) return undefined;
  const { channelId, threadTs } = threadOf(message);
  for (let poll = 0; poll < SHARE_POLLS; poll++) {
    const { messages } = await readPage(bridge, { channelId, threadId: threadTs }, undefined);
    const files = messages.flatMap((one) => one.files ?? []);
    const found = names.map((name) => files.find((file) => file.name === name)?.id);
    if (found.every((id) => id !== undefined)) {
      return found.map((fileId, index) => ({ fileId, altText: pictures[index]!.altText }));
    }
    await sleep(SHARE_POLL_MS);
  }
  return undefined;
}

/**
 * Edits a message. Unfinished pictures are left out, since Slack does not swap pictures in a message; samples of a lesson
 * go into its thread, each once.
 */
export async function edit(bridge: Bridge, message: MessageRef, reply: Reply): Promise<void> {
  const { channelId, messageId } = message;
  await request('edit a message', () =>
    bridge.client.chat.update({ channel: channelId, ts: messageId, ...toMessage(reply) }),
  );
  await shareSamples(bridge, message, reply);
}

async function shareSamples(bridge: Bridge, message: MessageRef, { lesson }: Reply): Promise<void> {
  const nameOf = (step: number) => `${message.channelId}/${message.messageId}/${step}`;
  const fresh = (lesson?.samples ?? []).filter(({ step }) => !bridge.shownSamples.has(nameOf(step)));
  if (fresh.length === 0) return;
  for (const { step } of fresh) bridge.shownSamples.add(nameOf(step));
  await sharePictures(
    bridge,
    fresh.map(({ picture }) => picture),
    { thread: threadOf(message), names: fresh.map(({ step }) => `sample-${step}.png`) },
  );
}

/** Deletes a message and the pictures that were shared under it. */
export async function remove(bridge: Bridge, message: MessageRef): Promise<void> {
  const { channelId, messageId } = message;
  await request('delete a message', async () => {
    try {
      const { messages } = await readPage(bridge, { channelId, threadId: messageId }, undefined);
      const files = messages.filter(({ thread_ts }) => thread_ts === messageId).flatMap((one) => one.files ?? []);
      for (const { id, name } of files) {
        if (id !== undefined && isOurs(name)) await bridge.client.files.delete({ file: id });
      }
      await bridge.client.chat.delete({ channel: channelId, ts: messageId });
    } catch (error) {
      if (!GONE.has(slackError(error) ?? '')) throw error;
    }
  });
}

const GONE = new Set(['message_not_found', 'thread_not_found']);

/** Only what the bot shared itself; people answer in threads too. */
function isOurs(name: string | null | undefined): boolean {
  return /^(end|sample)-[\w-]+\.png$/.test(name ?? '');
}

/** Writes to a person alone. @throws PermanentPostError if the person cannot be written to */
export async function sendDirect(bridge: Bridge, userId: string, reply: Reply): Promise<void> {
  const opened = await request('write to a person', () => bridge.client.conversations.open({ users: userId }));
  const channel = opened.channel!.id!;
  const posted = await request('write to a person', () =>
    bridge.client.chat.postMessage({ channel, ...toMessage(reply), ...QUIET }),
  );
  const given = picturesOf(reply);
  if (given.length === 0) return;
  const thread = { channelId: channel, threadTs: posted.ts! };
  const names = given.map((_, index) => `sketchbooth-${index + 1}.png`);
  const pictures = await sharePictures(bridge, given, { thread, names });
  const shared = await Promise.all(pictures.map(({ fileId }) => isShared(bridge, fileId, channel)));
  if (!shared.every(Boolean)) return;
  await bridge.client.chat.update({ channel, ts: posted.ts!, ...toMessage(reply, { pictures }) });
}
