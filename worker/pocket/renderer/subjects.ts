import { plainPrompt } from './captions.ts';
import { blob, circle, curve, type Part, polygon, shape, spot, star, tube } from './part.ts';
import { randomChoices } from './random-choices.ts';
import { type DrawnScene, renderScene } from './render-scene.ts';
import { type Appearance, chooseBackdrop, choosePlacement, type SceneDescription } from './scene.ts';
import { BACKGROUNDS, type Background, type Color, PLAIN_COLORS } from './world.ts';

export const SUBJECTS = ['backpack', 'dog', 'teapot', 'cat', 'car', 'boat', 'person', 'bird'] as const;
/** One individual each; named after its noun. */
export type SubjectId = (typeof SUBJECTS)[number];

/** Body and contrast in colours that the training set never has, and marks that it never draws. */
const APPEARANCES: { readonly [S in SubjectId]: Appearance } = {
  backpack: {
    noun: 'backpack',
    form: { variant: 0, wide: 0.7, tall: 0.6, detail: 0.9 },
    palette: { body: '#17a8a0', shade: '#ff5d8f', tint: '#8ee0d6', contrast: '#ffffff' },
    pattern: 'plain',
    marks: [shape('#ffd83a', star(0, -13, 15), 2.2)],
  },
  dog: {
    noun: 'dog',
    form: { variant: 0, wide: 0.6, tall: 0.3, detail: 0.2 },
    palette: { body: '#f3e2bd', shade: '#7b3f1d', tint: '#ffffff', contrast: '#ffffff' },
    pattern: 'plain',
    marks: [spot('#7b3f1d', circle(-16, 4, 8)), ...scarf('#1f9e8f', 10, 2)],
  },
  teapot: {
    noun: 'teapot',
    form: { variant: 0, wide: 0.9, tall: 0.7, detail: 0.8 },
    palette: { body: '#c9f24a', shade: '#2c2f8f', tint: '#e9ffb0', contrast: '#ffffff' },
    pattern: 'plain',
    marks: [shape('#ff3fa4', heart(0, 20, 13), 2.2)],
  },
  cat: {
    noun: 'cat',
    form: { variant: 0, wide: 0.6, tall: 0.4, detail: 0.2 },
    palette: { body: '#9fb4c9', shade: '#44566b', tint: '#ffffff', contrast: '#ffffff' },
    pattern: 'plain',
    marks: [...scarf('#e8372c', 2, -3), shape('#ffd83a', circle(2, 9, 5.5), 2)],
  },
  car: {
    noun: 'car',
    form: { variant: 2, wide: 0.5, tall: 0.7, detail: 0.9 },
    palette: { body: '#7fe0c3', shade: '#f0642f', tint: '#d3f7ea', contrast: '#ffffff' },
    pattern: 'plain',
    marks: [
      shape('#f0642f', polygon([-48, 21], [46, 21], [47, 28], [-48, 28]), 1.8),
      shape('#ffffff', circle(-14, 20, 10), 2.2),
      shape('#f0642f', star(-14, 20, 7), 0),
    ],
  },
  boat: {
    noun: 'boat',
    form: { variant: 0, wide: 0.5, tall: 0.7, detail: 0.6 },
    palette: { body: '#5b2a86', shade: '#ffb01f', tint: '#ffb01f', contrast: '#ffffff' },
    pattern: 'plain',
    marks: [shape('#e8372c', circle(-15, 0, 9), 2.2)],
  },
  person: {
    noun: 'person',
    form: { variant: 1, wide: 0.3, tall: 0.8, detail: 0.3 },
    palette: { body: '#d8e84a', shade: '#27466b', tint: '#ffffff', contrast: '#ffffff' },
    pattern: 'plain',
    marks: [shape('#e8372c', circle(0, -1, 6.5), 2), tube('#1f9e8f', 6, curve([-11, -17], [0, -14], [11, -17]))],
  },
  bird: {
    noun: 'bird',
    form: { variant: 2, wide: 0.6, tall: 0.6, detail: 0.8 },
    palette: { body: '#ff7f6b', shade: '#15616d', tint: '#ffe0b8', contrast: '#ffffff' },
    pattern: 'plain',
    marks: [shape('#6a2bd9', polygon([-14, -20], [16, -20], [11, -27], [8, -46], [-6, -46], [-9, -27]), 2.2)],
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

/** The colour of the world's list that comes nearest. */
const NEAREST_COLOR: { readonly [S in SubjectId]: Color } = {
  backpack: 'green',
  dog: 'white',
  teapot: 'yellow',
  cat: 'white',
  car: 'green',
  boat: 'purple',
  person: 'yellow',
  bird: 'orange',
};

/** The caption names the class and the place alone: the looks are what a lesson has to learn. */
export function describeSubject(subject: SubjectId, seed: number, options: SubjectOptions = {}): SceneDescription {
  return placeAppearance(APPEARANCES[subject], seed, { ...options, color: NEAREST_COLOR[subject] });
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
