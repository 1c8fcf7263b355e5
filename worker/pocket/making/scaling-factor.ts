import type { SessionOptions } from '../../runtime/session.ts';
import { type Moments, scalingFactorOf } from '../../training/latent-moments.ts';
import { ENCODED_TOGETHER, openSceneEncoder } from './encode-scenes.ts';

const MEASURED_SCENES = 256;

/** Measures the scaling factor of a VAE on the family's training pictures. */
export async function measureScalingFactor(vaeFolder: string, session: SessionOptions): Promise<number> {
  const encoder = await openSceneEncoder(vaeFolder, session);
  try {
    const all: Moments[] = [];
    for (let first = 0; first < MEASURED_SCENES; first += ENCODED_TOGETHER) {
      all.push(await encoder.moments(first, first + ENCODED_TOGETHER));
    }
    return scalingFactorOf(all);
  } finally {
    await encoder.dispose();
  }
}
