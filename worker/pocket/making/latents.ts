import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { elementCount } from '../../runtime/element-count.ts';
import { loadTensor } from '../../runtime/safetensors.ts';
import type { SessionOptions } from '../../runtime/session.ts';
import { findComponentWeights } from '../../runtime/weight-files.ts';
import { type LatentCache, openLatentCache } from '../../training/latent-cache.ts';
import { scaledMeans } from '../../training/latent-moments.ts';
import { LATENT_SHAPE } from './configs.ts';
import { type DrawPicture, ENCODED_TOGETHER, openSceneEncoder } from './encode-scenes.ts';
import { repaintedPicture, trainingPicture } from './scenes.ts';

/** Pictures that UNet and controls learn from. */
export const CACHED_SCENES = 32_768;

export interface SceneLatentOptions {
  readonly vaeFolder: string;
  readonly workFolder: string;
  readonly session: SessionOptions;
}

/** The latents of the training scenes, times the scaling factor: encoded once for each encoder. Must be closed. */
export function openSceneLatents(options: SceneLatentOptions): Promise<LatentCache> {
  return openLatents('latents', trainingPicture, options);
}

/** The same of the scenes in colours that no caption names. */
export function openRepaintedLatents(options: SceneLatentOptions): Promise<LatentCache> {
  return openLatents('repainted', repaintedPicture, options);
}

async function openLatents(
  name: string,
  draw: DrawPicture,
  { vaeFolder, workFolder, session }: SceneLatentOptions,
): Promise<LatentCache> {
  const encoder = await openSceneEncoder(vaeFolder, session, draw);
  const cache = await openLatentCache({
    file: join(workFolder, `${name}-${await encoderKey(vaeFolder)}.f32`),
    size: elementCount(LATENT_SHAPE),
    batch: ENCODED_TOGETHER,
    encode: async (first, end) => scaledMeans(await encoder.moments(first, end), encoder.config.scalingFactor),
  });
  return {
    ...cache,
    close: async () => {
      await cache.close();
      await encoder.dispose();
    },
  };
}

/** The same for two VAEs that encode alike, whatever their decoders do. */
async function encoderKey(vaeFolder: string): Promise<string> {
  const hash = createHash('sha256');
  const { tensors } = await findComponentWeights(vaeFolder);
  const own = [...tensors.keys()].filter((name) => /^(encoder|quant_conv)\./.test(name)).sort();
  for (const name of own) hash.update(new Uint8Array((await loadTensor(tensors.get(name)!)).buffer));
  return hash.digest('hex').slice(0, 16);
}
