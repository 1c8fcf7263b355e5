import { alphasCumprod } from '../../diffusion/schedulers/noise-schedule.ts';
import { parseSchedulerConfig } from '../../diffusion/schedulers/scheduler-config.ts';
import type { Tokenizer } from '../../diffusion/tokenizer.ts';
import { parseClipTextConfig } from '../../networks/clip.ts';
import { parseUnetConfig } from '../../networks/unet-config.ts';
import { RandomGenerator } from '../../runtime/random.ts';
import { freshWeights } from '../../training/fresh-weights.ts';
import type { LatentCache } from '../../training/latent-cache.ts';
import { tokenInputNames } from '../../training/lessons.ts';
import { type Conditions, type Example, type SampleOptions, stepFeeds, stepGenerator } from '../../training/samples.ts';
import { isQuietAtFirst, textToImageLesson } from '../../training/text-to-image-lesson.ts';
import { LATENT_SHAPE, SCHEDULER_JSON, TOKENS, textEncoderJson, UNET_JSON } from './configs.ts';
import { CACHED_SCENES } from './latents.ts';
import { rememberingTokenizer, trainingCaption } from './prompts.ts';
import type { PartLesson, PartOptions } from './run-part.ts';

export interface BaseOptions extends PartOptions {
  readonly latents: LatentCache;
  readonly tokenizer: Tokenizer;
}

const BATCH = 32;
/** The pictures are encoded as the lesson goes, so that it starts within a minute. */
const FIRST_SCENES = 12_288;
const SCENES_PER_STEP = 3;
/**
 * What a prompt says beside the place explains 4 % of a picture's variance, and is needed where the noise hides the picture: the
 * first steps see mostly that.
 */
const NOISY_STEPS = 2000;
/** Prompts left out, so that guidance has something to lead away from. */
const EMPTY_SHARE = 0.1;

/** UNet and text encoder, learned together on cached latents. */
export function basePart(options: BaseOptions): PartLesson {
  const { seed, latents, tokenizer, start, steps = 12_000, learningRate = 1e-3 } = options;
  const unet = parseUnetConfig(UNET_JSON, 'the pocket UNet');
  const clip = parseClipTextConfig(textEncoderJson(tokenizer), 'the pocket text encoder');
  const sizes = { batch: BATCH, latentSide: LATENT_SHAPE[1], tokens: TOKENS, vaeScaleFactor: 8, hasMask: false };
  const lesson = { ...textToImageLesson({ ...sizes, unet, target: 'v_prediction' }, clip), hasEma: true };
  const idsOf = rememberingTokenizer(tokenizer);
  const promptOf = (prompt: string): Conditions => {
    return { [tokenInputNames.inputIds]: { dims: [TOKENS], data: idsOf(prompt) } };
  };
  const samples = sampleOptions(seed, promptOf(''));
  const isFresh = start === undefined;
  return {
    lesson,
    initial: start ?? freshWeights(lesson.trainables, { generator: new RandomGenerator(seed), isZero: isQuietAtFirst }),
    checkpoints: {},
    feeds: async (step) => {
      const instances = await drawExamples(step, { seed, latents, promptOf, isFresh });
      return stepFeeds(step, { ...samples, instances, hasCubicTimesteps: isFresh && step < NOISY_STEPS });
    },
    rate: { learningRate, lrScheduler: 'cosine', lrWarmupSteps: 200, maxTrainSteps: steps },
    key: `pocket base ${seed}`,
  };
}

function sampleOptions(seed: number, emptyConditions: Conditions): Omit<SampleOptions, 'instances'> {
  return {
    seed,
    alphasCumprod: alphasCumprod(parseSchedulerConfig(SCHEDULER_JSON)),
    target: 'v_prediction',
    classes: [],
    trainBatchSize: BATCH,
    priorLossWeight: 0,
    latentShape: LATENT_SHAPE,
    emptyPrompt: { share: EMPTY_SHARE, conditions: emptyConditions },
  };
}

interface DrawOptions {
  readonly seed: number;
  readonly latents: LatentCache;
  readonly promptOf: (prompt: string) => Conditions;
  /** Whether the pictures are still being encoded as the lesson goes. */
  readonly isFresh: boolean;
}

/** Random pictures of the cache, each under one of its captions. */
async function drawExamples(step: number, { seed, latents, promptOf, isFresh }: DrawOptions): Promise<Example[]> {
  const held = isFresh ? Math.min(CACHED_SCENES, FIRST_SCENES + step * SCENES_PER_STEP) : CACHED_SCENES;
  await latents.hold(held);
  // Another stream than the one that the noise of the step comes from.
  const generator = stepGenerator(seed ^ 0x5bd1e995, step);
  const indices = Array.from({ length: BATCH }, () => [generator.randint(held), generator.randint(2 ** 20)] as const);
  return Promise.all(
    indices.map(async ([index, wording]) => ({
      latents: await latents.read(index),
      conditions: promptOf(trainingCaption(index, wording)),
    })),
  );
}
