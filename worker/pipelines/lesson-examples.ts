import { parse } from 'node:path';
import { UserError } from '../../shared/errors.ts';
import type { ModelFolder } from '../diffusion/model-folder.ts';
import { type PromptEmbeds, PromptEncoder } from '../diffusion/prompt-encoder.ts';
import { VaeCodec } from '../diffusion/vae-codec.ts';
import { RandomGenerator } from '../runtime/random.ts';
import { float32Tensor, type SessionOptions } from '../runtime/session.ts';
import { lossInputs } from '../training/diffusion-loss.ts';
import { lessonInputs } from '../training/lessons.ts';
import { cropMask, cropOrigin, cropPhoto, drawCrop } from '../training/photo-crop.ts';
import { loadPhotos, type Photo } from '../training/photos.ts';
import { promptTokens } from '../training/prompt-tokens.ts';
import type { Condition, Conditions, Example } from '../training/samples.ts';
import { makeClassPictures, type PreparingEvent } from './class-pictures.ts';
import { pauseForSignal } from './pause-for-signal.ts';

export interface ExampleOptions {
  readonly model: ModelFolder;
  readonly session: SessionOptions;
  readonly resolution: number;
  readonly centerCrop: boolean;
  readonly seed: number;
  readonly instanceImages: string;
  /** Masks named like the instance pictures, white where the subject is. */
  readonly instanceMasks?: string | undefined;
  /** Undefined for a lesson that makes its prompts itself. */
  readonly instancePrompt: string | undefined;
  /** Whether the lesson encodes its prompts itself, from tokens. */
  readonly hasTextEncoders?: boolean | undefined;
  /** Control images named like the instance pictures. */
  readonly conditioningImages?: string | undefined;
  readonly prior?: PriorOptions | undefined;
  readonly signal: AbortSignal | undefined;
  /** For the person: what is going on. */
  readonly onMessage: (message: string) => void;
}

export interface PriorOptions {
  readonly classPrompt: string;
  /** Undefined where the instances are shown a second time, under the class prompt. */
  readonly pictures: ClassPictures | undefined;
}

export interface ClassPictures {
  readonly numClassImages: number;
  /** Pictures that are there already; undefined generates them. */
  readonly classImages?: string | undefined;
  readonly cacheFolder: string;
}

export interface LessonExamples {
  readonly instances: readonly Example[];
  readonly classes: readonly Example[];
  /** The conditions of an empty prompt. */
  readonly emptyPrompt: Conditions;
  /** Paths of all pictures, for telling one lesson from another. */
  readonly files: readonly string[];
}

/**
 * Loads, encodes and pairs everything that a lesson sees: latents and prompt embeds are computed once. Yields after each
 * class picture that it has to make.
 * @throws the signal's reason as soon as it is aborted
 */
export async function* prepareExamples(options: ExampleOptions): AsyncGenerator<PreparingEvent, LessonExamples> {
  const { model, session, resolution, prior, onMessage } = options;
  const photos = await loadFolder(options.instanceImages, { ...options, masksFolder: options.instanceMasks });
  const conditioning =
    options.conditioningImages === undefined
      ? undefined
      : await loadConditioning(photos, options.conditioningImages, options);
  const classPhotos = prior?.pictures ? yield* loadClassPictures(prior.classPrompt, prior.pictures, options) : [];
  const prompts = await encodePrompts(options);
  onMessage(`Encoding ${photos.length + classPhotos.length} pictures at ${resolution} x ${resolution}`);
  const vae = new VaeCodec(model.vae, { ...session, dtype: 'float32' });
  const generator = new RandomGenerator(options.seed);
  const toExample =
    (prompt: Conditions | undefined, controls?: readonly Photo[]) => async (photo: Photo, i: number) => {
      await pauseForSignal(options.signal);
      return encodeExample(vae, photo, {
        prompt,
        control: controls?.[i],
        generator,
        centerCrop: options.centerCrop,
        hasMask: options.instanceMasks !== undefined,
        hasTimeIds: model.unet.config.addition !== undefined,
      });
    };
  const instances = await inOrder(photos, toExample(prompts.instance, conditioning));
  const classes = prompts.class ? await inOrder(classPhotos, toExample(prompts.class)) : [];
  const shownAgain = prior && !prior.pictures ? instances.map((example) => asClass(example, prompts.class)) : [];
  await vae.dispose();
  const files = [...photos, ...(conditioning ?? []), ...classPhotos].map(({ file }) => file);
  return { instances, classes: [...classes, ...shownAgain], emptyPrompt: prompts.empty ?? {}, files };
}

/** The same picture under the class prompt; a mask is for the subject alone. */
function asClass({ latents, conditions }: Example, classPrompt: Conditions | undefined): Example {
  const { [lossInputs.mask]: mask } = conditions;
  const whole = mask && { [lossInputs.mask]: { ...mask, data: new Float32Array(mask.data.length).fill(1) } };
  return { latents, conditions: { ...conditions, ...classPrompt, ...whole } };
}

