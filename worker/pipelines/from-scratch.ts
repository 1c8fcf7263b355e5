/** Networks that learn from nothing, from a folder of captioned pictures: a VAE, or a UNet with its text encoder. */
import { join } from 'node:path';
import { UserError } from '../../shared/errors.ts';
import type { ModelFolder, TextEncoderFolder } from '../diffusion/model-folder.ts';
import { alphasCumprod } from '../diffusion/schedulers/noise-schedule.ts';
import { loadTokenizer } from '../diffusion/tokenizer.ts';
import { VaeCodec } from '../diffusion/vae-codec.ts';
import { input } from '../graph/operators.ts';
import { Scope } from '../graph/scope.ts';
import { vaeEncoder } from '../networks/vae.ts';
import { VAE_COMPONENT } from '../networks/vae-graph.ts';
import { compile } from '../runtime/compile.ts';
import { RandomGenerator } from '../runtime/random.ts';
import { float32Tensor, type Tensor } from '../runtime/session.ts';
import { type CaptionedFolder, openCaptionedFolder } from '../training/captioned-folder.ts';
import { freshWeights } from '../training/fresh-weights.ts';
import { type LatentCache, openLatentCache } from '../training/latent-cache.ts';
import { type Moments, scaledMeans, scalingFactorOf } from '../training/latent-moments.ts';
import { withLearned } from '../training/learned-file.ts';
import { learnEverything } from '../training/learning.ts';
import { checkpointFolderOf } from '../training/lesson-folder.ts';
import { tokenInputNames } from '../training/lessons.ts';
import { cropPhoto } from '../training/photo-crop.ts';
import type { Photo } from '../training/photos.ts';
import { picturePool } from '../training/picture-stream.ts';
import { type Conditions, stepFeeds, stepGenerator } from '../training/samples.ts';
import { saveModelFolder } from '../training/save-network.ts';
import type { SettingsOf } from '../training/settings.ts';
import { isQuietAtFirst, learnedNames, textToImageLesson } from '../training/text-to-image-lesson.ts';
import type { Lesson } from '../training/trainer.ts';
import { KL_WEIGHT, vaeLesson } from '../training/vae-lesson.ts';
import { vaeStepFeeds } from '../training/vae-samples.ts';
import { openViewer } from './lesson-view.ts';
import type { Learned } from './taught-parts.ts';
import { lessonKey, type PreparedLesson } from './teach.ts';
import { batchOf, dtypeOf, type TrainRequest, targetOf } from './train-request.ts';

type ScratchRequest = TrainRequest & { readonly settings: SettingsOf<'from-scratch'> };

/**
 * Prepares a lesson from nothing. The model's folder says what the networks look like and how prompts are cut into tokens; of
 * its weights only the VAE's are read, where the UNet learns.
 * @throws UserError if the pictures or the model do not fit
 */
export async function planFromScratch(request: ScratchRequest): Promise<PreparedLesson> {
  const { settings, instanceImages } = request;
  const { component, resolution, instancePrompt } = settings;
  // A VAE reads no captions.
  const commonCaption = component === 'vae' ? '' : instancePrompt;
  const folder = await openCaptionedFolder(instanceImages, { resolution, commonCaption });
  const plan = component === 'vae' ? planVae(request, folder) : await planTextToImage(request, folder);
  return {
    ...plan,
    checkpoints: {},
    prompt: instancePrompt,
    pictureCount: folder.files.length,
    key: await lessonKey(request, { prompt: instancePrompt, files: folder.files }),
  };
}

/**
 * What a lesson from nothing computes.
 * @throws UserError if the model does not fit
 */
export function scratchLesson({ model, settings }: Pick<ScratchRequest, 'model' | 'settings'>): Lesson {
  const { component, resolution: side, useEma: hasEma, gradientCheckpointing: isRecomputed } = settings;
  const batch = batchOf(settings);
  if (component === 'vae') {
    return { ...vaeLesson({ vae: model.vae.config, batch, side, klWeight: KL_WEIGHT }), hasEma, isRecomputed };
  }
  const { config } = onlyEncoder(model);
  const { vaeScaleFactor } = model.vae.config;
  const options = {
    unet: model.unet.config,
    dtype: dtypeOf(settings),
    target: targetOf(model),
    batch,
    latentSide: side / vaeScaleFactor,
    tokens: config.maxPositionEmbeddings,
    vaeScaleFactor,
    hasMask: false,
  };
  return { ...textToImageLesson(options, config), hasEma, isRecomputed };
}

