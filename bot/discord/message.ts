/** A reply as the message that Discord takes: text, a gallery with alt texts, and buttons (its "components, version 2"). */
import {
  type AllowedMentionsTypes,
  type APIActionRowComponent,
  type APIButtonComponentWithCustomId,
  type APIMessageTopLevelComponent,
  ButtonStyle,
  ComponentType,
  MessageFlags,
  type RawFile,
} from 'discord.js';
import type { BlobRef } from '../../shared/jobs.ts';
import { encodeButton } from '../button-value.ts';
import type { Reply, ReplyButton, ReplyPicture } from '../platform.ts';
import { progressBar } from '../progress-bar.ts';
import { fitPicture } from './fit-picture.ts';
import { toDiscordText } from './markdown.ts';

export interface DiscordMessage {
  readonly body: {
    readonly flags: number;
    readonly components: readonly APIMessageTopLevelComponent[];
    readonly attachments: readonly { readonly id: string; readonly filename: string; readonly description: string }[];
    readonly allowed_mentions: { readonly parse: AllowedMentionsTypes[]; readonly users: string[] };
  };
  readonly files: RawFile[];
}

export interface MessageOptions {
  readonly readBlob: (blob: BlobRef) => Promise<Uint8Array>;
  readonly uploadLimitBytes: number;
  /** Whether the people whom the reply mentions are named and notified. */
  readonly isMentioning?: boolean;
  /** Written small under the message, so that it can be found again. */
  readonly key?: string;
}

/** Discord's limit of a file where a server has no boosts and an interaction does not say. */
export const USUAL_UPLOAD_LIMIT_BYTES = 10 * 2 ** 20;

/** Text of all parts together is at most 4000 characters; mentions, bar and key take their share. */
const MAX_TEXT = 3600;
/** A request holds at most 25 MiB; the rest is for its other parts. */
const MAX_FILES_BYTES = 24 * 2 ** 20;
const MAX_PICTURES = 10;
const BUTTONS_IN_ROW = 5;
const MAX_ROWS = 5;
const MAX_ALT_TEXT = 1024;
const MAX_LABEL = 80;

export async function toMessage(reply: Reply, options: MessageOptions): Promise<DiscordMessage> {
  const read = await readPictures([...reply.pictures, ...(reply.maps ?? [])].slice(0, MAX_PICTURES), options);
  const pictures = read.slice(0, reply.pictures.length);
  const mentioned = options.isMentioning ? discordIds(reply) : [];
  const components: APIMessageTopLevelComponent[] = [
    textPart([mentioned.map((id) => `<@${id}>`).join(' '), shortText(reply.text), progressBar(reply)]),
    ...(pictures.length > 0 ? [galleryPart(pictures)] : []),
    ...read.slice(reply.pictures.length).map(mapPart),
    ...buttonRows(reply.buttons),
    ...(options.key === undefined ? [] : [keyPart(options.key)]),
  ].filter((part) => part !== undefined);
  return {
    body: {
      flags: MessageFlags.IsComponentsV2,
      components,
      attachments: read.map(({ file, altText }, index) => {
        return { id: String(index), filename: file.name, description: altText };
      }),
      allowed_mentions: { parse: [], users: mentioned },
    },
    files: read.map(({ file }) => file),
  };
}

/** The small line that marks a message with its key. */
export function keyText(key: string): string {
  return `-# ${key}`;
}

function keyPart(key: string): APIMessageTopLevelComponent {
  return { type: ComponentType.TextDisplay, content: keyText(key) };
}

function discordIds({ mentions }: Reply): string[] {
  return mentions.filter(({ platform }) => platform === 'discord').map(({ userId }) => userId);
}

function textPart(lines: readonly string[]): APIMessageTopLevelComponent | undefined {
  const content = lines.filter((line) => line !== '').join('\n');
  return content === '' ? undefined : { type: ComponentType.TextDisplay, content };
}

/** Escaping lengthens a text, so it is cut until the escaped one fits. */
function shortText(text: string): string {
  const written = toDiscordText(text);
  if (written.length <= MAX_TEXT) return written;
  const excess = Math.max(1, Math.ceil((written.length - MAX_TEXT) / 2));
  return shortText(`${text.replace(/…$/, '').slice(0, -excess - 1)}…`);
}

interface ReadPicture {
  readonly file: RawFile & { readonly name: string };
  readonly altText: string;
}

async function readPictures(pictures: readonly ReplyPicture[], options: MessageOptions): Promise<ReadPicture[]> {
  const maxBytes = Math.min(options.uploadLimitBytes, Math.floor(MAX_FILES_BYTES / Math.max(1, pictures.length)));
  return Promise.all(
    pictures.map(async ({ blob, altText }, index) => {
      const { bytes, type } = await fitPicture({ bytes: await options.readBlob(blob), type: blob.type }, maxBytes);
      const name = `sketchbooth-${index + 1}.${type.split('/')[1] ?? 'png'}`;
      return { file: { name, data: Buffer.from(bytes), contentType: type }, altText: altText.slice(0, MAX_ALT_TEXT) };
    }),
  );
}

function galleryPart(pictures: readonly ReadPicture[]): APIMessageTopLevelComponent {
  return {
    type: ComponentType.MediaGallery,
    items: pictures.map(({ file, altText }) => ({
      media: { url: `attachment://${file.name}` },
      ...(altText !== '' && { description: altText }),
    })),
  };
}

/** A control map, small beside what it is. */
function mapPart({ file, altText }: ReadPicture): APIMessageTopLevelComponent {
  return {
    type: ComponentType.Section,
    components: [{ type: ComponentType.TextDisplay, content: `-# ${altText}` }],
    accessory: {
      type: ComponentType.Thumbnail,
      media: { url: `attachment://${file.name}` },
      description: altText,
    },
  };
}

const STYLES = { primary: ButtonStyle.Primary, secondary: ButtonStyle.Secondary, danger: ButtonStyle.Danger } as const;

function buttonRows(buttons: readonly ReplyButton[]): APIMessageTopLevelComponent[] {
  const rows: APIActionRowComponent<APIButtonComponentWithCustomId>[] = [];
  for (const [index, button] of buttons.slice(0, MAX_ROWS * BUTTONS_IN_ROW).entries()) {
    if (index % BUTTONS_IN_ROW === 0) rows.push({ type: ComponentType.ActionRow, components: [] });
    rows.at(-1)!.components.push(toButton(button));
  }
  return rows;
}

function toButton({ label, emoji, style = 'secondary', ...meaning }: ReplyButton): APIButtonComponentWithCustomId {
  return {
    type: ComponentType.Button,
    style: STYLES[style],
    custom_id: encodeButton(meaning),
    label: label.slice(0, MAX_LABEL),
    ...(emoji !== undefined && { emoji: { name: emoji } }),
  };
}
