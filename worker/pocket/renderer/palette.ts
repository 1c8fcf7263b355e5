import { INK } from './part.ts';
import type { RandomChoices } from './random-choices.ts';
import type { Color, Palette } from './world.ts';

const BODY: { readonly [C in Color]: string } = {
  red: '#e23b3f',
  orange: '#f58a26',
  yellow: '#f8d33a',
  green: '#43b04d',
  blue: '#2f74de',
  purple: '#8d50c8',
  pink: '#f78fbb',
  brown: '#8c5c36',
  black: '#454552',
  white: '#f8f6f1',
};
/** Stripes and dots are near white, except on what is near white itself. */
const CONTRAST: { readonly [C in Color]?: string } = { yellow: '#b8741e', white: '#8fa3bf' };

export function paletteOf(color: Color): Palette {
  return palette(BODY[color], CONTRAST[color] ?? '#fbf6ea');
}

/** @param body  #rrggbb */
export function palette(body: string, contrast: string): Palette {
  return { body, contrast, shade: blend(body, INK, 0.28), tint: blend(body, '#ffffff', 0.4) };
}

/** Any colours at all; shade and tint are now and then no neighbours of the body, as on a bag with pockets of another colour. */
export function repainted(random: RandomChoices): Palette {
  const own = palette(anyColor(random), anyColor(random));
  return {
    ...own,
    ...(random.chance(0.5) && { shade: anyColor(random) }),
    ...(random.chance(0.3) && { tint: anyColor(random) }),
  };
}

function anyColor(random: RandomChoices): string {
  const levels = [0, 1, 2].map(() => Math.floor(random.between(0, 256)));
  return `#${levels.map((level) => level.toString(16).padStart(2, '0')).join('')}`;
}

/** Mixes two colours, both #rrggbb. */
export function blend(from: string, to: string, share: number): string {
  const channels = [1, 3, 5].map((start) => {
    const [a, b] = [from, to].map((color) => Number.parseInt(color.slice(start, start + 2), 16)) as [number, number];
    return Math.round(a + (b - a) * share)
      .toString(16)
      .padStart(2, '0');
  });
  return `#${channels.join('')}`;
}
