import type { Bitmap } from '../../diffusion/resize.ts';
import { repainted } from '../renderer/palette.ts';
import { randomChoices } from '../renderer/random-choices.ts';
import { renderScene } from '../renderer/render-scene.ts';
import { describeScene, type SceneDescription } from '../renderer/scene.ts';
import { SIDE } from '../renderer/world.ts';

/** Pictures for learning and for measuring have seeds of their own: the family never learns from one below this. */
export const FIRST_TRAINING_SEED = 1_000_000;

/** The training scene of an index. */
export function trainingScene(index: number): SceneDescription {
  return describeScene(FIRST_TRAINING_SEED + index);
}

/** Its picture, RGB. */
export function trainingPicture(index: number): Promise<Bitmap> {
  return bitmapOf(trainingScene(index));
}

/**
 * The training scene of an index in colours that no caption names. A VAE must keep every colour, or what a lesson teaches
 * turns into the nearest of the ten.
 */
export function repaintedPicture(index: number): Promise<Bitmap> {
  const scene = trainingScene(index);
  const palette = repainted(randomChoices(FIRST_TRAINING_SEED + index));
  return bitmapOf({ ...scene, appearance: { ...scene.appearance, palette } });
}

/**
 * What a VAE learns from: every other picture wears colours without a name, for what it has not seen comes back as the nearest
 * that it knows.
 */
export function vaePicture(index: number) {
  const isRepainted = index % 2 === 1;
  return { isRepainted, scene: Math.floor(index / 2), draw: isRepainted ? repaintedPicture : trainingPicture };
}

async function bitmapOf(scene: SceneDescription): Promise<Bitmap> {
  const { pixels } = await renderScene(scene);
  return { bytes: pixels, channels: 3, width: SIDE, height: SIDE };
}
