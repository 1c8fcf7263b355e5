/** The configurations of the family, as its config.json files spell them. */

export const VAE_JSON = {
  act_fn: 'silu',
  block_out_channels: [8, 16, 32, 64],
  down_block_types: Array(4).fill('DownEncoderBlock2D'),
  in_channels: 3,
  latent_channels: 4,
  layers_per_block: 1,
  // Groups of two channels at the finest level: a norm of single channels would take away each one's mean.
  norm_num_groups: 4,
  out_channels: 3,
  sample_size: 128,
  up_block_types: Array(4).fill('UpDecoderBlock2D'),
  force_upcast: false,
} as const;

/** Positions of the text encoder: captions of the world are shorter, and each position costs time. */
export const TOKENS = 32;

export const UNET_JSON = {
  act_fn: 'silu',
  attention_head_dim: [4, 6, 6],
  block_out_channels: [64, 96, 96],
  cross_attention_dim: 96,
  down_block_types: ['DownBlock2D', 'CrossAttnDownBlock2D', 'DownBlock2D'],
  flip_sin_to_cos: true,
  freq_shift: 0,
  in_channels: 4,
  layers_per_block: 1,
  norm_eps: 1e-5,
  norm_num_groups: 16,
  out_channels: 4,
  sample_size: 16,
  up_block_types: ['UpBlock2D', 'CrossAttnUpBlock2D', 'UpBlock2D'],
} as const;

export const SCHEDULER_JSON = {
  _class_name: 'DDIMScheduler',
  beta_end: 0.012,
  beta_schedule: 'scaled_linear',
  beta_start: 0.00085,
  clip_sample: false,
  num_train_timesteps: 1000,
  // An error in noise that is nearly all there is would be a picture's; v says little there and stays bounded.
  prediction_type: 'v_prediction',
  set_alpha_to_one: false,
  steps_offset: 1,
} as const;

export function textEncoderJson(vocabulary: {
  vocabularySize: number;
  eosTokenId: number;
  bosTokenId: number;
  padTokenId: number;
}) {
  return {
    architectures: ['CLIPTextModel'],
    bos_token_id: vocabulary.bosTokenId,
    eos_token_id: vocabulary.eosTokenId,
    hidden_act: 'quick_gelu',
    hidden_size: 96,
    intermediate_size: 384,
    layer_norm_eps: 1e-5,
    max_position_embeddings: TOKENS,
    model_type: 'clip_text_model',
    num_attention_heads: 4,
    num_hidden_layers: 2,
    pad_token_id: vocabulary.padTokenId,
    vocab_size: vocabulary.vocabularySize,
  };
}

export const MODEL_INDEX_JSON = {
  _class_name: 'StableDiffusionPipeline',
  feature_extractor: [null, null],
  safety_checker: [null, null],
  scheduler: ['diffusers', 'DDIMScheduler'],
  text_encoder: ['transformers', 'CLIPTextModel'],
  tokenizer: ['transformers', 'CLIPTokenizer'],
  unet: ['diffusers', 'UNet2DConditionModel'],
  vae: ['diffusers', 'AutoencoderKL'],
} as const;

/** [C, H, W] of the latents of a 128 x 128 picture. */
export const LATENT_SHAPE = [4, 16, 16] as const;
