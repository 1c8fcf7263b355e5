import { parseVaeConfig } from '../../networks/vae.ts';
import { RandomGenerator } from '../../runtime/random.ts';
import { freshWeights } from '../../training/fresh-weights.ts';
import { picturePool } from '../../training/picture-stream.ts';
import { KL_WEIGHT, vaeLesson } from '../../training/vae-lesson.ts';
import { vaeStepFeeds } from '../../training/vae-samples.ts';
import { VAE_JSON } from './configs.ts';
import type { PartLesson, PartOptions } from './run-part.ts';
import { vaePicture } from './scenes.ts';

/** Crops teach outlines as well as whole pictures do, and four times as many of them are seen in a minute. */
const CROP_SIDE = 64;
const BATCH = 16;
const POOL = { poolSize: 256, freshPerStep: 4 } as const;

/** The VAE's lesson on streamed crops; the scaling factor is measured afterwards. */
export function vaePart({ seed, start, steps = 6000, learningRate = 2e-3 }: PartOptions): PartLesson {
  const config = parseVaeConfig(VAE_JSON, 'the pocket VAE');
  const lesson = { ...vaeLesson({ vae: config, batch: BATCH, side: CROP_SIDE, klWeight: KL_WEIGHT }), hasEma: true };
  const latentSide = CROP_SIDE / config.vaeScaleFactor;
  const samples = {
    seed,
    pictures: picturePool({ ...POOL, make: drawPicture }),
    batch: BATCH,
    side: CROP_SIDE,
    latentShape: [config.latentChannels, latentSide, latentSide],
  } as const;
  return {
    lesson,
    initial: start ?? freshWeights(lesson.trainables, { generator: new RandomGenerator(seed) }),
    checkpoints: {},
    feeds: (step) => vaeStepFeeds(step, samples),
    rate: { learningRate, lrScheduler: 'cosine', lrWarmupSteps: 100, maxTrainSteps: steps },
    key: `pocket vae ${seed}`,
  };
}

function drawPicture(index: number) {
  const { scene, draw } = vaePicture(index);
  return draw(scene);
}
