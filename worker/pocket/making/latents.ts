import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { elementCount } from '../../runtime/element-count.ts';
import type { SessionOptions } from '../../runtime/session.ts';
import { type LatentCache, openLatentCache } from '../../training/latent-cache.ts';
import { scaledMeans } from '../../training/latent-moments.ts';
import { LATENT_SHAPE } from './configs.ts';
import { ENCODED_TOGETHER, openSceneEncoder } from './encode-scenes.ts';

/** Pictures that UNet and controls learn from. */
export const CACHED_SCENES = 32_768;

export interface SceneLatentOptions {
  readonly vaeFolder: string;
  readonly workFolder: string;
  readonly session: SessionOptions;
}

/** The latents of the training scenes, times the scaling factor: encoded once for each VAE. Must be closed. */
export async function openSceneLatents({ vaeFolder, workFolder, session }: SceneLatentOptions): Promise<LatentCache> {
  const encoder = await openSceneEncoder(vaeFolder, session);
  const weights = await readFile(join(vaeFolder, 'diffusion_pytorch_model.safetensors'));
  const key = createHash('sha256').update(weights).digest('hex').slice(0, 16);
  const cache = await openLatentCache({
    file: join(workFolder, `latents-${key}.f32`),
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
