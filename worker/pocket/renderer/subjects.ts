import { plainPrompt } from './captions.ts';
import { blob, circle, curve, type Part, polygon, shape, spot, star, tube } from './part.ts';
import { randomChoices } from './random-choices.ts';
import { type DrawnScene, renderScene } from './render-scene.ts';
import { type Appearance, chooseBackdrop, choosePlacement, type SceneDescription } from './scene.ts';
import { BACKGROUNDS, type Background, type Color, PLAIN_COLORS } from './world.ts';

export const SUBJECTS = ['backpack', 'dog', 'teapot', 'cat', 'car', 'boat', 'person', 'bird'] as const;
/** One individual each; named after its noun. */
export type SubjectId = (typeof SUBJECTS)[number];

/**
 * Two colours of the world together, which the training set never has: there the second is a shade of the first. And marks
 * that it never draws.
 */
const APPEARANCES: { readonly [S in SubjectId]: Appearance } = {
  backpack: {
    noun: 'backpack',
    form: { variant: 0, wide: 0.7, tall: 0.6, detail: 0.9 },
    palette: { body: '#2f74de', shade: '#f8d33a', tint: '#9cc3ff', contrast: '#ffffff' },
    pattern: 'plain',
    marks: [shape('#f58a26', star(0, -12, 17), 2.2)],
  },
  dog: {
    noun: 'dog',
    form: { variant: 0, wide: 0.6, tall: 0.3, detail: 0.2 },
    palette: { body: '#f8f6f1', shade: '#8c5c36', tint: '#ffffff', contrast: '#ffffff' },
    pattern: 'plain',
    marks: [spot('#8c5c36', circle(-16, 4, 9)), ...scarf('#2f74de', 10, 2)],
  },
  teapot: {
    noun: 'teapot',
    form: { variant: 0, wide: 0.9, tall: 0.7, detail: 0.8 },
    palette: { body: '#f8d33a', shade: '#2f74de', tint: '#fdf0b0', contrast: '#ffffff' },
    pattern: 'plain',
    marks: [shape('#2f74de', heart(0, 20, 15), 2.2)],
  },
  cat: {
    noun: 'cat',
    form: { variant: 0, wide: 0.6, tall: 0.4, detail: 0.2 },
    palette: { body: '#454552', shade: '#f58a26', tint: '#ffffff', contrast: '#ffffff' },
    pattern: 'plain',
    marks: [...scarf('#f58a26', 2, -3), shape('#f8d33a', circle(2, 9, 6), 2)],
  },
  car: {
    noun: 'car',
    form: { variant: 2, wide: 0.5, tall: 0.7, detail: 0.9 },
    palette: { body: '#f58a26', shade: '#2f74de', tint: '#fcd2a8', contrast: '#ffffff' },
    pattern: 'plain',
    marks: [
      shape('#2f74de', polygon([-48, 21], [46, 21], [47, 28], [-48, 28]), 1.8),
      shape('#ffffff', circle(-14, 20, 11), 2.2),
      shape('#2f74de', star(-14, 20, 8), 0),
    ],
  },
  boat: {
    noun: 'boat',
    form: { variant: 0, wide: 0.5, tall: 0.7, detail: 0.6 },
    palette: { body: '#2f74de', shade: '#f58a26', tint: '#f8d33a', contrast: '#ffffff' },
    pattern: 'plain',
    marks: [shape('#f58a26', circle(-15, 0, 10), 2.2)],
  },
  person: {
    noun: 'person',
    form: { variant: 1, wide: 0.3, tall: 0.8, detail: 0.3 },
    palette: { body: '#f8d33a', shade: '#2f74de', tint: '#ffffff', contrast: '#ffffff' },
    pattern: 'plain',
    marks: [shape('#ffffff', circle(0, -1, 7), 2), tube('#f58a26', 7, curve([-11, -17], [0, -14], [11, -17]))],
  },
  bird: {
    noun: 'bird',
    form: { variant: 2, wide: 0.6, tall: 0.6, detail: 0.8 },
    palette: { body: '#f58a26', shade: '#2f74de', tint: '#f8d33a', contrast: '#ffffff' },
    pattern: 'plain',
    marks: [shape('#2f74de', polygon([-14, -20], [16, -20], [11, -27], [8, -46], [-6, -46], [-9, -27]), 2.2)],
  },
};

export interface SubjectOptions {
  /** Drawn by chance if absent. */
  readonly background?: Background;
}

/**
 * Draws one particular individual in a place that changes with the seed: photos for a lesson, and others to measure by.
 * Lessons take the seeds from 0, measurements those from `HELD_OUT_SEED`.
 */
export async function drawSubject(subject: SubjectId, seed: number, options: SubjectOptions = {}): Promise<DrawnScene> {
  const scene = describeSubject(subject, seed, options);
  return { scene, ...(await renderScene(scene)) };
}

export const HELD_OUT_SEED = 1_000_000;

/** The colour of the body, by its name in the world's list. */
const BODY_COLOR: { readonly [S in SubjectId]: Color } = {
  backpack: 'blue',
  dog: 'white',
  teapot: 'yellow',
  cat: 'black',
  car: 'orange',
  boat: 'blue',
  person: 'yellow',
  bird: 'orange',
};

/** The caption names the class and the place alone: the looks are what a lesson has to learn. */
export function describeSubject(subject: SubjectId, seed: number, options: SubjectOptions = {}): SceneDescription {
  return placeAppearance(APPEARANCES[subject], seed, { ...options, color: BODY_COLOR[subject] });
}

/** What a subject looks like, and the marks that tell it from others of its noun. */
export function appearanceOf(subject: SubjectId): Appearance {
  return APPEARANCES[subject];
}

/** Puts something that looks so into a scene of the seed. */
export function placeAppearance(
  appearance: Appearance,
  seed: number,
  { background, color }: SubjectOptions & { color: Color },
): SceneDescription {
  const random = randomChoices(seed);
  const placement = choosePlacement(random, appearance);
  const place = { background: background ?? random.pick(BACKGROUNDS), plainColor: random.pick(PLAIN_COLORS) };
  const where = place.background === 'plain' ? place : { background: place.background };
  const { noun, pattern } = appearance;
  return {
    appearance,
    placement,
    described: { noun, color, pattern, ...where },
    backdrop: chooseBackdrop(random, where),
    caption: plainPrompt({ noun, ...where }),
  };
}

/** A scarf around a neck, with one end hanging down. */
function scarf(paint: string, x: number, y: number): Part[] {
  return [
    shape(paint, polygon([x + 4, y], [x + 14, y], [x + 16, y + 20], [x + 7, y + 20]), 2),
    tube(paint, 8, curve([x - 13, y - 3], [x, y + 1], [x + 14, y - 4])),
  ];
}

function heart(x: number, y: number, r: number): string {
  return blob(
    [x, y - r * 0.45],
    [x + r * 0.6, y - r * 0.9],
    [x + r, y - r * 0.2],
    [x, y + r],
    [x - r, y - r * 0.2],
    [x - r * 0.6, y - r * 0.9],
  );
}
