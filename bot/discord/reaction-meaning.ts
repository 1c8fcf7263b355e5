/** What an emoji under a result asks for. */
import type { ResultAction } from '../../commands/command.ts';

export interface ReactionMeaning {
  readonly action: ResultAction;
  readonly argument?: number;
}

const MEANINGS: Readonly<Record<string, ReactionMeaning>> = {
  '🔄': { action: 'variants' },
  '🔁': { action: 'variants' },
  '🎲': { action: 'variants' },
  '1⃣': { action: 'vary', argument: 1 },
  '2⃣': { action: 'vary', argument: 2 },
  '3⃣': { action: 'vary', argument: 3 },
  '4⃣': { action: 'vary', argument: 4 },
  '➕': { action: 'more-control' },
  '⬆': { action: 'more-control' },
  '➖': { action: 'less-control' },
  '⬇': { action: 'less-control' },
  ℹ: { action: 'details' },
  '📋': { action: 'details' },
  '✉': { action: 'send-to-me' },
  '📩': { action: 'send-to-me' },
  '📨': { action: 'send-to-me' },
  '❌': { action: 'delete' },
  '🗑': { action: 'delete' },
};

/** Skin tones, and the sign that asks for the coloured form of a character. */
const VARIATIONS = /[\u{1F3FB}-\u{1F3FF}\uFE0F\uFE0E]/gu;

/** @param name  the emoji as Discord writes it, with or without skin tone; null for one that was deleted */
export function reactionMeaning(name: string | null): ReactionMeaning | undefined {
  const plain = (name ?? '').replace(VARIATIONS, '');
  return Object.hasOwn(MEANINGS, plain) ? MEANINGS[plain] : undefined;
}
