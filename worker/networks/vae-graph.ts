import { multiplyDims, symbol } from '../graph/dim.ts';
import { cast, input } from '../graph/operators.ts';
import { Scope } from '../graph/scope.ts';
import type { Dtype, Value } from '../graph/value.ts';
import { type VaeConfig, vaeDecoder, vaeEncoder } from './vae.ts';

export const VAE_COMPONENT = 'vae';

/** Describes the encoder: input image [N, C, f·H, f·W] in [-1, 1], output moments [N, 2·latentChannels, H, W]. */
export function describeVaeEncoder(config: VaeConfig, dtype: Dtype): { moments: Value } {
  const { vaeScaleFactor, inChannels } = config;
  const [height, width] = [symbol('height'), symbol('width')].map((side) => multiplyDims(vaeScaleFactor, side));
  const image = input('image', { shape: [symbol('batch'), inChannels, height!, width!], dtype: 'float32' });
  return { moments: vaeEncoder(new Scope({ name: VAE_COMPONENT, dtype }), config, cast(image, dtype)) };
}

/** Describes the decoder: input latents [N, latentChannels, H, W] divided by the scaling factor, output image. */
export function describeVaeDecoder(config: VaeConfig, dtype: Dtype): { image: Value } {
  const shape = [symbol('batch'), config.latentChannels, symbol('height'), symbol('width')];
  const latents = cast(input('latents', { shape, dtype: 'float32' }), dtype);
  return { image: vaeDecoder(new Scope({ name: VAE_COMPONENT, dtype }), config, latents) };
}
