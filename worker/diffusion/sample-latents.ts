import { UserError } from '../../shared/errors.ts';
import type { UnetConfig } from '../networks/unet-config.ts';
import type { VaeConfig } from '../networks/vae.ts';
import { elementCount } from '../runtime/element-count.ts';
import { float32Tensor, type Session, type Tensor } from '../runtime/session.ts';
import { type ControlFeed, type DenoiseStep, denoise, type Inpainting, joinBatches } from './denoise.ts';
import { guidanceScaleEmbedding } from './guidance.ts';
import type { PromptEmbeds } from './prompt-encoder.ts';
import { createScheduler, type SchedulerName } from './schedulers/create-scheduler.ts';
import type { Randn, Scheduler } from './schedulers/scheduler.ts';
import type { SchedulerConfig } from './schedulers/scheduler-config.ts';
import type { VaeCodec } from './vae-codec.ts';

export interface PixelSize {
  readonly height: number;
  readonly width: number;
}

/** SDXL's size conditioning; the picture's own size and no crop by default. */
export interface SizeConditioning {
  readonly originalSize?: PixelSize;
  readonly cropTopLeft?: { readonly top: number; readonly left: number };
  readonly targetSize?: PixelSize;
  /** Used only if both negative sizes are given; else the unconditional half gets the same ids. */
  readonly negativeOriginalSize?: PixelSize;
  readonly negativeCropTopLeft?: { readonly top: number; readonly left: number };
  readonly negativeTargetSize?: PixelSize;
}

export interface SampleRequest extends PixelSize {
  readonly prompt: PromptEmbeds;
  readonly numInferenceSteps: number;
  /** 1 is off. */
  readonly guidanceScale: number;
  readonly guidanceRescale?: number | undefined;
  /** Swaps the model's scheduler. */
  readonly schedulerName?: SchedulerName | undefined;
  readonly eta?: number | undefined;
  readonly controls?: readonly ControlFeed[] | undefined;
  /** [1, 3, H, W] in [-1, 1] to start from. */
  readonly image?: Tensor | undefined;
  /** (0, 1], share of the schedule that is re-noised. */
  readonly strength?: number | undefined;
  /** [1, 1, H, W]; 1 where the image is repainted. */
  readonly mask?: Tensor | undefined;
  /** Noise of unit variance [1, C, H/f, W/f] instead of the seed's. */
  readonly latents?: Tensor | undefined;
  readonly sizes?: SizeConditioning | undefined;
  /** Feeds that are the same at every step, such as LoRA factors. */
  readonly fixedFeeds?: Readonly<Record<string, Tensor>> | undefined;
  readonly randn: Randn;
}

export interface SampleParts {
  readonly unet: UnetConfig;
  readonly session: Session;
  readonly vae: VaeCodec;
  readonly scheduler: SchedulerConfig;
}

/**
 * The sampler of a request.
 * @throws UserError if the steps, the strength or eta are out of range for it
 */
export function schedulerFor(
  config: SchedulerConfig,
  { numInferenceSteps, schedulerName, eta, image, strength = 1 }: Omit<SampleRequest, 'prompt' | 'controls' | 'randn'>,
): Scheduler {
  return createScheduler(config, {
    numInferenceSteps,
    ...(schedulerName !== undefined && { name: schedulerName }),
    ...(eta !== undefined && { eta }),
    ...(image && { strength }),
  });
}

/** Whether the network runs on an unconditional half as well: LCM's networks take guidance as an input instead. */
export function isGuidedSampling({ timeCondProjDim }: UnetConfig, guidanceScale: number): boolean {
  return guidanceScale > 1 && timeCondProjDim === undefined;
}

/**
 * Samples latents: text to image, image to image if there is an image, inpainting if there is a mask as well.
 * Random numbers are drawn in the order of diffusers' pipelines, so that a seed gives the same picture.
 * @returns latents [1, C, H/f, W/f]
 * @throws UserError if the request does not fit the model
 */
