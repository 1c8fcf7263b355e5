import { z } from 'zod';
import { UserError } from '../../shared/errors.ts';
import { countUpTo, type FixedValues, parseConfig, perLevel, spreadOverLevels } from './config.ts';

/** What a UNet2DConditionModel or a ControlNetModel is built from; lists have one entry per level, finest first. */
export interface UnetConfig {
  /** Latent size that the model was trained at; undefined where the file does not say. */
  readonly sampleSize: number | undefined;
  readonly inChannels: number;
  readonly outChannels: number;
  readonly blockOutChannels: readonly number[];
  /** Whether a level's down block (up block) has transformers. */
  readonly hasDownAttention: readonly boolean[];
  /** In the order of the level, finest first, as hasDownAttention. */
  readonly hasUpAttention: readonly boolean[];
  readonly layersPerBlock: readonly number[];
  /** The published field attention_head_dim holds this, for historical reasons. */
  readonly numAttentionHeads: readonly number[];
  readonly crossAttentionDim: readonly number[];
  readonly transformerLayersPerBlock: readonly number[];
  readonly useLinearProjection: boolean;
  /** Scores and softmax must stay in float32 where the network computes in float16. */
  readonly upcastAttention: boolean;
  readonly normNumGroups: number;
  readonly normEps: number;
  /** SDXL's size and crop conditioning, and the width of the pooled text embedding beside it. */
  readonly addition: { readonly timeEmbedDim: number; readonly textEmbedDim: number } | undefined;
  /** Width of LCM's guidance embedding. */
  readonly timeCondProjDim: number | undefined;
}

/** Original height and width, crop top and left, target height and width. */
export const SIZE_IDS = 6;
const LEVELS = 8;
const CHANNELS = 65536;
/** SDXL has 70; the limit keeps the graph of a hostile configuration small enough to describe. */
const TRANSFORMER_BLOCKS = 2000;

export const unetSchema = z.object({
  sample_size: z.union([countUpTo(4096), z.tuple([countUpTo(4096), countUpTo(4096)])]).optional(),
  in_channels: countUpTo(CHANNELS).default(4),
  out_channels: countUpTo(CHANNELS).default(4),
  down_block_types: z
    .array(z.enum(['CrossAttnDownBlock2D', 'DownBlock2D']))
    .min(1)
    .max(LEVELS)
    .default(['CrossAttnDownBlock2D', 'CrossAttnDownBlock2D', 'CrossAttnDownBlock2D', 'DownBlock2D']),
  up_block_types: z
    .array(z.enum(['CrossAttnUpBlock2D', 'UpBlock2D']))
    .min(1)
    .max(LEVELS)
    .default(['UpBlock2D', 'CrossAttnUpBlock2D', 'CrossAttnUpBlock2D', 'CrossAttnUpBlock2D']),
  block_out_channels: z.array(countUpTo(CHANNELS)).min(1).max(LEVELS).default([320, 640, 1280, 1280]),
  layers_per_block: perLevel(countUpTo(32)).default(2),
  attention_head_dim: perLevel(countUpTo(1024)).default(8),
  cross_attention_dim: perLevel(countUpTo(CHANNELS)).default(1280),
  transformer_layers_per_block: perLevel(countUpTo(64)).default(1),
  use_linear_projection: z.boolean().default(false),
  upcast_attention: z.boolean().default(false),
  norm_num_groups: countUpTo(1024).default(32),
  norm_eps: z.number().positive().max(1).default(1e-5),
  addition_embed_type: z.literal('text_time').optional(),
  addition_time_embed_dim: countUpTo(CHANNELS).optional(),
  projection_class_embeddings_input_dim: countUpTo(CHANNELS).optional(),
  time_cond_proj_dim: countUpTo(CHANNELS).optional(),
});

/** Fields whose other values would change the computation in ways that no published SD family model uses. */
export const unetFixedValues: FixedValues = {
  act_fn: 'silu',
  attention_type: 'default',
  center_input_sample: false,
  class_embed_type: null,
  class_embeddings_concat: false,
  conv_in_kernel: 3,
  conv_out_kernel: 3,
  cross_attention_norm: null,
  downsample_padding: 1,
  dropout: 0,
  dual_cross_attention: false,
  encoder_hid_dim: null,
  encoder_hid_dim_type: null,
  flip_sin_to_cos: true,
  freq_shift: 0,
  mid_block_only_cross_attention: null,
  mid_block_scale_factor: 1,
  mid_block_type: 'UNetMidBlock2DCrossAttn',
  num_attention_heads: null,
  num_class_embeds: null,
  only_cross_attention: false,
  resnet_out_scale_factor: 1,
  resnet_skip_time_act: false,
  resnet_time_scale_shift: 'default',
  reverse_transformer_layers_per_block: null,
  time_embedding_act_fn: null,
  time_embedding_dim: null,
  time_embedding_type: 'positional',
  timestep_post_act: null,
};

