import type { ResultAction } from '../../commands/command.ts';

const ACTIONS: Readonly<Record<string, { readonly action: ResultAction; readonly argument?: number }>> = {
  '🔄': { action: 'variants' },
  '🎲': { action: 'variants' },
  '1️⃣': { action: 'vary', argument: 1 },
  '2️⃣': { action: 'vary', argument: 2 },
  '3️⃣': { action: 'vary', argument: 3 },
  '4️⃣': { action: 'vary', argument: 4 },
  '🖋️': { action: 'edit' },
  ℹ️: { action: 'details' },
  '❌': { action: 'delete' },
  '✉️': { action: 'send-to-me' },
};

/** What a reaction asks for; undefined is a mere reaction. */
export function actionOfReaction(emoji: string): { action: ResultAction; argument?: number } | undefined {
  return Object.hasOwn(ACTIONS, emoji) ? ACTIONS[emoji] : undefined;
}
