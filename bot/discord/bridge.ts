/** What every part of the Discord side works with. */
import { type Client, type RawFile, Routes } from 'discord.js';
import type { Logger } from 'pino';
import type { Command } from '../../commands/command.ts';
import type { BlobRef } from '../../shared/jobs.ts';
import type { BotInbox, Reply } from '../platform.ts';
import type { AttachedFile } from './attachments.ts';
import { fetchAttachment } from './attachments.ts';
import type { FormDrafts } from './form-drafts.ts';
import type { AttachedImages } from './images.ts';
import { type DiscordMessage, type MessageOptions, toMessage, USUAL_UPLOAD_LIMIT_BYTES } from './message.ts';

export interface Bridge {
  readonly client: Client;
  readonly inbox: BotInbox;
  readonly commands: ReadonlyMap<string, Command>;
  readonly drafts: FormDrafts;
  readonly log: Logger;
  readonly maxUploadBytes: number;
  readonly testOrigin: string | undefined;
}

/** A message of Discord, as its API answers. */
export interface PostedMessage {
  readonly id: string;
  readonly channel_id: string;
}

export function messageOf(
  { inbox }: Pick<Bridge, 'inbox'>,
  reply: Reply,
  options: Partial<Omit<MessageOptions, 'readBlob'>> = {},
): Promise<DiscordMessage> {
  return toMessage(reply, {
    readBlob: (blob) => inbox.readBlob(blob),
    uploadLimitBytes: USUAL_UPLOAD_LIMIT_BYTES,
    ...options,
  });
}

/** Copies attachments into the store, by option name. @throws UserError for one that may not be used */
export async function keepAttachments(
  bridge: Bridge,
  attachments: AttachedImages,
): Promise<Record<string, readonly BlobRef[]>> {
  const kept: Record<string, readonly BlobRef[]> = {};
  for (const [name, files] of Object.entries(attachments)) {
    kept[name] = await Promise.all(files.map((file) => keepAttachment(bridge, file)));
  }
  return kept;
}

async function keepAttachment({ inbox, maxUploadBytes, testOrigin }: Bridge, file: AttachedFile): Promise<BlobRef> {
  const bytes = await fetchAttachment(file, { maxBytes: maxUploadBytes, testOrigin });
  return inbox.keepUpload(bytes, file.name);
}

/** Posts a message into a channel. */
export async function postMessage(
  { client }: Pick<Bridge, 'client'>,
  channelId: string,
  { body, files }: { body: object; files: RawFile[] },
): Promise<PostedMessage> {
  return (await client.rest.post(Routes.channelMessages(channelId), { body, files })) as PostedMessage;
}
