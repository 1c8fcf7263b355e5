import type { Bitmap } from '../diffusion/resize.ts';
import type { RandomGenerator } from '../runtime/random.ts';
import { float32Tensor } from '../runtime/session.ts';
import { stepGenerator } from './samples.ts';
import type { StepFeeds } from './trainer.ts';
import { vaeInputs } from './vae-lesson.ts';

export interface VaeSampleOptions {
  readonly seed: number;
  /** RGB pictures that a step may choose from, none smaller than a crop. */
  readonly pictures: (step: number) => Promise<readonly Bitmap[]>;
  /** Crops per step. */
  readonly batch: number;
  /** Side of the square crops in pixels. */
  readonly side: number;
  /** [C, H, W] of a crop's latents. */
  readonly latentShape: readonly [number, number, number];
}

/**
 * The feeds of one step of a VAE's lesson: random crops of random pictures.
 * @param step  counted from 0
 */
export async function vaeStepFeeds(step: number, options: VaeSampleOptions): Promise<StepFeeds> {
  const { seed, batch, side, latentShape } = options;
  const pictures = await options.pictures(step);
  const generator = stepGenerator(seed, step);
  const area = 3 * side * side;
  const crops = new Float32Array(batch * area);
  for (let i = 0; i < batch; i++) {
    const picture = pictures[generator.randint(pictures.length)]!;
    crops.set(randomCrop(picture, side, generator), i * area);
  }
  const latentSize = latentShape.reduce((product, size) => product * size, batch);
  return {
    [vaeInputs.image]: float32Tensor(crops, [batch, 3, side, side]),
    [vaeInputs.posteriorNoise]: float32Tensor(generator.randn(latentSize), [batch, ...latentShape]),
  };
}

/** @returns [3, side, side] in [-1, 1] */
function randomCrop({ bytes, width, height }: Bitmap, side: number, generator: RandomGenerator): Float32Array {
  const [left, top] = [generator.randint(width - side + 1), generator.randint(height - side + 1)];
  const planes = new Float32Array(3 * side * side);
  for (let y = 0, at = 0; y < side; y++) {
    let from = ((top + y) * width + left) * 3;
    for (let x = 0; x < side; x++, at++) {
      for (let channel = 0; channel < 3; channel++) {
        planes[channel * side * side + at] = bytes[from++]! / 127.5 - 1;
      }
    }
  }
  return planes;
}
