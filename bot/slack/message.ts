/** A reply as the message that Slack takes. */
import type { ActionsBlock, Button, KnownBlock } from '@slack/types';
import { encodeButton } from '../button-value.ts';
import type { Reply, ReplyButton } from '../platform.ts';
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
      ...pictures.map(({ fileId, altText }): KnownBlock => {
        const alt_text = cut(altText || 'A picture', MAX_ALT_TEXT);
        return { type: 'image', slack_file: { id: fileId }, alt_text };
      }),
      ...buttonBlocks(reply.buttons),
    ],
  };
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
