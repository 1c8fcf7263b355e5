/** The blocks that UNet, ControlNet and VAE are made of. */
import { shapeToString } from '../graph/dim.ts';
import {
  add,
  attention,
  concat,
  endBlock,
  flattenSpatial,
  geglu,
  reshape,
  resizeNearest,
  unflattenSpatial,
} from '../graph/operators.ts';
import type { Scope } from '../graph/scope.ts';
import { GraphError, type Value } from '../graph/value.ts';
import { conv2d, dense, densePointwise, type GroupNormOptions, groupNorm, layerNorm } from './layers.ts';
import type { UnetConfig } from './unet-config.ts';

/**
 * ResnetBlock2D: two normalised convolutions around the time embedding, beside a shortcut.
 * @param timeEmbedding [N, E] after SiLU; undefined in the VAE
 */
export function resnetBlock(
  scope: Scope,
  x: Value,
  {
    out,
    timeEmbedding,
    ...norm
  }: Omit<GroupNormOptions, 'activation'> & { out: number; timeEmbedding?: Value | undefined },
): Value {
  return scope.describe(() => {
    let h = conv2d(scope.at('conv1'), groupNorm(scope.at('norm1'), x, { ...norm, activation: 'silu' }), out);
    if (timeEmbedding) {
      const shift = dense(scope.at('time_emb_proj'), timeEmbedding, out);
      h = add(h, reshape(shift, [shift.shape[0]!, out, 1, 1]));
    }
    h = conv2d(scope.at('conv2'), groupNorm(scope.at('norm2'), h, { ...norm, activation: 'silu' }), out);
    const shortcut = x.shape[1] === out ? x : conv2d(scope.at('conv_shortcut'), x, out, { kernel: 1 });
    return endBlock(add(shortcut, h));
  });
}

/** Stride 2 with symmetric padding of 1. */
export function downsample(scope: Scope, x: Value): Value {
  return endBlock(conv2d(scope.at('conv'), x, Number(x.shape[1]), { stride: 2 }));
}

/** Nearest neighbour to the size of `like`, then a convolution. */
export function upsample(scope: Scope, x: Value, like: Value): Value {
  return endBlock(conv2d(scope.at('conv'), resizeNearest(x, like.shape[2]!, like.shape[3]!), Number(x.shape[1])));
}

export interface TransformerOptions {
  readonly numHeads: number;
  readonly depth: number;
  readonly useLinearProjection: boolean;
  readonly numGroups: number;
  /** [N, T, X]. */
  readonly encoderHiddenStates: Value;
  /** Added to the cross-attention scores, broadcast to [N, heads, S, T]. */
  readonly encoderAttentionBias?: Value | undefined;
}

/** Transformer2DModel: self-attention, cross-attention and GEGLU over the positions of x [N, C, H, W]. */
export function transformer2d(scope: Scope, x: Value, options: TransformerOptions): Value {
  return scope.describe(() => {
    const [, channels, height, width] = x.shape;
    const project = options.useLinearProjection ? dense : densePointwise;
    // The transformer's norm has an epsilon of its own, whatever norm_eps says.
    const normalized = groupNorm(scope.at('norm'), x, { numGroups: options.numGroups, epsilon: 1e-6 });
    let h = project(scope.at('proj_in'), flattenSpatial(normalized), Number(channels));
    for (let i = 0; i < options.depth; i++) h = transformerBlock(scope.at('transformer_blocks', i), h, options);
    const projected = project(scope.at('proj_out'), h, Number(channels));
    return endBlock(add(unflattenSpatial(projected, height!, width!), x));
  });
}

function transformerBlock(scope: Scope, x: Value, options: TransformerOptions): Value {
  return scope.describe(() => {
    const { numHeads, encoderHiddenStates, encoderAttentionBias } = options;
    const normalized = layerNorm(scope.at('norm1'), x);
    let h = add(crossAttention(scope.at('attn1'), normalized, { numHeads, context: normalized }), x);
    const cross = { numHeads, context: encoderHiddenStates, bias: encoderAttentionBias };
    h = add(crossAttention(scope.at('attn2'), layerNorm(scope.at('norm2'), h), cross), h);
    const features = Number(h.shape[2]);
    const gated = geglu(dense(scope.at('ff.net.0.proj'), layerNorm(scope.at('norm3'), h), 8 * features));
    return endBlock(add(dense(scope.at('ff.net.2'), gated, features), h));
  });
}