function onlyEncoder({ textEncoders: [encoder, second] }: ModelFolder): TextEncoderFolder {
  if (encoder && !second) return encoder;
  throw new UserError('Cannot train from scratch: the model must have one text encoder, got an SDXL model');
}

type ScratchPlan = Pick<PreparedLesson, 'lesson' | 'loadInitial' | 'feeds' | 'viewer' | 'save' | 'close'>;

/** Pictures that a step may choose from. */
const POOL_SIZE = 64;

function planVae(request: ScratchRequest, folder: CaptionedFolder): ScratchPlan {
  const { model, settings, seed } = request;
  if (settings.validationPrompt !== undefined) {
    throw new UserError('Cannot train a VAE: it makes no pictures of prompts, got a --validation-prompt');
  }
  const { config } = model.vae;
  const { resolution: side } = settings;
  const batch = batchOf(settings);
  const latentSide = side / config.vaeScaleFactor;
  const lesson = scratchLesson(request);
  const pictures = picturePool({
    make: async (index) => (await folder.read(index % folder.files.length)).bitmap,
    poolSize: Math.min(POOL_SIZE, folder.files.length),
    freshPerStep: folder.files.length > POOL_SIZE ? Math.ceil(batch / 4) : 0,
  });
  const latentShape = [config.latentChannels, latentSide, latentSide] as const;
  const samples = { seed, batch, side, latentShape, pictures };
  return {
    lesson,
    loadInitial: async () => freshWeights(lesson.trainables, { generator: new RandomGenerator(seed) }),
    feeds: (step) => vaeStepFeeds(step, samples),
    viewer: undefined,
    save: async (trained, out) => {
      const vae = new Map(lesson.trainables.map(({ name, shape }) => [name, { shape, values: trained.get(name)! }]));
      const configs = { vae: { scaling_factor: await measureScalingFactor(request, { folder, trained }) } };
      await saveModelFolder({ source: model.folder, target: out }, { vae }, { dtype: 'F32', configs });
      return out;
    },
  };
}

/** Pictures that the scaling factor is measured on. */
const MEASURED = 64;

async function measureScalingFactor(
  { model, settings, session }: ScratchRequest,
  { folder, trained }: { folder: CaptionedFolder; trained: ReadonlyMap<string, Float32Array> },
): Promise<number> {
  const { resolution: side } = settings;
  const { config } = model.vae;
  const { substitute, trainables } = learnEverything();
  const image = input('image', { shape: [1, config.inChannels, side, side], dtype: 'float32' });
  const moments = vaeEncoder(new Scope({ name: VAE_COMPONENT, dtype: 'float32', substitute }), config, image);
  const encoder = await compile({ moments }, { ...session, checkpoints: {} });
  const weights = trainables.map(({ name, shape }) => [name, float32Tensor(trained.get(name)!, shape)] as const);
  try {
    const all: Moments[] = [];
    for (let i = 0; i < Math.min(MEASURED, folder.files.length); i++) {
      const { moments } = await encoder.run({ ...Object.fromEntries(weights), image: imageOf(await folder.read(i)) });
      all.push({ data: moments!.data as Float32Array, dims: moments!.dims });
    }
    return scalingFactorOf(all);
  } finally {
    await encoder.dispose();
  }
}

/** The middle of a picture, [1, 3, R, R] in [-1, 1]. */
function imageOf(photo: Photo): Tensor {
  const side = Math.min(photo.bitmap.width, photo.bitmap.height);
  return float32Tensor(cropPhoto(photo, 'center'), [1, 3, side, side]);
}

