import { cast, input } from '../graph/operators.ts';
import { Scope } from '../graph/scope.ts';
import { type ClipTextConfig, clipTextEncoder } from '../networks/clip.ts';
import { denoiserComponents } from '../networks/denoiser.ts';
import { unet } from '../networks/unet.ts';
import { diffusionLoss } from './diffusion-loss.ts';
import { learnNamed } from './learning.ts';
import { type LessonOptions, tokenInputNames } from './lessons.ts';
import type { Lesson } from './trainer.ts';

/** Names of the tensors that learn: those of the two networks, told apart by a prefix. */
export const learnedNames = {
  unet: (name: string) => `unet:${name}`,
  textEncoder: (name: string) => `text_encoder:${name}`,
} as const;

/**
 * A UNet and its text encoder from nothing, together: the one learns to denoise, the other what its words must say for
 * that. Prompts are fed as token ids [N, T].
 * @see Rombach et al. 2022 (arXiv 2112.10752), eq. 3, where the two are "jointly optimized"
 */
export function textToImageLesson(options: LessonOptions, config: ClipTextConfig): Lesson {
  const { batch, latentSide, target, tokens, unet: unetConfig, dtype = 'float32' } = options;
  const { trainables, learn } = learnNamed(dtype);
  const learning = (name: string, nameOf: (name: string) => string) =>
    new Scope({ name, dtype, substitute: (own, shape) => learn(nameOf(own), shape) });
  const inputIds = input(tokenInputNames.inputIds, { shape: [batch, tokens], dtype: 'int64' });
  const textScope = learning('text_encoder', learnedNames.textEncoder);
  const { lastHiddenState } = clipTextEncoder(textScope, config, { inputIds });
  const unetScope = learning(denoiserComponents.unet, learnedNames.unet);
  const { loss, sampleLosses, perStep } = diffusionLoss({
    batch,
    latentShape: [unetConfig.outChannels, latentSide, latentSide],
    target,
    predict: (sample, timestep) =>
      unet(unetScope, unetConfig, {
        sample: cast(sample, dtype),
        timestep,
        encoderHiddenStates: lastHiddenState,
      }),
  });
  return {
    trainables,
    loss,
    perStep: [...perStep, inputIds],
    reported: { sampleLosses },
    isLossScaled: dtype === 'float16',
  };
}

/** Whether a tensor ends a residual branch or the UNet itself; these begin as zero, as in the code of Ho et al. 2020. */
export function isQuietAtFirst(name: string): boolean {
  return /^unet:.*(conv2|proj_out)\.(weight|bias)$|^unet:conv_out\./.test(name);
}
