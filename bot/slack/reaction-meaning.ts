import type { ResultAction } from '../../commands/command.ts';

export interface ReactionMeaning {
  readonly action: ResultAction;
  readonly argument?: number;
}

/** By Slack's names of emoji. */
const MEANINGS: Readonly<Record<string, ReactionMeaning>> = {
  arrows_counterclockwise: { action: 'variants' },
  repeat: { action: 'variants' },
  game_die: { action: 'variants' },
  one: { action: 'vary', argument: 1 },
  two: { action: 'vary', argument: 2 },
  three: { action: 'vary', argument: 3 },
  four: { action: 'vary', argument: 4 },
  heavy_plus_sign: { action: 'more-control' },
  heavy_minus_sign: { action: 'less-control' },
  information_source: { action: 'details' },
  clipboard: { action: 'details' },
  email: { action: 'send-to-me' },
  envelope: { action: 'send-to-me' },
  incoming_envelope: { action: 'send-to-me' },
  envelope_with_arrow: { action: 'send-to-me' },
  x: { action: 'delete' },
  wastebasket: { action: 'delete' },
};

/** @param name  as Slack sends it; a skin tone follows after two colons */
export function reactionMeaning(name: string): ReactionMeaning | undefined {
  const plain = name.split('::')[0]!;
  return Object.hasOwn(MEANINGS, plain) ? MEANINGS[plain] : undefined;
}
