import type { SessionOptions } from '../../runtime/session.ts';
import { ENCODED_TOGETHER, openSceneEncoder } from './encode-scenes.ts';

const MEASURED_SCENES = 256;

/**
 * Measures the factor that brings a VAE's latents to unit deviation: 1/√(mean of μ² + σ² - squared mean of μ) over scenes.
 * @see Rombach et al. 2022 (arXiv 2112.10752), appendix D.1
 */
export async function measureScalingFactor(vaeFolder: string, session: SessionOptions): Promise<number> {
  const encoder = await openSceneEncoder(vaeFolder, session);
  try {
    let [count, sum, squares] = [0, 0, 0];
    for (let first = 0; first < MEASURED_SCENES; first += ENCODED_TOGETHER) {
      const { data } = await encoder.moments(first, first + ENCODED_TOGETHER);
      const half = data.length / ENCODED_TOGETHER / 2;
      for (let i = 0; i < data.length; i++) {
        // Each picture has its means first, then its log variances.
        if (i % (2 * half) >= half) squares += Math.exp(data[i]!);
        else {
          sum += data[i]!;
          squares += data[i]! ** 2;
          count++;
        }
      }
    }
    return 1 / Math.sqrt(squares / count - (sum / count) ** 2);
  } finally {
    await encoder.dispose();
  }
}