function crossAttention(
  scope: Scope,
  x: Value,
  { numHeads, context, bias }: { numHeads: number; context: Value; bias?: Value | undefined },
): Value {
  return scope.describe(() => {
    const features = Number(x.shape[2]);
    const query = dense(scope.at('to_q'), x, features, { hasBias: false });
    const key = dense(scope.at('to_k'), context, features, { hasBias: false });
    const value = dense(scope.at('to_v'), context, features, { hasBias: false });
    return dense(scope.at('to_out.0'), attention(query, key, value, { numHeads, bias }), features);
  });
}

/** What the blocks of a UNet or ControlNet share. */
export interface UnetContext {
  readonly config: UnetConfig;
  readonly timeEmbedding: Value;
  readonly encoderHiddenStates: Value;
  readonly encoderAttentionBias?: Value | undefined;
}

function unetResnet(scope: Scope, x: Value, out: number, { config, timeEmbedding }: UnetContext): Value {
  return resnetBlock(scope, x, { out, timeEmbedding, numGroups: config.normNumGroups, epsilon: config.normEps });
}

function unetTransformer(scope: Scope, x: Value, level: number, context: UnetContext): Value {
  const { config, encoderHiddenStates, encoderAttentionBias } = context;
  return transformer2d(scope, x, {
    numHeads: config.numAttentionHeads[level]!,
    depth: config.transformerLayersPerBlock[level]!,
    useLinearProjection: config.useLinearProjection,
    numGroups: config.normNumGroups,
    encoderHiddenStates,
    encoderAttentionBias,
  });
}

export interface DownBlockOptions {
  readonly level: number;
  /** A T2I-Adapter's feature for this block. */
  readonly adapterFeature?: Value | undefined;
}

/**
 * One level of the encoder.
 * @returns the block's result and the skips that it leaves, in order
 */
export function downBlock(
  scope: Scope,
  x: Value,
  { level, adapterFeature, ...context }: DownBlockOptions & UnetContext,
): { x: Value; skips: Value[] } {
  return scope.describe(() => {
    const { config } = context;
    const skips: Value[] = [];
    const layers = config.layersPerBlock[level]!;
    const hasAttention = config.hasDownAttention[level]!;
    for (let j = 0; j < layers; j++) {
      x = unetResnet(scope.at('resnets', j), x, config.blockOutChannels[level]!, context);
      if (hasAttention) x = unetTransformer(scope.at('attentions', j), x, level, context);
      // With attention the feature enters after the last pair, so that both its skip and the downsampler see it.
      if (hasAttention && j === layers - 1 && adapterFeature) x = addFeature(x, adapterFeature);
      skips.push(x);
    }
    if (level < config.blockOutChannels.length - 1) {
      x = downsample(scope.at('downsamplers.0'), x);
      skips.push(x);
    }
    if (!hasAttention && adapterFeature) {
      // Without attention it enters at the very end, in place: the last skip changes with the result.
      x = addFeature(x, adapterFeature);
      skips[skips.length - 1] = x;
    }
    return { x, skips };
  });
}

/** Adds an adapter's feature, of batch 1 or N; a size that would merely broadcast was made for another network. */
export function addFeature(x: Value, feature: Value): Value {
  const [own, wanted] = [feature, x].map(({ shape }) => shapeToString(shape.slice(1)));
  if (own !== wanted) throw new GraphError(`needs a T2I-Adapter feature of ${wanted}, got ${own}`);
  return add(x, feature);
}

export function midBlock(scope: Scope, x: Value, context: UnetContext): Value {
  return scope.describe(() => {
    const level = context.config.blockOutChannels.length - 1;
    const channels = context.config.blockOutChannels[level]!;
    x = unetResnet(scope.at('resnets.0'), x, channels, context);
    x = unetTransformer(scope.at('attentions.0'), x, level, context);
    return unetResnet(scope.at('resnets.1'), x, channels, context);
  });
}

/**
 * One level of the decoder; takes its skips from the end of `skips`.
 * @param level counted as in the encoder, finest 0
 */
export function upBlock(
  scope: Scope,
  x: Value,
  { level, skips, ...context }: UnetContext & { level: number; skips: Value[] },
): Value {
  return scope.describe(() => {
    const { config } = context;
    for (let j = 0; j <= config.layersPerBlock[level]!; j++) {
      const skip = skips.pop()!;
      x = unetResnet(scope.at('resnets', j), concat([x, skip], 1), config.blockOutChannels[level]!, context);
      if (config.hasUpAttention[level]) x = unetTransformer(scope.at('attentions', j), x, level, context);
    }
    // The next block's skips have the size to grow to; it is twice this one's unless the latents had an odd size.
    return level > 0 ? upsample(scope.at('upsamplers.0'), x, skips.at(-1)!) : x;
  });
}
