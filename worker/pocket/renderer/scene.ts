import type { Backdrop } from './backgrounds.ts';
import { type Described, writeCaption } from './captions.ts';
import { paletteOf } from './palette.ts';
import type { Part } from './part.ts';
import { type RandomChoices, randomChoices } from './random-choices.ts';
import {
  BACKGROUNDS,
  COLORS,
  type Form,
  NOUNS,
  type Noun,
  PATTERNS,
  type Palette,
  type Pattern,
  PLAIN_COLORS,
  SIDE,
  VARIANTS,
} from './world.ts';

/** What the subject looks like, wherever it is. */
export interface Appearance {
  readonly noun: Noun;
  readonly form: Form;
  readonly palette: Palette;
  readonly pattern: Pattern;
  /** Drawn over the noun, in its box; the training set has none. */
  readonly marks?: readonly Part[];
}

export interface Placement {
  /** Pixels from the left to the middle of the subject. */
  readonly x: number;
  /** Pixels from the top to where it stands. */
  readonly baseY: number;
  /** Side of the subject's box in pixels. */
  readonly size: number;
  readonly facing: 'left' | 'right';
  /** Degrees clockwise. */
  readonly tilt: number;
}

/** All that a picture and its maps are drawn from; plain data. */
export interface SceneDescription {
  readonly appearance: Appearance;
  readonly placement: Placement;
  readonly backdrop: Backdrop;
  /** What is in the picture, whether or not the caption says it. */
  readonly described: Described;
  readonly caption: string;
}

const SIZES: readonly [number, number] = [68, 98];
const MARGIN = 3;
const PLAIN_SHARE = 0.55;

/**
 * Describes the scene of a seed: one subject before a background, and a caption that leaves some of it unsaid.
 * The same seed and choices always give the same scene.
 * @param fixed  what must not be drawn by chance; the rest of the scene changes with it
 */
export function describeScene(seed: number, fixed: Partial<Described> = {}): SceneDescription {
  const random = randomChoices(seed);
  const described = chooseContents(random, fixed);
  const form = chooseForm(random);
  const appearance = { noun: described.noun, form, palette: paletteOf(described.color), pattern: described.pattern };
  const placement = choosePlacement(random, appearance);
  const backdrop = chooseBackdrop(random, described);
  return { appearance, placement, backdrop, described, caption: writeCaption(described, random) };
}

function chooseContents(random: RandomChoices, fixed: Partial<Described>): Described {
  const noun = random.pick(NOUNS);
  const color = random.pick(COLORS);
  const pattern = random.chance(PLAIN_SHARE) ? 'plain' : random.pick(PATTERNS.slice(1));
  const background = random.pick(BACKGROUNDS);
  const plainColor = random.pick(PLAIN_COLORS);
  const described = { noun, color, pattern, background, ...fixed };
  return described.background === 'plain' ? { plainColor, ...described } : described;
}

export function chooseForm(random: RandomChoices): Form {
  return {
    variant: Math.floor(random.between(0, VARIANTS)),
    wide: random.between(0, 1),
    tall: random.between(0, 1),
    detail: random.between(0, 1),
  };
}

export function choosePlacement(random: RandomChoices, { noun, form }: Pick<Appearance, 'noun' | 'form'>): Placement {
  const size = random.between(...SIZES);
  const x = random.between(size / 2 + MARGIN, SIDE - size / 2 - MARGIN);
  const lowest = SIDE - MARGIN - 2;
  const highest = floats({ noun, form }) ? size + MARGIN + 2 : Math.max(size + MARGIN + 2, lowest - 20);
  return {
    x,
    size,
    baseY: random.between(highest, lowest),
    facing: random.chance(0.5) ? 'left' : 'right',
    tilt: random.between(-4, 4),
  };
}

/** Fish and flying birds stand on nothing and cast no shadow. */
export function floats({ noun, form }: Pick<Appearance, 'noun' | 'form'>): boolean {
  return noun === 'fish' || (noun === 'bird' && form.variant === 1);
}

export function chooseBackdrop(
  random: RandomChoices,
  { background, plainColor }: Pick<Described, 'background' | 'plainColor'>,
): Backdrop {
  const numbers = { horizon: random.between(0, 1), shift: random.between(0, 1), detail: random.between(0, 1) };
  return { background, ...numbers, ...(plainColor === undefined ? {} : { plainColor }) };
}
