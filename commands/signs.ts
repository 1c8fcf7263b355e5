/**
 * The signs by which people go on from a result: as reactions everywhere, and on the buttons under it. One table for all
 * platforms, so that a habit learned on one works on the others.
 */
import type { ResultAction } from './command.ts';

/** What a sign asks for; an argument is the number of a picture. */
export interface Meaning {
  readonly action: ResultAction;
  readonly argument?: number;
}

/** An emoji, and its name on Slack. */
export interface Sign {
  readonly emoji: string;
  readonly slackName: string;
}

interface Entry extends Meaning, Sign {
  readonly label: string;
  /** Other signs that people know from elsewhere, understood as reactions. */
  readonly also: readonly Sign[];
}

export const SIGNS: readonly Entry[] = [
  {
    action: 'variants',
    label: 'Variants',
    emoji: '🎲',
    slackName: 'game_die',
    also: [
      { emoji: '🔄', slackName: 'arrows_counterclockwise' },
      { emoji: '🔁', slackName: 'repeat' },
    ],
  },
  { action: 'vary', argument: 1, label: 'Vary 1', emoji: '1️⃣', slackName: 'one', also: [] },
  { action: 'vary', argument: 2, label: 'Vary 2', emoji: '2️⃣', slackName: 'two', also: [] },
  { action: 'vary', argument: 3, label: 'Vary 3', emoji: '3️⃣', slackName: 'three', also: [] },
  { action: 'vary', argument: 4, label: 'Vary 4', emoji: '4️⃣', slackName: 'four', also: [] },
  {
    action: 'more-control',
    label: 'More control',
    emoji: '➕',
    slackName: 'heavy_plus_sign',
    also: [{ emoji: '⬆️', slackName: 'arrow_up' }],
  },
  {
    action: 'less-control',
    label: 'Less control',
    emoji: '➖',
    slackName: 'heavy_minus_sign',
    also: [{ emoji: '⬇️', slackName: 'arrow_down' }],
  },
  {
    action: 'edit',
    label: 'Edit',
    emoji: '✏️',
    slackName: 'pencil2',
    also: [
      { emoji: '🖋️', slackName: 'lower_left_fountain_pen' },
      { emoji: '📝', slackName: 'memo' },
    ],
  },
  {
    action: 'details',
    label: 'Details',
    emoji: '📋',
    slackName: 'clipboard',
    also: [{ emoji: 'ℹ️', slackName: 'information_source' }],
  },
  {
    action: 'send-to-me',
    label: 'Send to me',
    emoji: '✉️',
    slackName: 'email',
    also: [
      { emoji: '✉️', slackName: 'envelope' },
      { emoji: '📩', slackName: 'envelope_with_arrow' },
      { emoji: '📨', slackName: 'incoming_envelope' },
    ],
  },
  {
    action: 'delete',
    label: 'Delete',
    emoji: '🗑️',
    slackName: 'wastebasket',
    also: [{ emoji: '❌', slackName: 'x' }],
  },
];

/** Skin tones, and the sign that asks for the coloured form of a character. */
const VARIATIONS = /[\u{1F3FB}-\u{1F3FF}\uFE0F\uFE0E]/gu;

const byEmoji = meaningsBy(({ emoji }) => plain(emoji));
const bySlackName = meaningsBy(({ slackName }) => slackName);

/** @param emoji  as a platform writes it, with or without skin tone; undefined for a mere reaction */
export function meaningOfEmoji(emoji: string): Meaning | undefined {
  return byEmoji.get(plain(emoji));
}

/** @param name  as Slack sends it; a skin tone follows after two colons */
export function meaningOfSlackName(name: string): Meaning | undefined {
  return bySlackName.get(name.split('::')[0]!);
}

/** Label and emoji of a button. */
export function signOf(action: ResultAction, argument?: number): Pick<Entry, 'label' | 'emoji'> {
  const entry = SIGNS.find((one) => one.action === action && one.argument === argument);
  if (!entry) throw new Error(`Cannot label a button: it must be in the table of signs, got ${action} ${argument}`);
  return entry;
}

function meaningsBy(key: (sign: Sign) => string): ReadonlyMap<string, Meaning> {
  const pairs = SIGNS.flatMap(({ action, argument, also, ...sign }) => {
    const meaning = { action, ...(argument !== undefined && { argument }) };
    return [sign, ...also].map((one) => [key(one), meaning] as const);
  });
  return new Map(pairs);
}

function plain(emoji: string): string {
  return emoji.replace(VARIATIONS, '');
}
