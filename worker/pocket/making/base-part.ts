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
import { rememberingTokenizer, repaintedCaption, trainingCaption } from './prompts.ts';
import type { PartLesson, PartOptions } from './run-part.ts';

export interface BaseOptions extends PartOptions {
  readonly latents: LatentCache;
  /** Of the scenes in colours that no caption names. */
  readonly repainted: LatentCache;
  readonly tokenizer: Tokenizer;
}

const BATCH = 32;
/** Pictures of a step in colours without a name, under captions that name none: a lesson then finds any colour. */
const REPAINTED_BATCH = 8;
/** The pictures are encoded as the lesson goes, so that it starts within a minute. */
const FIRST_SCENES = 8192;
const SCENES_PER_STEP = 4;
/**
 * What a prompt says beside the place explains 4 % of a picture's variance, and is needed where the noise hides the picture: the
 * first steps see mostly that.
 */
const NOISY_STEPS = 2000;
/** Prompts left out, so that guidance has something to lead away from. */
const EMPTY_SHARE = 0.1;

/** UNet and text encoder, learned together on cached latents. */
export function basePart(options: BaseOptions): PartLesson {
  const { seed, latents, repainted, tokenizer, start, steps = 12_000, learningRate = 1e-3 } = options;
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
      const instances = await drawExamples(step, { seed, latents, repainted, promptOf });
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

interface DrawOptions extends Pick<BaseOptions, 'seed' | 'latents' | 'repainted'> {
  readonly promptOf: (prompt: string) => Conditions;
}

/** Random pictures of the caches, each under one of its captions. */
async function drawExamples(step: number, { seed, latents, repainted, promptOf }: DrawOptions): Promise<Example[]> {
  // Another stream than the one that the noise of the step comes from.
  const generator = stepGenerator(seed ^ 0x5bd1e995, step);
  const drawFrom = async (cache: LatentCache, captionOf: typeof trainingCaption, count: number) => {
    const held = Math.min(CACHED_SCENES, Math.ceil(((FIRST_SCENES + step * SCENES_PER_STEP) * count) / BATCH));
    await cache.hold(held);
    const indices = Array.from({ length: count }, () => [generator.randint(held), generator.randint(2 ** 20)] as const);
    return indices.map(async ([index, wording]) => {
      return { latents: await cache.read(index), conditions: promptOf(captionOf(index, wording)) };
    });
  };
  return Promise.all([
    ...(await drawFrom(latents, trainingCaption, BATCH - REPAINTED_BATCH)),
    ...(await drawFrom(repainted, repaintedCaption, REPAINTED_BATCH)),
  ]);
}
