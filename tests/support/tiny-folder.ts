/** Published folders in miniature: the golden configurations and weights, laid out as diffusers lays out a pipeline. */
import { cp, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { networkClasses } from '../../worker/networks/network-classes.ts';
import { saveSafetensors } from '../../worker/runtime/safetensors.ts';
import { goldenTensor } from './golden.ts';
import { saveGoldenWeights, tinyConfigs } from './tiny-models.ts';

export type TinyUnet = 'unet-sd1' | 'unet-sd2' | 'unet-xl' | 'unet-lcm' | 'unet-inpaint';
type TinyConfigName = keyof typeof tinyConfigs;

export interface TinyPipelineOptions {
  /** unet-sd1 by default; the text encoders are chosen to fit. */
  readonly unet?: TinyUnet;
  /** Fields of scheduler_config.json that differ from Stable Diffusion's DDIM. */
  readonly scheduler?: Readonly<Record<string, unknown>>;
  /** Whether there is a safety checker; none by default. */
  readonly withSafetyChecker?: boolean;
}

const VOCABULARY = join(import.meta.dirname, '..', 'golden', 'small-vocabulary');
/** Entries of the small vocabulary. */
const VOCABULARY_SIZE = 656;

const DDIM = {
  _class_name: 'DDIMScheduler',
  beta_start: 0.00085,
  beta_end: 0.012,
  beta_schedule: 'scaled_linear',
  num_train_timesteps: 1000,
  clip_sample: false,
  set_alpha_to_one: false,
  steps_offset: 1,
};

const TEXT_ENCODERS: { readonly [U in TinyUnet]: readonly TinyConfigName[] } = {
  'unet-sd1': ['clip-quickgelu'],
  'unet-sd2': ['clip-gelu'],
  'unet-xl': ['clip-quickgelu', 'clip-proj'],
  'unet-lcm': ['clip-gelu'],
  'unet-inpaint': ['clip-gelu'],
};

/**
 * Writes a whole pipeline folder that openModelFolder accepts. Pictures are 8 pixels per latent; sides of 64 pixels
 * take about a tenth of a second per step.
 */
export async function saveTinyPipeline(folder: string, options: TinyPipelineOptions = {}): Promise<void> {
  const { unet = 'unet-sd1', scheduler = {}, withSafetyChecker = false } = options;
  const encoders = TEXT_ENCODERS[unet];
  const isXl = encoders.length === 2;
  const [encoder, encoder2] = ['CLIPTextModel', 'CLIPTextModelWithProjection'] as const;
  await saveJson(join(folder, 'model_index.json'), {
    _class_name: isXl ? 'StableDiffusionXLPipeline' : 'StableDiffusionPipeline',
    unet: ['diffusers', 'UNet2DConditionModel'],
    vae: ['diffusers', 'AutoencoderKL'],
    text_encoder: ['transformers', encoder],
    tokenizer: ['transformers', 'CLIPTokenizer'],
    ...(isXl && { text_encoder_2: ['transformers', encoder2], tokenizer_2: ['transformers', 'CLIPTokenizer'] }),
    scheduler: ['diffusers', 'DDIMScheduler'],
    safety_checker: withSafetyChecker ? ['stable_diffusion', 'StableDiffusionSafetyChecker'] : [null, null],
    ...(isXl && { force_zeros_for_empty_prompt: true }),
  });
  await saveJson(join(folder, 'scheduler', 'scheduler_config.json'), { ...DDIM, ...scheduler });
  await saveTinyNetwork(join(folder, 'unet'), 'UNet2DConditionModel', tinyConfigs[unet]);
  await saveTinyNetwork(join(folder, 'vae'), 'AutoencoderKL', tinyConfigs.vae);
  for (const [i, name] of encoders.entries()) {
    const suffix = i === 0 ? '' : '_2';
    const config = { ...tinyConfigs[name], vocab_size: VOCABULARY_SIZE };
    await saveTinyNetwork(join(folder, `text_encoder${suffix}`), i === 0 ? encoder : encoder2, config);
    await cp(VOCABULARY, join(folder, `tokenizer${suffix}`), { recursive: true });
  }
  if (withSafetyChecker) {
    await saveTinyNetwork(join(folder, 'safety_checker'), 'StableDiffusionSafetyChecker', tinyConfigs.safety);
  }
}

/** Writes config.json and golden weights of one network, such as a ControlNetModel or a T2IAdapter. */
export async function saveTinyNetwork(
  folder: string,
  className: keyof typeof networkClasses,
  config: object,
): Promise<void> {
  // Each class takes the configuration that its own parser made.
  const { parseConfig, tensorShapes } = networkClasses[className] as (typeof networkClasses)['UNet2DConditionModel'];
  await saveJson(join(folder, 'config.json'), { _class_name: className, ...config });
  const isTransformers = className.startsWith('CLIP') || className === 'StableDiffusionSafetyChecker';
  const file = isTransformers ? 'model.safetensors' : 'diffusion_pytorch_model.safetensors';
  await saveGoldenWeights(join(folder, file), tensorShapes(parseConfig(config, 'config.json')));
}

/** Writes a LoRA of rank 2 for one layer of the SD 1 UNet and one of its text encoder. */
export async function saveTinyLora(file: string): Promise<void> {
  const key = 'unet.mid_block.attentions.0.transformer_blocks.0.attn2.to_k';
  const layer = 'text_encoder.text_model.encoder.layers.0.mlp.fc1';
  await saveGoldenWeights(
    file,
    new Map([
      [`${key}.lora_A.weight`, [2, 12]],
      [`${key}.lora_B.weight`, [16, 2]],
      [`${layer}.lora_A.weight`, [2, 12]],
      [`${layer}.lora_B.weight`, [24, 2]],
    ]),
  );
}

/** Writes a textual inversion whose token is `token`. */
export async function saveTinyEmbedding(
  file: string,
  { token, vectors, width }: { token: string; vectors: number; width: number },
): Promise<void> {
  const shape = [vectors, width];
  await saveSafetensors(file, [[token, { dtype: 'F32', shape, values: goldenTensor(`in:${token}`, shape) }]]);
}

async function saveJson(file: string, json: object): Promise<void> {
  await mkdir(join(file, '..'), { recursive: true });
  await writeFile(file, JSON.stringify(json, undefined, 2));
}
