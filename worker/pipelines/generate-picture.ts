import { UserError } from '../../shared/errors.ts';
import type { DenoiseStep } from '../diffusion/denoise.ts';
import { loadMask, loadPicture } from '../diffusion/picture.ts';
import type { SchedulerName } from '../diffusion/schedulers/create-scheduler.ts';
import type { PictureResult, StableDiffusion } from '../diffusion/stable-diffusion.ts';
import { loadTextualInversionFile } from '../diffusion/textual-inversion-file.ts';
import { loadTensor, readSafetensorsHeader } from '../runtime/safetensors.ts';
import { float32Tensor, type Tensor } from '../runtime/session.ts';

/** Everything that decides a picture, as files and numbers: what is stored with it to make it again. */
export interface PictureRecipe {
  readonly prompt: string;
  readonly negativePrompt?: string | undefined;
  readonly width: number;
  readonly height: number;
  readonly numInferenceSteps: number;
  readonly guidanceScale: number;
  readonly guidanceRescale?: number | undefined;
  readonly seed: number;
  readonly schedulerName?: SchedulerName | undefined;
  readonly eta?: number | undefined;
  readonly clipSkip?: number | undefined;
  readonly image?: string | undefined;
  readonly strength?: number | undefined;
  readonly mask?: string | undefined;
  readonly controls: readonly RecipeControl[];
  readonly loras: readonly { readonly file: string; readonly scale: number }[];
  readonly embeddings: readonly string[];
  readonly latents?: string | undefined;
}

export interface RecipeControl {
  readonly kind: 'controlnet' | 'adapter';
  readonly folder: string;
  readonly image: string;
  readonly conditioningScale: number;
  readonly controlGuidanceStart: number;
  readonly controlGuidanceEnd: number;
  readonly isGuessMode: boolean;
}

/** Loads the files of a recipe and makes its picture, yielding after each step. */
export async function* generatePicture(
  pipeline: StableDiffusion,
  recipe: PictureRecipe,
): AsyncGenerator<DenoiseStep, PictureResult> {
  const { width, height, image, mask, latents, ...rest } = recipe;
  const size = { width, height };
  return yield* pipeline.generate({
    ...rest,
    ...size,
    image:
      image === undefined
        ? undefined
        : pictureTensor(await loadPicture(image, size, { channels: 3, range: 'signed' }), size, 3),
    mask: mask === undefined ? undefined : pictureTensor(await loadMask(mask, size), size, 1),
    latents: latents === undefined ? undefined : await loadLatents(latents),
    embeddings: await Promise.all(recipe.embeddings.map((file) => loadTextualInversionFile(file))),
    controls: recipe.controls.map((control) => ({
      ...control,
      loadImage: (channels) => loadControlImage(control.image, size, channels),
    })),
  });
}

async function loadControlImage(
  file: string,
  size: { width: number; height: number },
  channels: number,
): Promise<Tensor> {
  if (channels !== 1 && channels !== 3) {
    throw new UserError(`Cannot use ${file} as control image: the network must take 1 or 3 channels, got ${channels}`);
  }
  return pictureTensor(await loadPicture(file, size, { channels, range: 'unit' }), size, channels);
}

function pictureTensor(
  data: Float32Array,
  { width, height }: { width: number; height: number },
  channels: number,
): Tensor {
  return float32Tensor(data, [1, channels, height, width]);
}

/** @throws UserError if the file has no tensor named latents */
async function loadLatents(file: string): Promise<Tensor> {
  const { tensors } = await readSafetensorsHeader(file);
  const tensor = tensors.get('latents');
  if (!tensor)
    throw new UserError(
      `Cannot read ${file}: it must have a tensor named latents, got ${[...tensors.keys()].slice(0, 5).join(', ') || 'none'}`,
    );
  return float32Tensor(await loadTensor(tensor), tensor.shape);
}
