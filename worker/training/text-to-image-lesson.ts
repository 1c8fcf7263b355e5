import type { ClipTextConfig } from '../networks/clip.ts';
import { learnNamed } from './learning.ts';
import { encodedPrompt } from './lesson-prompt.ts';
import { type LessonOptions, unetLesson, unetScope } from './lessons.ts';
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
  const learning = learnNamed(options.dtype);
  const namedBy = (nameOf: (name: string) => string) => (name: string, shape: readonly number[]) =>
    learning.learn(nameOf(name), shape);
  return unetLesson(options, {
    unetScope: unetScope(options, { substitute: namedBy(learnedNames.unet) }),
    learning,
    prompt: encodedPrompt(options, [{ component: 'text_encoder', config }]),
    encoderHooks: () => ({ substitute: namedBy(learnedNames.textEncoder) }),
  });
}

/** Whether a tensor ends a residual branch or the UNet itself; these begin as zero, as in the code of Ho et al. 2020. */
export function isQuietAtFirst(name: string): boolean {
  return /^unet:.*(conv2|proj_out)\.(weight|bias)$|^unet:conv_out\./.test(name);
}
