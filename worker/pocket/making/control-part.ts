import type { ModelFolder } from '../../diffusion/model-folder.ts';
import { alphasCumprod } from '../../diffusion/schedulers/noise-schedule.ts';
import { parseControlnetConfig } from '../../networks/controlnet.ts';
import { denoiserComponents } from '../../networks/denoiser.ts';
import { parseT2iAdapterConfig } from '../../networks/t2i-adapter.ts';
import { RandomGenerator } from '../../runtime/random.ts';
import { loadTensor } from '../../runtime/safetensors.ts';
import { findComponentWeights } from '../../runtime/weight-files.ts';
import { freshWeights } from '../../training/fresh-weights.ts';
import type { LatentCache } from '../../training/latent-cache.ts';
import { controlnetLesson, lessonInputs, t2iAdapterLesson } from '../../training/lessons.ts';
import { controlnetJson, t2iAdapterJson } from '../../training/network-config.ts';
import { picturePool } from '../../training/picture-stream.ts';
import { type Example, type SampleOptions, stepFeeds, stepGenerator } from '../../training/samples.ts';
import type { Lesson } from '../../training/trainer.ts';
import { type ControlMapKind, renderControlMap } from '../renderer/control-maps.ts';
import { SIDE } from '../renderer/world.ts';
import { LATENT_SHAPE, TOKENS, UNET_JSON } from './configs.ts';
import { CACHED_SCENES } from './latents.ts';
import type { PromptEmbedder } from './prompt-embedder.ts';
import { trainingCaption } from './prompts.ts';
import type { PartLesson, PartOptions, Weights } from './run-part.ts';
import { trainingScene } from './scenes.ts';

export const CONTROL_CLASSES = { controlnet: 'ControlNetModel', adapter: 'T2IAdapter' } as const;
export type ControlNetwork = keyof typeof CONTROL_CLASSES;

/** The configuration that a control network has in the family. */
export function controlJson(network: ControlNetwork, map: ControlMapKind): Record<string, unknown> {
  return network === 'controlnet' ? CONTROLNET_JSON : t2iAdapterJson(adapterConfig(map));
}

const CONTROLNET_JSON = controlnetJson(UNET_JSON, { embeddingChannels: [8, 16, 32, 64], conditioningChannels: 3 });

/** Maps whose colours say something; adapters of the others see one channel, and are half as heavy. */
const COLOURED: readonly ControlMapKind[] = ['segmentation', 'pose'];

function adapterConfig(map: ControlMapKind) {
  return parseT2iAdapterConfig({
    // The UNet begins with a level without attention, as SDXL's does, where features enter behind the downsampler: SDXL's
    // adapter is the one that makes them of 16 pixels from the start.
    adapter_type: 'full_adapter_xl',
    channels: [64, 96, 96, 96],
    num_res_blocks: 1,
    downscale_factor: 16,
    in_channels: COLOURED.includes(map) ? 3 : 1,
  });
}

export interface ControlOptions extends PartOptions {
  readonly network: ControlNetwork;
  readonly map: ControlMapKind;
  /** Folder of the finished model. */
  readonly model: ModelFolder;
  readonly latents: LatentCache;
  readonly embedder: PromptEmbedder;
}

const BATCH = 16;
/** The ControlNet paper's share is 0.5: the map alone must say enough. */
const EMPTY_SHARE = 0.3;
const POOL = { poolSize: 512, freshPerStep: 8 } as const;

/** A ControlNet or T2I-Adapter for the finished model, on exact maps that are drawn as they are needed. */
export async function controlPart(options: ControlOptions): Promise<PartLesson> {
  const { network, map, model, seed, steps = 3000, learningRate = 1e-3 } = options;
  const lesson = { ...describeLesson(options), hasEma: true };
  const scenes = scenesFor(map);
  const pool = picturePool({ ...POOL, make: (index) => drawPair(scenes[index % scenes.length]!, options) });
  const samples = await sampleOptions(options);
  await options.latents.hold(CACHED_SCENES);
  return {
    lesson,
    initial: options.start ?? (await initialWeights(lesson, options)),
    checkpoints: { [denoiserComponents.unet]: model.unet.checkpoint },
    feeds: async (step) => {
      const instances = await drawExamples(await pool(step), step, options);
      // Every other step of a ControlNet is an adapter's: what a map says is needed where the noise hides the picture.
      return stepFeeds(step, { ...samples, instances, hasCubicTimesteps: network === 'adapter' || step % 2 === 0 });
    },
    rate: { learningRate, lrScheduler: 'cosine', lrWarmupSteps: 100, maxTrainSteps: steps },
    key: `pocket ${network} ${map} ${seed}`,
  };
}

