/** Everything that the pocket world can name. Prompts, captions, maps and judges share these lists and their order. */

export const SIDE = 128;

export const NOUNS = [
  'backpack',
  'bird',
  'boat',
  'car',
  'cat',
  'chair',
  'clock',
  'cup',
  'dog',
  'fish',
  'flower',
  'hat',
  'house',
  'lamp',
  'person',
  'shoe',
  'teapot',
  'tree',
] as const;
export type Noun = (typeof NOUNS)[number];

export const COLORS = [
  'red',
  'orange',
  'yellow',
  'green',
  'blue',
  'purple',
  'pink',
  'brown',
  'black',
  'white',
] as const;
export type Color = (typeof COLORS)[number];

export const PATTERNS = ['plain', 'striped', 'dotted', 'checked'] as const;
export type Pattern = (typeof PATTERNS)[number];

export const BACKGROUNDS = ['beach', 'forest', 'city', 'snow', 'night', 'desert', 'room', 'meadow', 'plain'] as const;
export type Background = (typeof BACKGROUNDS)[number];

/** Colours of the plain background; a caption names them. */
export const PLAIN_COLORS = ['white', 'gray', 'blue', 'green', 'pink', 'yellow'] as const;
export type PlainColor = (typeof PLAIN_COLORS)[number];

/** One individual of a noun: which silhouette, and its proportions. */
export interface Form {
  /** A silhouette or pose, 0 to `VARIANTS` - 1. */
  readonly variant: number;
  /** 0 narrow to 1 wide. */
  readonly wide: number;
  /** 0 low to 1 tall. */
  readonly tall: number;
  /** 0 to 1: lesser differences, such as the hands of a clock. */
  readonly detail: number;
}
export const VARIANTS = 4;

/** CSS colours of the parts that take the subject's colour. */
export interface Palette {
  readonly body: string;
  /** A darker neighbour of the body, for pockets, ears and soles. */
  readonly shade: string;
  /** A lighter neighbour, for what catches the light. */
  readonly tint: string;
  /** Of stripes, dots and checks. */
  readonly contrast: string;
}
