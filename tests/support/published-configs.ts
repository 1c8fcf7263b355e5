/** The fields of published configurations that decide what a network computes, as their config.json states them. */

const unetSd1 = {
  sample_size: 64,
  in_channels: 4,
  out_channels: 4,
  block_out_channels: [320, 640, 1280, 1280],
  down_block_types: ['CrossAttnDownBlock2D', 'CrossAttnDownBlock2D', 'CrossAttnDownBlock2D', 'DownBlock2D'],
  up_block_types: ['UpBlock2D', 'CrossAttnUpBlock2D', 'CrossAttnUpBlock2D', 'CrossAttnUpBlock2D'],
  layers_per_block: 2,
  attention_head_dim: 8,
  cross_attention_dim: 768,
};

const unetSd2 = {
  ...unetSd1,
  sample_size: 96,
  attention_head_dim: [5, 10, 20, 20],
  cross_attention_dim: 1024,
  use_linear_projection: true,
  upcast_attention: true,
};

const unetXl = {
  sample_size: 128,
  in_channels: 4,
  out_channels: 4,
  block_out_channels: [320, 640, 1280],
  down_block_types: ['DownBlock2D', 'CrossAttnDownBlock2D', 'CrossAttnDownBlock2D'],
  up_block_types: ['CrossAttnUpBlock2D', 'CrossAttnUpBlock2D', 'UpBlock2D'],
  layers_per_block: 2,
  attention_head_dim: [5, 10, 20],
  cross_attention_dim: 2048,
  use_linear_projection: true,
  transformer_layers_per_block: [1, 2, 10],
  addition_embed_type: 'text_time',
  addition_time_embed_dim: 256,
  projection_class_embeddings_input_dim: 2816,
};

const vae = {
  block_out_channels: [128, 256, 512, 512],
  down_block_types: Array(4).fill('DownEncoderBlock2D'),
  up_block_types: Array(4).fill('UpDecoderBlock2D'),
  layers_per_block: 2,
  latent_channels: 4,
  norm_num_groups: 32,
  sample_size: 512,
};

const textEncoderSd1 = {
  architectures: ['CLIPTextModel'],
  hidden_size: 768,
  intermediate_size: 3072,
  num_hidden_layers: 12,
  num_attention_heads: 12,
  hidden_act: 'quick_gelu',
  projection_dim: 768,
  vocab_size: 49408,
  max_position_embeddings: 77,
  eos_token_id: 2,
};

export const publishedConfigs = {
  unetSd1,
  unetSd2,
  unetXl,
  vae,
  textEncoderSd1,
  textEncoderSd2: {
    ...textEncoderSd1,
    hidden_size: 1024,
    intermediate_size: 4096,
    num_hidden_layers: 23,
    num_attention_heads: 16,
    hidden_act: 'gelu',
    projection_dim: 512,
  },
  textEncoderXl2: {
    ...textEncoderSd1,
    architectures: ['CLIPTextModelWithProjection'],
    hidden_size: 1280,
    intermediate_size: 5120,
    num_hidden_layers: 32,
    num_attention_heads: 20,
    hidden_act: 'gelu',
    projection_dim: 1280,
  },
  t2iFull: {
    adapter_type: 'full_adapter',
    in_channels: 3,
    channels: [320, 640, 1280, 1280],
    num_res_blocks: 2,
    downscale_factor: 8,
  },
  t2iXl: {
    adapter_type: 'full_adapter_xl',
    in_channels: 3,
    channels: [320, 640, 1280, 1280],
    num_res_blocks: 2,
    downscale_factor: 16,
  },
  t2iLight: {
    adapter_type: 'light_adapter',
    in_channels: 3,
    channels: [320, 640, 1280],
    num_res_blocks: 4,
    downscale_factor: 8,
  },
  safetyChecker: {
    projection_dim: 768,
    vision_config: {
      hidden_size: 1024,
      intermediate_size: 4096,
      num_hidden_layers: 24,
      num_attention_heads: 16,
      patch_size: 14,
      image_size: 224,
      hidden_act: 'quick_gelu',
    },
  },
};
