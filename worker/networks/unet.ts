import { add, endBlock } from '../graph/operators.ts';
import type { Scope } from '../graph/scope.ts';
import type { Value } from '../graph/value.ts';
import { addFeature, downBlock, midBlock, upBlock } from './blocks.ts';
import { type TimeConditions, timeEmbedding } from './embeddings.ts';
import { conv2d, groupNorm } from './layers.ts';
import type { UnetConfig } from './unet-config.ts';

export interface UnetInputs extends TimeConditions {
  /** [N, inChannels, H, W]. */
  readonly sample: Value;
  /** [N, T, crossAttentionDim]. */
  readonly encoderHiddenStates: Value;
  /** Added to the cross-attention scores, broadcast to [N, heads, S, T]. */
  readonly encoderAttentionBias?: Value | undefined;
}

/** Residuals of a ControlNet, or the sum of several. */
export interface ControlResiduals {
  /** One per skip of the UNet. */
  readonly downBlockResiduals: readonly Value[];
  readonly midBlockResidual: Value;
}

export interface UnetControls {
  readonly controlnet?: ControlResiduals | undefined;
  /** Features of a T2I-Adapter, or the sum of several, coarser and coarser. */
  readonly adapterFeatures?: readonly Value[] | undefined;
}

/**
 * UNet2DConditionModel.
 * @returns the prediction [N, outChannels, H, W]
 * @see diffusers, models/unets/unet_2d_condition.py
 */
export function unet(scope: Scope, config: UnetConfig, inputs: UnetInputs, controls: UnetControls = {}): Value {
  return scope.describe(() => {
    const x = unetFeatures(scope, config, { ...inputs, controls, upBlocks: config.blockOutChannels.length });
    const norm = { numGroups: config.normNumGroups, epsilon: config.normEps, activation: 'silu' } as const;
    return conv2d(scope.at('conv_out'), groupNorm(scope.at('conv_norm_out'), x, norm), config.outChannels);
  });
}

/**
 * What the UNet knows about its sample after so many blocks of the decoder.
 * @param options.upBlocks  0 for the middle, at most one per level
 * @returns [N, C, h, w], finer after each block
 */
export function unetFeatures(
  scope: Scope,
  config: UnetConfig,
  { controls = {}, upBlocks, ...inputs }: UnetInputs & { controls?: UnetControls; upBlocks: number },
): Value {
  return scope.describe(() => {
    const { sample, encoderHiddenStates, encoderAttentionBias } = inputs;
    const context = {
      config,
      timeEmbedding: timeEmbedding(scope, config, inputs),
      encoderHiddenStates,
      encoderAttentionBias,
    };
    const features = [...(controls.adapterFeatures ?? [])];
    let x = endBlock(conv2d(scope.at('conv_in'), sample, config.blockOutChannels[0]!));
    let skips = [x];
    config.blockOutChannels.forEach((_, level) => {
      const block = downBlock(scope.at('down_blocks', level), x, {
        level,
        adapterFeature: features.shift(),
        ...context,
      });
      x = block.x;
      skips.push(...block.skips);
    });
    x = midBlock(scope.at('mid_block'), x, context);
    // SDXL's adapters have one feature more than there are down blocks: it belongs to the middle.
    if (features.length > 0) x = addFeature(x, features.shift()!);
    if (controls.controlnet) {
      const { downBlockResiduals, midBlockResidual } = controls.controlnet;
      skips = skips.map((skip, i) => add(skip, downBlockResiduals[i]!));
      x = add(x, midBlockResidual);
    }
    const levels = config.blockOutChannels.length;
    for (let i = 0; i < upBlocks; i++) {
      x = upBlock(scope.at('up_blocks', i), x, { level: levels - 1 - i, skips, ...context });
    }
    return x;
  });
}
