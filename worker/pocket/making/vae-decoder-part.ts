import { parseVaeConfig } from '../../networks/vae.ts';
import { joined } from '../../runtime/joined.ts';
import { float32Tensor } from '../../runtime/session.ts';
import type { LatentCache } from '../../training/latent-cache.ts';
import { picturePool } from '../../training/picture-stream.ts';
import { stepGenerator } from '../../training/samples.ts';
import { vaeDecoderInputs, vaeDecoderLesson } from '../../training/vae-decoder-lesson.ts';
import { fullPlanes } from '../renderer/planes.ts';
import { SIDE } from '../renderer/world.ts';
import { LATENT_SHAPE, VAE_JSON } from './configs.ts';
import { CACHED_SCENES } from './latents.ts';
import type { PartLesson, PartOptions, Weights } from './run-part.ts';
import { vaePicture } from './scenes.ts';

export interface VaeDecoderOptions extends PartOptions {
  readonly latents: LatentCache;
  /** Of the scenes in colours that no caption names. */
  readonly repainted: LatentCache;
  readonly scalingFactor: number;
  /** The VAE's, the encoder's among them. */
  readonly start: Weights;
}

/** Whole pictures: how a colour comes out depends on what lies around, and a crop cuts that away. */
const BATCH = 4;
const POOL = { poolSize: 64, freshPerStep: 2 } as const;
/** Greatest standard deviation of the noise on latents, whose own is 1: the UNet's are never quite an encoder's. */
const NOISE = 0.15;

/** The VAE's decoder alone, on latents of the encoder that the UNet knows. */
export function vaeDecoderPart(options: VaeDecoderOptions): PartLesson {
  const { seed, start, steps = 8000, learningRate = 1e-3 } = options;
  const vae = parseVaeConfig(VAE_JSON, 'the pocket VAE');
  const pool = pairsOf(options);
  return {
    lesson: { ...vaeDecoderLesson({ vae, batch: BATCH, side: SIDE }), hasEma: true },
    initial: start,
    checkpoints: {},
    feeds: async (step) => decoderFeeds(await pool(step), { ...options, step }),
    rate: { learningRate, lrScheduler: 'cosine', lrWarmupSteps: 100, maxTrainSteps: steps },
    key: `pocket vae decoder ${seed}`,
  };
}

interface Pair {
  readonly image: Float32Array;
  /** Times the scaling factor. */
  readonly latents: Float32Array;
}

/** Pictures with their latents, encoded as the lesson goes. */
function pairsOf({ latents, repainted }: VaeDecoderOptions): (step: number) => Promise<Pair[]> {
  const make = async (index: number) => {
    const { isRepainted, draw, ...picture } = vaePicture(index);
    const scene = picture.scene % CACHED_SCENES;
    const cache = isRepainted ? repainted : latents;
    return { image: fullPlanes((await draw(scene)).bytes), latents: await cache.read(scene) };
  };
  const pool = picturePool({ ...POOL, make });
  return async (step) => {
    const held = Math.min(CACHED_SCENES, Math.ceil((step * POOL.freshPerStep + POOL.poolSize) / 2));
    for (const cache of [latents, repainted]) await cache.hold(held);
    return pool(step);
  };
}

interface StepOptions extends Pick<VaeDecoderOptions, 'seed' | 'scalingFactor'> {
  readonly step: number;
}

function decoderFeeds(pairs: readonly Pair[], { seed, scalingFactor, step }: StepOptions) {
  const generator = stepGenerator(seed, step);
  const chosen = Array.from({ length: BATCH }, () => pairs[generator.randint(pairs.length)]!);
  const noisy = chosen.map(({ latents }) => {
    const deviation = NOISE * generator.uniform(1)[0]!;
    const noise = generator.randn(latents.length);
    return latents.map((value, i) => (value + deviation * noise[i]!) / scalingFactor);
  });
  return {
    [vaeDecoderInputs.image]: float32Tensor(joined(chosen.map(({ image }) => image)), [BATCH, 3, SIDE, SIDE]),
    [vaeDecoderInputs.latents]: float32Tensor(joined(noisy), [BATCH, ...LATENT_SHAPE]),
  };
}
