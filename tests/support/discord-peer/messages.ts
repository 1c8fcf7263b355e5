/** Makes, edits and finds messages, by the rules of a channel. */
import {
  type APIAttachment,
  type APIMessage,
  type APIMessageTopLevelComponent,
  MessageFlags,
  MessageType,
  PermissionFlagsBits,
} from 'discord.js';
import { apiError } from './api-error.ts';
import { checkMessage, type MessageBody, notifiedBy } from './message-rules.ts';
import type { SentBody, SentFile } from './request-body.ts';
import {
  apiUser,
  type PeerChannel,
  type PeerUser,
  permissionsIn,
  type StoredMessage,
  storeFile,
  type World,
} from './world.ts';

/** @throws ApiError for a channel that does not exist or that the bot cannot see */
export function visibleChannel(world: World, channelId: string): PeerChannel {
  const channel = world.channels.get(channelId);
  if (channel === undefined) throw apiError('unknownChannel');
  demand(world, channel, 'ViewChannel');
  return channel;
}

/** @throws ApiError if the bot has not the permission there */
export function demand(world: World, channel: PeerChannel, permission: keyof typeof PermissionFlagsBits): void {
  if ((permissionsIn(world, channel, world.bot.id) & PermissionFlagsBits[permission]) !== 0n) return;
  throw apiError(permission === 'ViewChannel' ? 'missingAccess' : 'missingPermissions');
}

/** A message of a channel as the bot's token sees it, which is never one for a single person. */
export function findMessage(channel: PeerChannel, messageId: string): StoredMessage {
  const message = channel.messages.find((one) => one.api.id === messageId && one.onlyFor === undefined);
  if (message === undefined) throw apiError('unknownMessage');
  return message;
}

export interface NewMessage {
  readonly channel: PeerChannel;
  readonly author: PeerUser;
  readonly sent: SentBody;
  readonly onlyFor?: string | undefined;
  readonly type?: MessageType;
}

/** How long a nonce keeps a message from being made twice: "the past few minutes". */
const NONCE_LIFETIME_MS = 5 * 60 * 1000;

/**
 * Creates a message.
 * @returns the earlier message where the body enforces a nonce that was used a few minutes ago
 * @throws ApiError by Discord's rules
 */
export function createMessage(world: World, { channel, author, sent, onlyFor, type }: NewMessage): StoredMessage {
  const body = sent.json as MessageBody;
  const nonce = body.nonce === undefined || body.nonce === null ? undefined : String(body.nonce);
  const earlier = body.enforce_nonce === true ? findByNonce(world, channel, { author, nonce }) : undefined;
  if (earlier !== undefined) return earlier;
  const attachments = storeAttachments(world, channel, { body, files: sent.files });
  checkMessage(body, { files: sent.files, attachments });
  const api: APIMessage = {
    id: world.newId(),
    type: type ?? MessageType.Default,
    channel_id: channel.id,
    author: apiUser(author),
    content: body.content ?? '',
    timestamp: new Date(world.now()).toISOString(),
    edited_timestamp: null,
    tts: false,
    mention_everyone: false,
    mentions: [],
    mention_roles: [],
    attachments,
    embeds: [],
    pinned: false,
    flags: (body.flags ?? 0) as MessageFlags,
    components: [...(body.components ?? [])],
    ...(nonce !== undefined && { nonce }),
  };
  const notified = notifiedBy(body);
  const stored = { api, channelId: channel.id, nonce, notified, onlyFor, isDeferred: false, createdAtMs: world.now() };
  channel.messages.push(stored);
  return stored;
}

function findByNonce(
  world: World,
  channel: PeerChannel,
  { author, nonce }: { author: PeerUser; nonce: string | undefined },
): StoredMessage | undefined {
  return channel.messages.find(
    (message) =>
      message.nonce !== undefined &&
      message.nonce === nonce &&
      message.api.author.id === author.id &&
      message.createdAtMs > world.now() - NONCE_LIFETIME_MS,
  );
}

/** Edits a message; attachments that the body does not list are gone. */
export function editMessage(world: World, stored: StoredMessage, sent: SentBody): void {
  const body = sent.json as MessageBody;
  const channel = world.channels.get(stored.channelId)!;
  const listed = body.attachments?.map((attachment) => attachment.id);
  const kept = stored.api.attachments.filter((attachment) => listed?.includes(attachment.id) ?? true);
  const attachments = [...kept, ...storeAttachments(world, channel, { body, files: sent.files })];
  const merged = {
    ...body,
    content: body.content ?? stored.api.content,
    components: body.components ?? (stored.api.components as APIMessageTopLevelComponent[]),
  };
  checkMessage(merged, { files: sent.files, attachments, before: stored.api.flags ?? 0 });
  stored.api = {
    ...stored.api,
    content: merged.content,
    components: [...merged.components],
    attachments,
    flags: ((stored.api.flags ?? 0) | (body.flags ?? 0)) as MessageFlags,
    edited_timestamp: new Date(world.now()).toISOString(),
  };
  stored.isDeferred = false;
}

function storeAttachments(
  world: World,
  channel: PeerChannel,
  { body, files }: { body: MessageBody; files: readonly SentFile[] },
): APIAttachment[] {
  return files.map((file) => {
    if (file.bytes.byteLength > world.attachmentSizeLimit) throw apiError('requestTooLarge');
    const told = body.attachments?.find((attachment) => attachment.id === String(file.index));
    const name = told?.filename ?? file.name;
    const stored = storeFile(world, { channelId: channel.id, name, type: file.type }, file.bytes);
    return { ...stored, ...(told?.description !== undefined && { description: told.description }) };
  });
}

/** Whether a message is seen by one person alone. */
export function isEphemeral(flags: number | null | undefined): boolean {
  return ((flags ?? 0) & MessageFlags.Ephemeral) !== 0;
}