async function planTextToImage(request: ScratchRequest, folder: CaptionedFolder): Promise<ScratchPlan> {
  const { model, settings, seed } = request;
  const encoder = onlyEncoder(model);
  const target = targetOf(model);
  const batch = batchOf(settings);
  const tokens = encoder.config.maxPositionEmbeddings;
  const { vaeScaleFactor, latentChannels } = model.vae.config;
  const latentSide = settings.resolution / vaeScaleFactor;
  const lesson = scratchLesson(request);
  const tokenizer = await loadTokenizer(encoder.tokenizerFolder);
  const idsOf = (prompt: string): Conditions => {
    const data = BigInt64Array.from(tokenizer.encode(prompt).inputIds, BigInt);
    return { [tokenInputNames.inputIds]: { dims: [tokens], data } };
  };
  const captions = folder.captions.map(idsOf);
  const latents = await encodeFolder(request, folder);
  const samples = {
    seed,
    target,
    alphasCumprod: alphasCumprod(model.scheduler),
    classes: [],
    trainBatchSize: batch,
    priorLossWeight: 0,
    latentShape: [latentChannels, latentSide, latentSide],
    snrGamma: settings.snrGamma,
    offsetNoise: settings.offsetNoise,
    emptyPrompt: { share: settings.proportionEmptyPrompts, conditions: idsOf('') },
  } as const;
  const drawExamples = async (step: number) => {
    // Another stream than the one that the noise of the step comes from.
    const generator = stepGenerator(seed ^ 0x5bd1e995, step);
    const indices = Array.from({ length: batch }, () => generator.randint(folder.files.length));
    return Promise.all(
      indices.map(async (index) => ({ latents: await latents.read(index), conditions: captions[index]! })),
    );
  };
  return {
    lesson,
    loadInitial: async () =>
      freshWeights(lesson.trainables, { generator: new RandomGenerator(seed), isZero: isQuietAtFirst }),
    close: () => latents.close(),
    viewer: openViewer(request, {
      apply: (learned) => ({ model: withLearnedNetworks(model, learned) }),
      instances: [],
      instancePrompt: settings.instancePrompt ?? folder.captions[0],
    }),
    feeds: async (step) => stepFeeds(step, { ...samples, instances: await drawExamples(step) }),
    save: async (trained, out) => {
      const own = (prefix: string) => {
        const tensors = lesson.trainables.filter(({ name }) => name.startsWith(prefix));
        return new Map(
          tensors.map(({ name, shape }) => [name.slice(prefix.length), { shape, values: trained.get(name)! }]),
        );
      };
      const components = { unet: own(learnedNames.unet('')), text_encoder: own(learnedNames.textEncoder('')) };
      await saveModelFolder({ source: model.folder, target: out }, components, { dtype: 'F32' });
      return out;
    },
  };
}

function withLearnedNetworks(model: ModelFolder, learned: Learned): ModelFolder {
  const unet = { ...model.unet, checkpoint: withLearned(model.unet.checkpoint, learned, learnedNames.unet) };
  const textEncoders = model.textEncoders.map((encoder) => {
    return { ...encoder, checkpoint: withLearned(encoder.checkpoint, learned, learnedNames.textEncoder) };
  });
  return { ...model, unet, textEncoders };
}

/** Encodes every picture once, into a file beside the checkpoints. */
async function encodeFolder(request: ScratchRequest, folder: CaptionedFolder): Promise<LatentCache> {
  const { model, session, settings, out } = request;
  const { latentChannels, vaeScaleFactor, scalingFactor } = model.vae.config;
  const vae = new VaeCodec(model.vae, { ...session, dtype: 'float32' });
  const key = await lessonKey(request, { prompt: undefined, files: folder.files });
  const latents = await openLatentCache({
    file: join(checkpointFolderOf(out), `latents-${key.slice(0, 16)}.f32`),
    size: latentChannels * (settings.resolution / vaeScaleFactor) ** 2,
    batch: 1,
    encode: async (index) => {
      const { data, dims } = await vae.encodeMoments(imageOf(await folder.read(index)));
      return scaledMeans({ data: data as Float32Array, dims }, scalingFactor);
    },
  });
  request.onMessage(`Encoding ${folder.files.length} pictures`);
  await latents.hold(folder.files.length);
  await vae.dispose();
  return latents;
}