/**
 * Parses unet/config.json.
 * @throws UserError that names the field, the rule and the value received
 */
export function parseUnetConfig(json: unknown, where = 'unet/config.json'): UnetConfig {
  return normalizeUnet(parseConfig(json, { schema: unetSchema, fixed: unetFixedValues, where }), where);
}

/** Turns the fields of the file into one entry per level, and checks them against each other. */
export function normalizeUnet(fields: z.infer<typeof unetSchema>, where: string): UnetConfig {
  const levels = fields.block_out_channels.length;
  const spread = (value: number | number[], field: string) => spreadOverLevels(value, levels, `${field} of ${where}`);
  const check = (holds: boolean, rule: string, got: unknown) => {
    if (!holds) throw new UserError(`Cannot read ${where}: ${rule}, got ${JSON.stringify(got)}`);
  };
  const numAttentionHeads = spread(fields.attention_head_dim, 'attention_head_dim');
  check(
    fields.down_block_types.length === levels,
    `down_block_types must have ${levels} entries`,
    fields.down_block_types,
  );
  check(fields.up_block_types.length === levels, `up_block_types must have ${levels} entries`, fields.up_block_types);
  fields.block_out_channels.forEach((channels, i) => {
    check(
      channels % numAttentionHeads[i]! === 0,
      `block_out_channels must be divisible by the heads ${numAttentionHeads}`,
      channels,
    );
    check(
      channels % fields.norm_num_groups === 0,
      `block_out_channels must be divisible by ${fields.norm_num_groups} groups`,
      channels,
    );
  });
  check(
    fields.block_out_channels[0]! % 2 === 0,
    'block_out_channels must begin with an even number',
    fields.block_out_channels,
  );
  const layersPerBlock = spread(fields.layers_per_block, 'layers_per_block');
  const transformerLayersPerBlock = spread(fields.transformer_layers_per_block, 'transformer_layers_per_block');
  // A level has its layers in the encoder and one more in the decoder.
  const blocks = transformerLayersPerBlock.reduce((sum, depth, i) => sum + depth * (2 * layersPerBlock[i]! + 1), 0);
  check(blocks <= TRANSFORMER_BLOCKS, `the network must have at most ${TRANSFORMER_BLOCKS} transformer blocks`, blocks);
  return {
    sampleSize: Array.isArray(fields.sample_size) ? fields.sample_size[0] : fields.sample_size,
    inChannels: fields.in_channels,
    outChannels: fields.out_channels,
    blockOutChannels: fields.block_out_channels,
    hasDownAttention: fields.down_block_types.map((type) => type === 'CrossAttnDownBlock2D'),
    hasUpAttention: fields.up_block_types.map((type) => type === 'CrossAttnUpBlock2D').reverse(),
    layersPerBlock,
    numAttentionHeads,
    crossAttentionDim: spread(fields.cross_attention_dim, 'cross_attention_dim'),
    transformerLayersPerBlock,
    useLinearProjection: fields.use_linear_projection,
    upcastAttention: fields.upcast_attention,
    normNumGroups: fields.norm_num_groups,
    normEps: fields.norm_eps,
    addition: additionOf(fields, where),
    timeCondProjDim: fields.time_cond_proj_dim,
  };
}

function additionOf(fields: z.infer<typeof unetSchema>, where: string): UnetConfig['addition'] {
  if (fields.addition_embed_type === undefined) return undefined;
  const { addition_time_embed_dim: timeEmbedDim, projection_class_embeddings_input_dim: projectionInputDim } = fields;
  if (timeEmbedDim === undefined || projectionInputDim === undefined) {
    throw new UserError(
      `Cannot read ${where}: addition_embed_type text_time needs addition_time_embed_dim and ` +
        `projection_class_embeddings_input_dim, got ${timeEmbedDim} and ${projectionInputDim}`,
    );
  }
  if (timeEmbedDim % 2 !== 0) {
    throw new UserError(`Cannot read ${where}: addition_time_embed_dim must be even, got ${timeEmbedDim}`);
  }
  if (projectionInputDim <= SIZE_IDS * timeEmbedDim) {
    throw new UserError(
      `Cannot read ${where}: projection_class_embeddings_input_dim must be above ${SIZE_IDS} times addition_time_embed_dim, ` +
        `got ${projectionInputDim}`,
    );
  }
  return { timeEmbedDim, textEmbedDim: projectionInputDim - SIZE_IDS * timeEmbedDim };
}
