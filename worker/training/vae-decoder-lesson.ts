import { add, input, sub } from '../graph/operators.ts';
import { Scope } from '../graph/scope.ts';
import { type VaeConfig, vaeDecoder } from '../networks/vae.ts';
import { VAE_COMPONENT } from '../networks/vae-graph.ts';
import { learnEverything } from './learning.ts';
import type { Lesson } from './trainer.ts';
import { colorLoss, reconstructionLoss } from './vae-lesson.ts';

export interface VaeDecoderLessonOptions {
  readonly vae: VaeConfig;
  /** Pictures per step. */
  readonly batch: number;
  /** Side of the square pictures in pixels. */
  readonly side: number;
}

/** Names of the inputs of a decoder's lesson. */
export const vaeDecoderInputs = {
  /** [N, C, S, S] in [-1, 1]. */
  image: 'image',
  /** [N, latentChannels, S/f, S/f], divided by the scaling factor. */
  latents: 'latents',
} as const;

/**
 * A VAE's decoder beside an encoder that stays as it is, so that networks which learned on its latents still fit: the loss of
 * `vaeLesson` without its divergence, and the mean absolute difference of the colour that each latent stands for.
 */
export function vaeDecoderLesson({ vae, batch, side }: VaeDecoderLessonOptions): Lesson {
  const { trainables, substitute } = learnEverything();
  const scope = new Scope({ name: VAE_COMPONENT, dtype: 'float32', substitute });
  const latentSide = side / vae.vaeScaleFactor;
  const image = input(vaeDecoderInputs.image, { shape: [batch, vae.outChannels, side, side], dtype: 'float32' });
  const latents = input(vaeDecoderInputs.latents, {
    shape: [batch, vae.latentChannels, latentSide, latentSide],
    dtype: 'float32',
  });
  const difference = sub(vaeDecoder(scope, vae, latents), image);
  const color = colorLoss(difference, vae.vaeScaleFactor);
  return {
    trainables,
    loss: add(reconstructionLoss(difference), color),
    perStep: [image, latents],
    reported: { color },
  };
}
