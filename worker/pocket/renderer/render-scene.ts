/**
 * Draws the pocket world, the pictures that the shipped models learn from:
 *
 *   const scene = describeScene(seed);                       // plain data: what, where, caption
 *   const { pixels } = await renderScene(scene);              // RGB bytes, 128 x 128 x 3
 *   const sketch = await renderControlMap(scene, 'sketch');   // control-maps.ts; the same size
 *   const { scene, pixels } = await drawScene(seed);          // both at once
 *   const photo = await drawSubject('backpack', seed);        // subjects.ts; for lessons
 *
 * Everything is a function of the seed. `scene.described` says the truth about noun, colour, pattern and background;
 * `scene.caption` says a part of it.
 */
import sharp from 'sharp';
import { describeScene, type SceneDescription } from './scene.ts';
import { pictureLook, sceneSvg } from './scene-svg.ts';

export interface RenderedPicture {
  /** [128, 128, 3], RGB side by side. */
  readonly pixels: Uint8Array;
}

export interface DrawnScene extends RenderedPicture {
  readonly scene: SceneDescription;
}

export async function drawScene(seed: number): Promise<DrawnScene> {
  const scene = describeScene(seed);
  return { scene, ...(await renderScene(scene)) };
}

export async function renderScene(scene: SceneDescription): Promise<RenderedPicture> {
  return { pixels: await rasterize(sceneSvg(scene, pictureLook(scene))) };
}

/** Turns SVG of our own into RGB bytes. */
export async function rasterize(svg: string): Promise<Uint8Array> {
  return new Uint8Array(await sharp(Buffer.from(svg)).removeAlpha().raw().toBuffer());
}
