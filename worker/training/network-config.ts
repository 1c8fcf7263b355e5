import type { T2iAdapterConfig } from '../networks/t2i-adapter.ts';

/** Fields of a UNet's config.json that its ControlNet takes over; see diffusers `ControlNetModel.from_unet`. */
const SHARED_FIELDS = [
  'act_fn',
  'addition_embed_type',
  'addition_time_embed_dim',
  'attention_head_dim',
  'block_out_channels',
  'class_embed_type',
  'cross_attention_dim',
  'down_block_types',
  'downsample_padding',
  'encoder_hid_dim',
  'encoder_hid_dim_type',
  'flip_sin_to_cos',
  'freq_shift',
  'in_channels',
  'layers_per_block',
  'mid_block_scale_factor',
  'mid_block_type',
  'norm_eps',
  'norm_num_groups',
  'num_attention_heads',
  'num_class_embeds',
  'only_cross_attention',
  'projection_class_embeddings_input_dim',
  'resnet_time_scale_shift',
  'transformer_layers_per_block',
  'upcast_attention',
  'use_linear_projection',
];

/**
 * Makes the config.json of a ControlNet from the one of the UNet that it controls.
 * @param unet  parsed unet/config.json
 * @param options.embeddingChannels  widths of the layers that bring the control image to the latents' size; each but the
 *   first halves it, so four for a VAE of 8 pixels per latent
 */
export function controlnetJson(
  unet: Readonly<Record<string, unknown>>,
  { embeddingChannels, conditioningChannels }: { embeddingChannels: readonly number[]; conditioningChannels: number },
): Record<string, unknown> {
  return {
    ...Object.fromEntries(SHARED_FIELDS.filter((field) => field in unet).map((field) => [field, unet[field]])),
    conditioning_channels: conditioningChannels,
    conditioning_embedding_out_channels: embeddingChannels,
    controlnet_conditioning_channel_order: 'rgb',
    global_pool_conditions: false,
  };
}

/** Spells a T2I-Adapter's configuration as its config.json does. */
export function t2iAdapterJson(config: T2iAdapterConfig): Record<string, unknown> {
  return {
    adapter_type: config.adapterType,
    in_channels: config.inChannels,
    channels: config.channels,
    num_res_blocks: config.numResBlocks,
    downscale_factor: config.downscaleFactor,
  };
}