export async function* sampleLatents(parts: SampleParts, request: SampleRequest): AsyncGenerator<DenoiseStep, Tensor> {
  checkSampleRequest({ unet: parts.unet, vae: parts.vae.config }, request);
  const { unet, session } = parts;
  const scheduler = schedulerFor(parts.scheduler, request);
  const { guidanceScale } = request;
  const isGuided = isGuidedSampling(unet, guidanceScale);
  const { latents, inpainting } = await startLatents(parts, request, scheduler);
  return yield* denoise({
    session,
    scheduler,
    latents,
    inpainting,
    isGuided,
    guidanceScale,
    guidanceRescale: request.guidanceRescale,
    conditions: { ...request.fixedFeeds, ...conditionFeeds(unet, request, isGuided) },
    controls: request.controls,
    randn: request.randn,
  });
}

/**
 * Checks what can be checked before anything is loaded.
 * @throws UserError that says the rule and the value received
 */
export function checkSampleRequest(
  { unet, vae }: { unet: UnetConfig; vae: VaeConfig },
  request: Omit<SampleRequest, 'prompt' | 'randn' | 'controls'>,
): void {
  const requireThat = (holds: boolean, rule: string, got: unknown) => {
    if (!holds) throw new UserError(`Cannot make the picture: ${rule}, got ${got}`);
  };
  const { height, width, image, mask, strength = 1, guidanceScale, guidanceRescale = 0, latents } = request;
  const factor = vae.vaeScaleFactor;
  const isSize = (side: number) => Number.isInteger(side) && side > 0 && side % factor === 0;
  requireThat(
    isSize(height) && isSize(width),
    `width and height must be multiples of ${factor}`,
    `${width} x ${height}`,
  );
  requireThat(strength > 0 && strength <= 1, 'strength must be above 0 and at most 1', strength);
  requireThat(
    guidanceScale >= 0 && Number.isFinite(guidanceScale),
    'the guidance scale must be 0 or more',
    guidanceScale,
  );
  requireThat(
    guidanceRescale >= 0 && guidanceRescale <= 1,
    'the guidance rescale must be from 0 to 1',
    guidanceRescale,
  );
  requireThat(!mask || image !== undefined, 'a mask needs an image', 'none');
  for (const [name, pixels, channels] of [
    ['image', image, vae.inChannels],
    ['mask', mask, 1],
  ] as const) {
    const shape = [1, channels, height, width];
    requireThat(
      !pixels || pixels.dims.join() === shape.join(),
      `the ${name} must be [${shape.join(', ')}]`,
      `[${pixels?.dims.join(', ')}]`,
    );
  }
  requireThat(
    !latents || !image || mask !== undefined,
    'latents and an image to start from exclude each other',
    'both',
  );
  const shape = [1, vae.latentChannels, height / factor, width / factor];
  requireThat(!latents || latents.dims.join() === shape.join(), `latents must be [${shape}]`, `[${latents?.dims}]`);
  const isInpaintingModel = unet.inChannels === 2 * vae.latentChannels + 1;
  requireThat(
    isInpaintingModel || unet.inChannels === vae.latentChannels,
    'the UNet must take 4 or 9 channels',
    unet.inChannels,
  );
  requireThat(!isInpaintingModel || mask !== undefined, 'an inpainting model needs an image and a mask', 'none');
}

interface Start {
  readonly latents: Tensor;
  readonly inpainting?: Inpainting | undefined;
}