interface LessonPrompts {
  readonly instance?: Conditions;
  readonly class?: Conditions | undefined;
  readonly empty?: Conditions;
}

async function encodePrompts(options: ExampleOptions): Promise<LessonPrompts> {
  const { model, session, prior, instancePrompt } = options;
  if (instancePrompt === undefined) return {};
  const encodeAll = async (encode: (prompt: string) => Promise<Conditions>) => ({
    instance: await encode(instancePrompt),
    class: prior && (await encode(prior.classPrompt)),
    empty: await encode(''),
  });
  if (options.hasTextEncoders) return encodeAll((prompt) => promptTokens(prompt, model));
  const encoder = await PromptEncoder.load(model, { ...session, dtype: 'float32' });
  try {
    return await encodeAll(async (prompt) => promptConditions(await encoder.encode({ prompt })));
  } finally {
    await encoder.dispose();
  }
}

type FolderOptions = Pick<ExampleOptions, 'resolution' | 'onMessage'> & { masksFolder?: string | undefined };

async function loadFolder(folder: string, { resolution, masksFolder, onMessage }: FolderOptions) {
  const { photos, warnings } = await loadPhotos(folder, { resolution, masksFolder });
  for (const warning of warnings) onMessage(warning);
  return photos;
}

/** The control image of each photo, in the photos' order. */
async function loadConditioning(photos: readonly Photo[], folder: string, options: ExampleOptions): Promise<Photo[]> {
  const controls = await loadFolder(folder, { ...options, onMessage: () => undefined });
  const byName = new Map(controls.map((control) => [parse(control.file).name, control]));
  return photos.map((photo) => {
    const control = byName.get(parse(photo.file).name);
    const size = ({ bitmap }: Photo) => `${bitmap.width} x ${bitmap.height}`;
    if (!control || size(control) !== size(photo)) {
      const got = control ? `one of ${size(control)} instead of ${size(photo)}` : 'none';
      throw new UserError(
        `Cannot train: ${photo.file} must have a control image of its name and shape in ${folder}, got ${got}`,
      );
    }
    return control;
  });
}

async function* loadClassPictures(
  classPrompt: string,
  pictures: ClassPictures,
  options: ExampleOptions,
): AsyncGenerator<PreparingEvent, readonly Photo[]> {
  const { classImages, numClassImages: count, cacheFolder } = pictures;
  const folder = classImages ?? (yield* makeClassPictures({ ...options, classPrompt, count, cacheFolder }));
  return loadFolder(folder, { ...options, onMessage: () => undefined });
}

interface EncodeOptions {
  readonly prompt: Conditions | undefined;
  readonly control: Photo | undefined;
  readonly generator: RandomGenerator;
  readonly centerCrop: boolean;
  readonly hasMask: boolean;
  readonly hasTimeIds: boolean;
}

async function encodeExample(vae: VaeCodec, photo: Photo, options: EncodeOptions): Promise<Example> {
  const { prompt, control, generator, centerCrop, hasMask, hasTimeIds } = options;
  const origin = cropOrigin(photo, centerCrop ? 'center' : drawCrop(photo, generator));
  const pixels = cropPhoto(photo, origin);
  const side = Math.sqrt(pixels.length / 3);
  const latents = await vae.encode(float32Tensor(pixels, [1, 3, side, side]), (count) => generator.randn(count));
  const conditions: Record<string, Condition> = { ...prompt };
  if (hasTimeIds) {
    const { width, height } = photo.originalSize;
    const sizes = [height, width, origin.y, origin.x, side, side];
    conditions[lessonInputs.timeIds] = { dims: [sizes.length], data: Float32Array.from(sizes) };
  }
  if (control) {
    const image = cropPhoto(control, origin).map((value) => (value + 1) / 2);
    conditions[lessonInputs.conditioningImage] = { dims: [3, side, side], data: image };
  }
  if (hasMask) {
    const latentSide = side / vae.config.vaeScaleFactor;
    // Class pictures have no mask: their whole area ties the model to what it knew.
    const mask = cropMask(photo, origin, vae.config.vaeScaleFactor) ?? new Float32Array(latentSide ** 2).fill(1);
    conditions[lossInputs.mask] = { dims: [1, latentSide, latentSide], data: mask };
  }
  return { latents: latents.data as Float32Array, conditions };
}

function promptConditions({ promptEmbeds, textEmbeds }: PromptEmbeds): Conditions {
  const own = (tensor: PromptEmbeds['promptEmbeds']) => ({
    dims: tensor.dims.slice(1),
    data: tensor.data as Float32Array,
  });
  return {
    [lessonInputs.encoderHiddenStates]: own(promptEmbeds),
    ...(textEmbeds && { [lessonInputs.textEmbeds]: own(textEmbeds) }),
  };
}

/** One after the other: each encodes on all cores. */
async function inOrder<A, B>(items: readonly A[], convert: (item: A, index: number) => Promise<B>): Promise<B[]> {
  const results: B[] = [];
  for (const [i, item] of items.entries()) results.push(await convert(item, i));
  return results;
}
