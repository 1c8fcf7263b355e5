import { z } from 'zod';
import { UserError } from '../../shared/errors.ts';
import { multiplyDims } from '../graph/dim.ts';
import { add, attention, flattenSpatial, resizeNearest, unflattenSpatial } from '../graph/operators.ts';
import type { Scope } from '../graph/scope.ts';
import type { Value } from '../graph/value.ts';
import { resnetBlock } from './blocks.ts';
import { countUpTo, parseConfig } from './config.ts';
import { conv2d, dense, groupNorm } from './layers.ts';

export interface VaeConfig {
  readonly inChannels: number;
  readonly outChannels: number;
  readonly blockOutChannels: readonly number[];
  readonly layersPerBlock: number;
  readonly latentChannels: number;
  readonly normNumGroups: number;
  /** Side in pixels above which encoding and decoding go tile by tile. */
  readonly sampleSize: number;
  /** Latents are the posterior's sample times this. */
  readonly scalingFactor: number;
  /** Pixels per latent. */
  readonly vaeScaleFactor: number;
  /** Overflows in float16. */
  readonly forceUpcast: boolean;
}

const vaeSchema = z.object({
  in_channels: countUpTo(64).default(3),
  out_channels: countUpTo(64).default(3),
  block_out_channels: z.array(countUpTo(65536)).min(1).max(8).default([64]),
  down_block_types: z.array(z.literal('DownEncoderBlock2D')).default(['DownEncoderBlock2D']),
  up_block_types: z.array(z.literal('UpDecoderBlock2D')).default(['UpDecoderBlock2D']),
  layers_per_block: countUpTo(32).default(1),
  latent_channels: countUpTo(256).default(4),
  norm_num_groups: countUpTo(1024).default(32),
  sample_size: z.union([countUpTo(65536), z.array(countUpTo(65536)).min(1)]).default(32),
  scaling_factor: z.number().positive().default(0.18215),
  force_upcast: z.boolean().default(true),
});

const vaeFixedValues = {
  act_fn: 'silu',
  latents_mean: null,
  latents_std: null,
  shift_factor: null,
  use_quant_conv: true,
  use_post_quant_conv: true,
  mid_block_add_attention: true,
} as const;

/**
 * Parses vae/config.json.
 * @throws UserError that names the field, the rule and the value received
 */
export function parseVaeConfig(json: unknown, where = 'vae/config.json'): VaeConfig {
  const fields = parseConfig(json, { schema: vaeSchema, fixed: vaeFixedValues, where });
  const channels = fields.block_out_channels;
  for (const [field, types] of Object.entries({
    down_block_types: fields.down_block_types,
    up_block_types: fields.up_block_types,
  })) {
    if (types.length !== channels.length) {
      throw new UserError(`Cannot read ${where}: ${field} must have ${channels.length} entries, got ${types.length}`);
    }
  }
  const bad = channels.find((width) => width % fields.norm_num_groups !== 0);
  if (bad !== undefined) {
    throw new UserError(
      `Cannot read ${where}: block_out_channels must be divisible by ${fields.norm_num_groups} groups, got ${bad}`,
    );
  }
  return {
    inChannels: fields.in_channels,
    outChannels: fields.out_channels,
    blockOutChannels: channels,
    layersPerBlock: fields.layers_per_block,
    latentChannels: fields.latent_channels,
    normNumGroups: fields.norm_num_groups,
    sampleSize: Array.isArray(fields.sample_size) ? fields.sample_size[0]! : fields.sample_size,
    scalingFactor: fields.scaling_factor,
    vaeScaleFactor: 2 ** (channels.length - 1),
    forceUpcast: fields.force_upcast,
  };
}

/**
 * AutoencoderKL's encoder.
 * @param image [N, inChannels, f·H, f·W] in [-1, 1]
 * @returns moments [N, 2·latentChannels, H, W]: means, then log variances
 */
