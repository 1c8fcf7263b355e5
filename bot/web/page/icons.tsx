import type { ResultAction } from '../../../commands/command.ts';
import { meaningOfEmoji, SIGNS } from '../../../commands/signs.ts';

/** Line drawings on a grid of 24; the reactions have theirs too, since not every machine has a font of emoji. */
const PATHS = {
  menu: 'M4 7h16M4 12h16M4 17h10',
  send: 'M4 12h14M12 5l7 7-7 7',
  leave: 'M10 5H5v14h5M14 8l4 4-4 4M9 12h9',
  close: 'M6 6l12 12M18 6L6 18',
  plus: 'M12 5v14M5 12h14',
  brush: 'M4 20c3 0 4-1 4-3s2-3 3.500-1.500S12 20 8 20zM11 14L20 4',
  eraser: 'M8 19h12M5 14l8-9 7 6-7 8H8z',
  undo: 'M8 6L4 10l4 4M4 10h10a5 5 0 0 1 0 10h-3',
  redo: 'M16 6l4 4-4 4M20 10H10a5 5 0 0 0 0 10h3',
  picture: 'M4 5h16v14H4zM4 16l5-5 4 4 3-3 4 4M15 9h.01',
  trash: 'M5 7h14M9 7V4h6v3M7 7l1 13h8l1-13',
  refresh: 'M19 12a7 7 0 1 1-2-5M19 4v4h-4',
  edit: 'M4 20l1-5L16 4l4 4L9 19z',
  info: 'M12 11v6M12 7.500v.01M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18',
  mail: 'M4 6h16v12H4zM4 7l8 6 8-6',
  download: 'M12 4v11M7 11l5 5 5-5M5 20h14',
  star: 'M12 4l2.400 5 5.600.700-4 3.800 1 5.500-5-2.700L7 19l1-5.500-4-3.800L9.600 9z',
  sun: 'M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8M12 3v1M12 20v1M4 12H3M21 12h-1M6 6l-.7-.7M18.700 18.700L18 18M6 18l-.7.7M18.700 5.300L18 6',
  moon: 'M19 14.500A8 8 0 0 1 9.500 5 7.500 7.500 0 1 0 19 14.500',
  left: 'M15 5l-7 7 7 7',
  right: 'M9 5l7 7-7 7',
  down: 'M5 9l7 7 7-7',
  stop: 'M7 7h10v10H7z',
  check: 'M5 13l4 4L19 7',
  lock: 'M6 11h12v9H6zM9 11V8a3 3 0 0 1 6 0v3',
  more: 'M5 15l5-5 3 3 6-7M15 6h4v4',
  less: 'M5 8l5 5 3-3 6 7M15 17h4v-4',
  smile: 'M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18M8.500 14.500c2 2.500 5 2.500 7 0M9 9.500v.01M15 9.500v.01',
} as const;

export type IconName = keyof typeof PATHS;

export function Icon({ name }: { name: IconName }) {
  return (
    <svg class="icon" viewBox="0 0 24 24" aria-hidden="true">
      <path d={PATHS[name]} />
    </svg>
  );
}

/** Of buttons, and of the reactions that mean the same. */
export const ACTION_ICONS: Readonly<Partial<Record<ResultAction, IconName>>> = {
  variants: 'refresh',
  'more-control': 'more',
  'less-control': 'less',
  edit: 'edit',
  details: 'info',
  delete: 'trash',
  'send-to-me': 'mail',
  cancel: 'close',
  'use-sample': 'check',
  'stop-here': 'stop',
};

/** A mere reaction: the page lists what a person keeps in mind nowhere else. */
export const STAR = '⭐';

const KNOWN = [STAR, ...SIGNS.flatMap(({ emoji, also }) => [emoji, ...also.map((sign) => sign.emoji)])];

/** Finds the emoji that have a drawing. */
export const KNOWN_EMOJI = new RegExp(`(${KNOWN.join('|')})`);

/** A known emoji as a drawing, any other as it is. */
export function Emoji({ emoji }: { emoji: string }) {
  const { action, argument } = meaningOfEmoji(emoji) ?? {};
  const icon = emoji === STAR ? 'star' : action && ACTION_ICONS[action];
  if (icon !== undefined) return <Icon name={icon} />;
  if (argument === undefined) return <span aria-hidden="true">{emoji}</span>;
  return (
    <b class="digit" aria-hidden="true">
      {argument}
    </b>
  );
}