function describeLesson({ network, map, model }: ControlOptions): Lesson {
  const unet = model.unet.config;
  const options = {
    unet,
    target: 'v_prediction',
    batch: BATCH,
    latentSide: LATENT_SHAPE[1],
    tokens: TOKENS,
    vaeScaleFactor: model.vae.config.vaeScaleFactor,
    hasMask: false,
  } as const;
  return network === 'controlnet'
    ? controlnetLesson(options, parseControlnetConfig(CONTROLNET_JSON))
    : t2iAdapterLesson(options, adapterConfig(map));
}

/** A ControlNet is the UNet's encoder, and its new layers begin as nothing. */
async function initialWeights(lesson: Lesson, { network, model, seed }: ControlOptions): Promise<Weights> {
  const isZero = (name: string) =>
    /^controlnet_(down_blocks|mid_block)|^controlnet_cond_embedding\.conv_out/.test(name);
  const initial = freshWeights(lesson.trainables, { generator: new RandomGenerator(seed), isZero });
  if (network === 'adapter') return initial;
  const { tensors } = await findComponentWeights(model.unet.checkpoint.folder);
  for (const { name } of lesson.trainables.filter(({ name }) => !name.startsWith('controlnet_'))) {
    initial.set(name, await loadTensor(tensors.get(name)!));
  }
  return initial;
}

async function sampleOptions({ seed, model, embedder }: ControlOptions): Promise<Omit<SampleOptions, 'instances'>> {
  const [empty] = await embedder.embed(['']);
  return {
    seed,
    alphasCumprod: alphasCumprod(model.scheduler),
    target: 'v_prediction',
    classes: [],
    trainBatchSize: BATCH,
    priorLossWeight: 0,
    latentShape: LATENT_SHAPE,
    emptyPrompt: { share: EMPTY_SHARE, conditions: { [lessonInputs.encoderHiddenStates]: promptCondition(empty!) } },
  };
}

function promptCondition(data: Float32Array) {
  return { dims: [TOKENS, data.length / TOKENS], data };
}

/** A picture of the cache with the map that it was drawn beside. */
interface Pair {
  readonly index: number;
  readonly map: Uint8Array;
}

async function drawPair(index: number, { network, map }: ControlOptions): Promise<Pair> {
  // One ControlNet reads lines of both kinds, drawn and found, every other picture each: two would be too heavy to ship.
  const isFound = network === 'controlnet' && map === 'sketch' && index % 2 === 1;
  return { index, map: await renderControlMap(trainingScene(index), isFound ? 'canny' : map) };
}

/** Skeletons are a person's: the other scenes have an empty map, which teaches nothing. */
function scenesFor(map: ControlMapKind): number[] {
  const all = Array.from({ length: CACHED_SCENES }, (_, index) => index);
  return map === 'pose' ? all.filter((index) => trainingScene(index).described.noun === 'person') : all;
}

async function drawExamples(
  pairs: readonly Pair[],
  step: number,
  { seed, latents, embedder, ...kind }: ControlOptions,
): Promise<Example[]> {
  const channels = kind.network === 'adapter' ? adapterConfig(kind.map).inChannels : 3;
  // Another stream than the one that the noise of the step comes from.
  const generator = stepGenerator(seed ^ 0x5bd1e995, step);
  const chosen = Array.from({ length: BATCH }, () => pairs[generator.randint(pairs.length)]!);
  const embeds = await embedder.embed(chosen.map(({ index }) => trainingCaption(index, generator.randint(2 ** 20))));
  return Promise.all(
    chosen.map(async ({ index, map }, i) => ({
      latents: await latents.read(index),
      conditions: {
        [lessonInputs.encoderHiddenStates]: promptCondition(embeds[i]!),
        [lessonInputs.conditioningImage]: { dims: [channels, SIDE, SIDE], data: planes(map, channels) },
      },
    })),
  );
}

/** @returns [channels, SIDE, SIDE] in [0, 1]; of a grey map all three are equal, and the first is enough */
function planes(rgb: Uint8Array, channels: number): Float32Array {
  const area = SIDE * SIDE;
  return Float32Array.from({ length: channels * area }, (_, i) => rgb[(i % area) * 3 + Math.floor(i / area)]! / 255);
}