export function vaeEncoder(scope: Scope, config: VaeConfig, image: Value): Value {
  return scope.describe(() => {
    const encoder = scope.at('encoder');
    const { blockOutChannels, latentChannels } = config;
    let x = conv2d(encoder.at('conv_in'), image, blockOutChannels[0]!);
    blockOutChannels.forEach((out, i) => {
      const block = encoder.at('down_blocks', i);
      for (let j = 0; j < config.layersPerBlock; j++) x = vaeResnet(block.at('resnets', j), x, { out, config });
      // Trained with padding at the right and bottom only; symmetric padding samples one pixel off.
      const halved = { stride: 2, pads: [0, 0, 1, 1] } as const;
      if (i < blockOutChannels.length - 1) x = conv2d(block.at('downsamplers.0.conv'), x, out, halved);
    });
    x = conv2d(
      encoder.at('conv_out'),
      finish(encoder, middle(encoder.at('mid_block'), x, config), config),
      2 * latentChannels,
    );
    return conv2d(scope.at('quant_conv'), x, 2 * latentChannels, { kernel: 1 });
  });
}

/**
 * AutoencoderKL's decoder.
 * @param latents [N, latentChannels, H, W], already divided by the scaling factor
 * @returns image [N, outChannels, f·H, f·W], about [-1, 1]
 */
export function vaeDecoder(scope: Scope, config: VaeConfig, latents: Value): Value {
  return scope.describe(() => {
    const decoder = scope.at('decoder');
    const widths = [...config.blockOutChannels].reverse();
    let x = conv2d(scope.at('post_quant_conv'), latents, config.latentChannels, { kernel: 1 });
    x = middle(decoder.at('mid_block'), conv2d(decoder.at('conv_in'), x, widths[0]!), config);
    widths.forEach((out, i) => {
      const block = decoder.at('up_blocks', i);
      for (let j = 0; j <= config.layersPerBlock; j++) x = vaeResnet(block.at('resnets', j), x, { out, config });
      if (i < widths.length - 1) {
        const [, , height, width] = x.shape;
        const doubled = resizeNearest(x, multiplyDims(2, height!), multiplyDims(2, width!));
        x = conv2d(block.at('upsamplers.0.conv'), doubled, out);
      }
    });
    return conv2d(decoder.at('conv_out'), finish(decoder, x, config), config.outChannels);
  });
}

function vaeResnet(scope: Scope, x: Value, { out, config }: { out: number; config: VaeConfig }): Value {
  return resnetBlock(scope, x, { out, numGroups: config.normNumGroups, epsilon: VAE_NORM_EPSILON });
}

const VAE_NORM_EPSILON = 1e-6;

function middle(scope: Scope, x: Value, config: VaeConfig): Value {
  const out = Number(x.shape[1]);
  x = vaeResnet(scope.at('resnets.0'), x, { out, config });
  x = spatialAttention(scope.at('attentions.0'), x, config);
  return vaeResnet(scope.at('resnets.1'), x, { out, config });
}

/** Self-attention of one head over all positions. */
function spatialAttention(scope: Scope, x: Value, config: VaeConfig): Value {
  return scope.describe(() => {
    const [, channels, height, width] = x.shape;
    const normalized = groupNorm(scope.at('group_norm'), x, {
      numGroups: config.normNumGroups,
      epsilon: VAE_NORM_EPSILON,
    });
    const h = flattenSpatial(normalized);
    const [query, key, value] = ['to_q', 'to_k', 'to_v'].map((name) => dense(scope.at(name), h, Number(channels)));
    const attended = attention(query!, key!, value!, { numHeads: 1 });
    return add(x, unflattenSpatial(dense(scope.at('to_out.0'), attended, Number(channels)), height!, width!));
  });
}

function finish(scope: Scope, x: Value, { normNumGroups }: VaeConfig): Value {
  return groupNorm(scope.at('conv_norm_out'), x, {
    numGroups: normNumGroups,
    epsilon: VAE_NORM_EPSILON,
    activation: 'silu',
  });
}

const OLD_ATTENTION_NAMES: Readonly<Record<string, string>> = {
  query: 'to_q',
  key: 'to_k',
  value: 'to_v',
  proj_attn: 'to_out.0',
};

/** Today's spelling of a VAE tensor: early checkpoints, SD 1.x among them, name the attention's layers otherwise. */
export function currentVaeName(name: string): string {
  return name.replace(
    /(attentions\.\d+\.)(query|key|value|proj_attn)(\.(?:weight|bias))$/,
    (_, before: string, old: string, after: string) => before + OLD_ATTENTION_NAMES[old] + after,
  );
}