async function startLatents({ unet, vae }: SampleParts, request: SampleRequest, scheduler: Scheduler): Promise<Start> {
  const { image, mask, strength = 1, randn, height, width } = request;
  const { latentChannels, vaeScaleFactor } = vae.config;
  const dims = [1, latentChannels, height / vaeScaleFactor, width / vaeScaleFactor];
  const count = elementCount(dims);
  const isInpaintingModel = unet.inChannels > latentChannels;
  // Encoding draws noise, so it comes first wherever the image is encoded at all.
  const isImageEncoded = image !== undefined && !(isInpaintingModel && strength === 1);
  const original = isImageEncoded ? ((await vae.encode(image, randn)).data as Float32Array) : undefined;
  const noise = (request.latents?.data as Float32Array | undefined) ?? randn(count);
  const isPureNoise = original === undefined || (mask !== undefined && strength === 1);
  const start = isPureNoise
    ? noise.map((value) => value * scheduler.initNoiseSigma)
    : scheduler.addNoise(original, noise, 0);
  const latents = float32Tensor(start, dims);
  if (!image || !mask) return { latents };
  const latentMask = shrinkMask(mask, vaeScaleFactor);
  if (isInpaintingModel) {
    const masked = await vae.encode(hideMasked(image, mask), randn);
    return {
      latents,
      inpainting: { kind: 'concatenate', mask: latentMask, maskedImageLatents: masked.data as Float32Array },
    };
  }
  // diffusers encodes the masked image here as well; only the numbers that it draws for that matter.
  randn(count);
  return { latents, inpainting: { kind: 'blend', mask: latentMask, originalLatents: original!, noise } };
}

/** Nearest neighbour: the upper left pixel of each block decides. */
function shrinkMask({ data, dims }: Tensor, factor: number): Float32Array {
  const [, , height, width] = dims as [number, number, number, number];
  const [rows, columns] = [height / factor, width / factor];
  return Float32Array.from({ length: rows * columns }, (_, i) => {
    return Number(data[Math.floor(i / columns) * factor * width + (i % columns) * factor]);
  });
}

/** The image with what is to be repainted set to middle grey. */
function hideMasked(image: Tensor, mask: Tensor): Tensor {
  const data = (image.data as Float32Array).map((value, i) =>
    Number(mask.data[i % mask.data.length]) < 0.5 ? value : 0,
  );
  return float32Tensor(data, image.dims);
}

/** What the UNet is told beside the sample; the unconditional half comes first if there is one. */
export function conditionFeeds(
  unet: UnetConfig,
  request: Pick<SampleRequest, 'prompt' | 'height' | 'width' | 'sizes' | 'guidanceScale'>,
  isGuided: boolean,
): Record<string, Tensor> {
  const { promptEmbeds, negativePromptEmbeds, textEmbeds, negativeTextEmbeds } = request.prompt;
  const both = (negative: Tensor, positive: Tensor) => (isGuided ? joinBatches(negative, positive) : positive);
  const feeds: Record<string, Tensor> = { encoder_hidden_states: both(negativePromptEmbeds, promptEmbeds) };
  if (unet.addition) {
    if (!textEmbeds || !negativeTextEmbeds)
      throw new Error('Cannot make the picture: SDXL needs pooled prompt embeds, got none');
    const [negativeIds, ids] = timeIds(request);
    feeds['text_embeds'] = both(negativeTextEmbeds, textEmbeds);
    feeds['time_ids'] = both(negativeIds, ids);
  }
  if (unet.timeCondProjDim !== undefined) {
    const embedding = guidanceScaleEmbedding(request.guidanceScale, unet.timeCondProjDim);
    feeds['timestep_cond'] = float32Tensor(embedding, [1, unet.timeCondProjDim]);
  }
  return feeds;
}

/** @returns the ids of the unconditional and of the conditional half, [1, 6] each */
function timeIds({
  height,
  width,
  sizes = {},
}: Pick<SampleRequest, 'height' | 'width' | 'sizes'>): [negative: Tensor, positive: Tensor] {
  const { originalSize = { height, width }, cropTopLeft = { top: 0, left: 0 }, targetSize = { height, width } } = sizes;
  const ids = (original: PixelSize, crop: { top: number; left: number }, target: PixelSize) => {
    const values = [original.height, original.width, crop.top, crop.left, target.height, target.width];
    return float32Tensor(Float32Array.from(values), [1, 6]);
  };
  const positive = ids(originalSize, cropTopLeft, targetSize);
  const { negativeOriginalSize, negativeTargetSize, negativeCropTopLeft = { top: 0, left: 0 } } = sizes;
  if (!negativeOriginalSize || !negativeTargetSize) return [positive, positive];
  return [ids(negativeOriginalSize, negativeCropTopLeft, negativeTargetSize), positive];
}
