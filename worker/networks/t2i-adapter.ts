import { z } from 'zod';
import { UserError } from '../../shared/errors.ts';
import { add, averagePool2x2, endBlock, mul, pixelUnshuffle, relu } from '../graph/operators.ts';
import type { Scope } from '../graph/scope.ts';
import type { Value } from '../graph/value.ts';
import { countUpTo, parseConfig } from './config.ts';
import { conv2d } from './layers.ts';

export const ADAPTER_TYPES = ['full_adapter', 'full_adapter_xl', 'light_adapter'] as const;

/** Where a config.json names none: those of the UNets of all published families. */
export const DEFAULT_CHANNELS: readonly number[] = [320, 640, 1280, 1280];

export interface T2iAdapterConfig {
  readonly adapterType: (typeof ADAPTER_TYPES)[number];
  /** 1 for adapters of grey maps. */
  readonly inChannels: number;
  readonly channels: readonly number[];
  readonly numResBlocks: number;
  readonly downscaleFactor: number;
}

const adapterSchema = z.object({
  adapter_type: z.enum(ADAPTER_TYPES).default('full_adapter'),
  in_channels: countUpTo(64).default(3),
  channels: z
    .array(countUpTo(65536))
    .min(1)
    .max(8)
    .default([...DEFAULT_CHANNELS]),
  num_res_blocks: countUpTo(64).default(2),
  downscale_factor: z.union([z.literal(4), z.literal(8), z.literal(16)]).default(8),
});

/**
 * Parses the config.json of a T2IAdapter.
 * @throws UserError that names the field, the rule and the value received
 */
export function parseT2iAdapterConfig(json: unknown, where = 't2i_adapter/config.json'): T2iAdapterConfig {
  const fields = parseConfig(json, { schema: adapterSchema, fixed: {}, where });
  const isLight = fields.adapter_type === 'light_adapter';
  if (!isLight && fields.channels.length !== 4) {
    throw new UserError(
      `Cannot read ${where}: channels of a ${fields.adapter_type} must have 4 entries, got ${fields.channels.length}`,
    );
  }
  if (isLight && fields.channels.some((channels) => channels % 4 !== 0)) {
    throw new UserError(
      `Cannot read ${where}: channels of a light_adapter must be divisible by 4, got ${fields.channels}`,
    );
  }
  return {
    adapterType: fields.adapter_type,
    inChannels: fields.in_channels,
    channels: fields.channels,
    numResBlocks: fields.num_res_blocks,
    downscaleFactor: fields.downscale_factor,
  };
}

/** Channels of an adapter's features, in the order in which a UNet takes them. */
export function featureChannels({
  adapterType,
  channels,
}: Pick<T2iAdapterConfig, 'adapterType' | 'channels'>): number[] {
  return adapterType === 'light_adapter' ? [...channels, channels.at(-1)!] : [...channels];
}

/**
 * Channels of the features that a UNet takes: one for each level; and where it begins without attention, as SDXL's does, one
 * for its middle, since there a feature enters behind the downsampler, at half of the latents' size.
 */
export function wantedFeatures(blockOutChannels: readonly number[], beginsWithAttention: boolean): number[] {
  return [...blockOutChannels, ...(beginsWithAttention ? [] : [blockOutChannels.at(-1)!])];
}

/** Width and height of the picture must be multiples of this many pixels. */
export function totalDownscaleFactor({ adapterType, channels, downscaleFactor }: T2iAdapterConfig): number {
  if (adapterType === 'full_adapter_xl') return downscaleFactor * 2;
  return downscaleFactor * 2 ** (adapterType === 'light_adapter' ? channels.length : channels.length - 1);
}

/**
 * T2IAdapter.
 * @param image [N, inChannels, H, W] in [0, 1]
 * @param conditioningScale scalar that multiplies every feature; 1 as trained
 * @returns features for the UNet's down blocks, and for SDXL one for its middle
 * @see Mou et al. 2023 (arXiv 2302.08453); diffusers, models/adapter.py
 */
export function t2iAdapter(
  scope: Scope,
  config: T2iAdapterConfig,
  { image, conditioningScale }: { image: Value; conditioningScale: Value },
): Value[] {
  return scope.describe(() => {
    const x = pixelUnshuffle(image, config.downscaleFactor);
    const features =
      config.adapterType === 'light_adapter' ? lightFeatures(scope, config, x) : fullFeatures(scope, config, x);
    return features.map((feature) => mul(feature, conditioningScale));
  });
}

function fullFeatures(scope: Scope, { adapterType, channels, numResBlocks }: T2iAdapterConfig, x: Value): Value[] {
  const pooled = adapterType === 'full_adapter_xl' ? [2] : [1, 2, 3];
  x = conv2d(scope.at('adapter.conv_in'), x, channels[0]!);
  return channels.map((out, i) => {
    const block = scope.at('adapter.body', i);
    if (pooled.includes(i)) x = averagePool2x2(x);
    if (x.shape[1] !== out) x = conv2d(block.at('in_conv'), x, out, { kernel: 1 });
    for (let j = 0; j < numResBlocks; j++) x = adapterResnet(block.at('resnets', j), x, { kernel: 1 });
    return x;
  });
}

function lightFeatures(scope: Scope, { channels, numResBlocks }: T2iAdapterConfig, x: Value): Value[] {
  return [...channels, channels.at(-1)!].map((out, i) => {
    const block = scope.at('adapter.body', i);
    if (i > 0) x = averagePool2x2(x);
    x = conv2d(block.at('in_conv'), x, out / 4, { kernel: 1 });
    for (let j = 0; j < numResBlocks; j++) x = adapterResnet(block.at('resnets', j), x, { kernel: 3 });
    x = conv2d(block.at('out_conv'), x, out, { kernel: 1 });
    return x;
  });
}

/** @param options.kernel side of the second convolution */
function adapterResnet(scope: Scope, x: Value, { kernel }: { kernel: number }): Value {
  return scope.describe(() => {
    const channels = Number(x.shape[1]);
    const h = relu(conv2d(scope.at('block1'), x, channels));
    return endBlock(add(conv2d(scope.at('block2'), h, channels, { kernel }), x));
  });
}

/** Sums the features of several adapters. */
export function sumFeatures(all: readonly (readonly Value[])[]): Value[] | undefined {
  return all.length === 0 ? undefined : [...all.reduce((a, b) => a.map((feature, i) => add(feature, b[i]!)))];
}
