import { z } from 'zod';
import { add, concat, endBlock, mul, reduceMean, scalar, silu, slice } from '../graph/operators.ts';
import type { Scope } from '../graph/scope.ts';
import type { Value } from '../graph/value.ts';
import { downBlock, midBlock } from './blocks.ts';
import { countUpTo, parseConfig } from './config.ts';
import { type TimeConditions, timeEmbedding } from './embeddings.ts';
import { conv2d } from './layers.ts';
import type { ControlResiduals } from './unet.ts';
import { normalizeUnet, type UnetConfig, unetFixedValues, unetSchema } from './unet-config.ts';

export interface ControlnetConfig extends UnetConfig {
  readonly conditioningChannels: number;
  readonly conditioningEmbeddingOutChannels: readonly number[];
  /** Side of the control image's pixels that become one latent: each of the above but the first halves the image. */
  readonly pixelsPerLatent: number;
  /** 'bgr' flips the channels of the control image before it enters. */
  readonly channelOrder: 'rgb' | 'bgr';
  /** Residuals are averaged over space, and guess mode is forced. */
  readonly globalPoolConditions: boolean;
}

const controlnetSchema = unetSchema.extend({
  conditioning_channels: countUpTo(64).default(3),
  conditioning_embedding_out_channels: z.array(countUpTo(4096)).min(1).max(8).default([16, 32, 96, 256]),
  controlnet_conditioning_channel_order: z.enum(['rgb', 'bgr']).default('rgb'),
  global_pool_conditions: z.boolean().default(false),
});

/**
 * Parses the config.json of a ControlNetModel.
 * @throws UserError that names the field, the rule and the value received
 */
export function parseControlnetConfig(json: unknown, where = 'controlnet/config.json'): ControlnetConfig {
  const fields = parseConfig(json, { schema: controlnetSchema, fixed: unetFixedValues, where });
  return {
    // A ControlNet has no decoder: its file may leave the up blocks out, and any number of levels is as good.
    ...normalizeUnet({ ...fields, up_block_types: fields.block_out_channels.map(() => 'UpBlock2D' as const) }, where),
    conditioningChannels: fields.conditioning_channels,
    conditioningEmbeddingOutChannels: fields.conditioning_embedding_out_channels,
    pixelsPerLatent: 2 ** (fields.conditioning_embedding_out_channels.length - 1),
    channelOrder: fields.controlnet_conditioning_channel_order,
    globalPoolConditions: fields.global_pool_conditions,
  };
}

export interface ControlnetInputs extends TimeConditions {
  /** [N, 4, H, W], as the scheduler scaled it for the UNet. */
  readonly sample: Value;
  readonly encoderHiddenStates: Value;
  /** [N or 1, conditioningChannels, 8H, 8W] in [0, 1]. */
  readonly controlImage: Value;
  /** Scalar that multiplies every residual; 1 as trained. */
  readonly conditioningScale: Value;
}

/**
 * ControlNetModel: a copy of the UNet's encoder that sees the control image.
 * @param options.isGuessMode weights the residuals from 0.1 at the finest to 1 in the middle
 * @see Zhang et al. 2023 (arXiv 2302.05543), section 3; diffusers, models/controlnets/controlnet.py
 */
export function controlnet(
  scope: Scope,
  config: ControlnetConfig,
  { isGuessMode, ...inputs }: ControlnetInputs & { isGuessMode: boolean },
): ControlResiduals {
  return scope.describe(() => {
    const { sample, encoderHiddenStates, conditioningScale } = inputs;
    const context = { config, timeEmbedding: timeEmbedding(scope, config, inputs), encoderHiddenStates };
    const hint = conditioningEmbedding(scope.at('controlnet_cond_embedding'), config, inputs.controlImage);
    let x = endBlock(add(conv2d(scope.at('conv_in'), sample, config.blockOutChannels[0]!), hint));
    const skips = [x];
    config.blockOutChannels.forEach((_, level) => {
      const block = downBlock(scope.at('down_blocks', level), x, { level, ...context });
      x = block.x;
      skips.push(...block.skips);
    });
    x = midBlock(scope.at('mid_block'), x, context);
    const residuals = [...skips, x].map((value, i) => {
      const place = i < skips.length ? scope.at('controlnet_down_blocks', i) : scope.at('controlnet_mid_block');
      const residual = conv2d(place, value, Number(value.shape[1]), { kernel: 1 });
      const weighted = mul(residual, conditioningScale);
      if (config.globalPoolConditions) return reduceMean(weighted, [2, 3]);
      return isGuessMode ? mul(weighted, scalar(10 ** (i / skips.length - 1), weighted)) : weighted;
    });
    return { downBlockResiduals: residuals.slice(0, -1), midBlockResidual: residuals.at(-1)! };
  });
}

/** Brings the control image to the size and width of the UNet's first feature map. */
function conditioningEmbedding(scope: Scope, config: ControlnetConfig, image: Value): Value {
  return scope.describe(() => {
    const channels = config.conditioningEmbeddingOutChannels;
    const ordered = config.channelOrder === 'bgr' ? reverseChannels(image) : image;
    let x = silu(conv2d(scope.at('conv_in'), ordered, channels[0]!));
    for (let i = 0; i < channels.length - 1; i++) {
      x = silu(conv2d(scope.at('blocks', 2 * i), x, channels[i]!));
      x = silu(conv2d(scope.at('blocks', 2 * i + 1), x, channels[i + 1]!, { stride: 2 }));
    }
    return conv2d(scope.at('conv_out'), x, config.blockOutChannels[0]!);
  });
}

/** Sums the residuals of several ControlNets element by element. */
export function sumResiduals(all: readonly ControlResiduals[]): ControlResiduals | undefined {
  return all.length === 0
    ? undefined
    : all.reduce((a, b) => ({
        downBlockResiduals: a.downBlockResiduals.map((residual, i) => add(residual, b.downBlockResiduals[i]!)),
        midBlockResidual: add(a.midBlockResidual, b.midBlockResidual),
      }));
}

/** Puts zeros in front for the unconditional half of the batch, which guess mode leaves without control. */
export function padUnconditional({ downBlockResiduals, midBlockResidual }: ControlResiduals): ControlResiduals {
  const pad = (residual: Value) => concat([mul(residual, scalar(0, residual)), residual], 0);
  return { downBlockResiduals: downBlockResiduals.map(pad), midBlockResidual: pad(midBlockResidual) };
}

function reverseChannels(image: Value): Value {
  const channels = Number(image.shape[1]);
  const planes = Array.from({ length: channels }, (_, i) => slice(image, 1, [channels - 1 - i, channels - i]));
  return concat(planes, 1);
}
