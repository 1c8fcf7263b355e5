/** A reply as the message that Slack takes. */
import type { ActionsBlock, Button, ImageBlock, KnownBlock, SectionBlock } from '@slack/types';
import { encodeButton } from '../button-value.ts';
import type { Reply, ReplyButton, ReplyPicture } from '../platform.ts';
import { progressBar } from '../progress-bar.ts';
import { toFallbackText, toRichText } from './rich-text.ts';

export interface SlackMessage {
  /** For notifications and screen readers. */
  readonly text: string;
  readonly blocks: KnownBlock[];
}

/** A picture that Slack has taken. */
export interface UploadedPicture {
  readonly fileId: string;
  readonly altText: string;
}

export interface MessageOptions {
  /** Whether the people whom the reply mentions are named and notified. */
  readonly isMentioning?: boolean;
  /** Of picturesOf, or none of them. */
  readonly pictures?: readonly UploadedPicture[];
}

/** Name that buttons begin with; each needs one of its own in its block. */
export const BUTTON_PREFIX = 'press-';

const MAX_TEXT = 3000;
const MAX_FALLBACK = 1000;
const MAX_LABEL = 75;
const BUTTONS_IN_BLOCK = 5;
const MAX_BUTTONS = 25;
const MAX_ALT_TEXT = 2000;

/** All that a reply shows, in the order in which it is uploaded: its pictures, then the maps that were followed. */
export function picturesOf({ pictures, maps = [] }: Reply): readonly ReplyPicture[] {
  return [...pictures, ...maps];
}

export function toMessage(reply: Reply, { isMentioning = false, pictures = [] }: MessageOptions = {}): SlackMessage {
  const named = isMentioning ? reply.mentions.filter(({ platform }) => platform === 'slack') : [];
  const text = [reply.text, progressBar(reply)].filter((part) => part !== '').join('\n');
  return {
    text: toFallbackText(cut(reply.text, MAX_FALLBACK)) || 'Sketchbooth',
    blocks: [
      toRichText(
        cut(text, MAX_TEXT),
        named.map(({ userId }) => userId),
      ),
      ...pictures.slice(0, reply.pictures.length).map(imageOf),
      ...pictures.slice(reply.pictures.length).map(mapBlock),
      ...buttonBlocks(reply.buttons),
    ],
  };
}

function imageOf({ fileId, altText }: UploadedPicture): ImageBlock & { slack_file: { id: string } } {
  return { type: 'image', slack_file: { id: fileId }, alt_text: cut(altText || 'A picture', MAX_ALT_TEXT) };
}

/** A map stands small beside its words. */
function mapBlock(map: UploadedPicture): SectionBlock {
  const text = cut(map.altText || 'The map that was followed', MAX_TEXT);
  return { type: 'section', text: { type: 'plain_text', text }, accessory: imageOf(map) };
}

function cut(text: string, maxLength: number): string {
  return text.length <= maxLength ? text : `${text.slice(0, maxLength - 1)}…`;
}

function buttonBlocks(buttons: readonly ReplyButton[]): ActionsBlock[] {
  const blocks: ActionsBlock[] = [];
  for (const [index, button] of buttons.slice(0, MAX_BUTTONS).entries()) {
    if (index % BUTTONS_IN_BLOCK === 0) blocks.push({ type: 'actions', elements: [] });
    blocks.at(-1)!.elements.push(toButton(button, index));
  }
  return blocks;
}

function toButton({ label, emoji, style, ...meaning }: ReplyButton, index: number): Button {
  const text = emoji === undefined ? label : `${emoji} ${label}`;
  return {
    type: 'button',
    action_id: `${BUTTON_PREFIX}${index}`,
    text: { type: 'plain_text', text: cut(text, MAX_LABEL), emoji: true },
    value: encodeButton(meaning),
    ...(style !== undefined && style !== 'secondary' && { style }),
  };
}
