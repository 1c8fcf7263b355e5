import type { Bitmap } from '../../diffusion/resize.ts';
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
export async function trainingPicture(index: number): Promise<Bitmap> {
  const { pixels } = await renderScene(trainingScene(index));
  return { bytes: pixels, channels: 3, width: SIDE, height: SIDE };
}
