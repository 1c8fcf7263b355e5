import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { UserError } from '../../shared/errors.ts';
import type { ClipTextConfig } from '../networks/clip.ts';
import { safetyCheckerClass, textEncoderClass, unetClass, vaeClass } from '../networks/network-classes.ts';
import type { SafetyCheckerConfig } from '../networks/safety-checker.ts';
import type { UnetConfig } from '../networks/unet-config.ts';
import type { VaeConfig } from '../networks/vae.ts';
import { type NetworkFolder, openNetwork, readJsonFile } from './network-folder.ts';
import {
  parseSchedulerConfig,
  type SchedulerConfig,
  withStableDiffusionDefaults,
} from './schedulers/scheduler-config.ts';

/** A text encoder with the folder of its tokenizer. */
export interface TextEncoderFolder extends NetworkFolder<ClipTextConfig> {
  /** Name of the graph's component and of the LoRA target. */
  readonly component: 'text_encoder' | 'text_encoder_2';
  readonly tokenizerFolder: string;
}

/** A published pipeline folder, checked and ready to be compiled. */
export interface ModelFolder {
  readonly folder: string;
  readonly unet: NetworkFolder<UnetConfig>;
  readonly vae: NetworkFolder<VaeConfig>;
  /** One for SD 1.x and 2.x, two for SDXL. */
  readonly textEncoders: readonly TextEncoderFolder[];
  readonly scheduler: SchedulerConfig;
  readonly safetyChecker: NetworkFolder<SafetyCheckerConfig> | undefined;
  /** SDXL: an absent negative prompt is zeros instead of the encoding of "". */
  readonly forceZerosForEmptyPrompt: boolean;
}

const slotSchema = z.union([z.tuple([z.string(), z.string()]), z.tuple([z.null(), z.null()])]).optional();
const modelIndexSchema = z.object({
  unet: z.tuple([z.string(), z.literal('UNet2DConditionModel')]),
  vae: z.tuple([z.string(), z.literal('AutoencoderKL')]),
  text_encoder: z.tuple([z.string(), z.enum(['CLIPTextModel', 'CLIPTextModelWithProjection'])]),
  text_encoder_2: slotSchema,
  scheduler: z.tuple([z.string(), z.string()]),
  safety_checker: slotSchema,
  force_zeros_for_empty_prompt: z.boolean().default(false),
});

/**
 * Opens a pipeline folder as it is published, model_index.json and a folder per component; only headers are read.
 * @throws UserError that names what is missing, wrong or not supported
 */
export async function openModelFolder(folder: string): Promise<ModelFolder> {
  const indexFile = join(folder, 'model_index.json');
  const parsed = modelIndexSchema.safeParse(await readJsonFile(indexFile));
  if (!parsed.success) {
    const problems = parsed.error.issues.map(({ path, message }) => `${path.join('.')}: ${message}`);
    throw new UserError(
      `Cannot use ${folder}: model_index.json must name a Stable Diffusion's components; ${problems.join('; ')}`,
    );
  }
  const index = parsed.data;
  const components = ['text_encoder', ...(index.text_encoder_2?.[1] ? ['text_encoder_2'] : [])] as const;
  const textEncoders = await Promise.all(
    components.map(async (component) => ({
      ...(await openNetwork(join(folder, component), textEncoderClass)),
      component: component as TextEncoderFolder['component'],
      tokenizerFolder: join(folder, component.replace('text_encoder', 'tokenizer')),
    })),
  );
  const schedulerFile = join(folder, 'scheduler', 'scheduler_config.json');
  const hasChecker = Boolean(index.safety_checker?.[1]) && existsSync(join(folder, 'safety_checker'));
  const model = {
    folder,
    unet: await openNetwork(join(folder, 'unet'), unetClass),
    vae: await openNetwork(join(folder, 'vae'), vaeClass),
    textEncoders,
    scheduler: withStableDiffusionDefaults(parseSchedulerConfig(await readJsonFile(schedulerFile))),
    safetyChecker: hasChecker ? await openNetwork(join(folder, 'safety_checker'), safetyCheckerClass) : undefined,
    forceZerosForEmptyPrompt: index.force_zeros_for_empty_prompt,
  };
  checkParts(model);
  return model;
}

/** @throws UserError if the networks cannot work together */
function checkParts({ folder, unet, vae, textEncoders }: ModelFolder): void {
  const context = textEncoders.reduce((sum, { config }) => sum + config.hiddenSize, 0);
  const wanted = unet.config.crossAttentionDim;
  const requirePart = (holds: boolean, rule: string, got: unknown) => {
    if (!holds) throw new UserError(`Cannot use ${folder}: ${rule}, got ${got}`);
  };
  requirePart(
    wanted.every((dim) => dim === context),
    `cross_attention_dim of the UNet must be the text encoders' ${context}`,
    wanted,
  );
  requirePart(
    unet.config.outChannels === vae.config.latentChannels,
    `the UNet must give ${vae.config.latentChannels} channels`,
    unet.config.outChannels,
  );
  const { addition } = unet.config;
  const pooled = textEncoders.at(-1)?.config.projectionDim;
  requirePart(
    addition === undefined || addition.textEmbedDim === pooled,
    `the last text encoder's projection must have the UNet's ${addition?.textEmbedDim} features`,
    pooled ?? 'none',
  );
}
