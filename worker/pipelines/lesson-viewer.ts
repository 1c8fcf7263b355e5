import type { ControlRequest } from '../diffusion/controls.ts';
import type { ModelFolder } from '../diffusion/model-folder.ts';
import { encodePng } from '../diffusion/picture.ts';
import { conditionFeeds } from '../diffusion/sample-latents.ts';
import { alphasCumprod } from '../diffusion/schedulers/noise-schedule.ts';
import { type PictureRequest, type Predict, StableDiffusion } from '../diffusion/stable-diffusion.ts';
import type { SessionOptions, Tensor } from '../runtime/session.ts';
import { type DriftProbe, measureDrift, recordDriftProbe } from '../training/drift.ts';
import { FeatureReader, featureDistance } from '../training/likeness.ts';
import { pauseForSignal } from './pause-for-signal.ts';
import type { Learned, TaughtParts } from './taught-parts.ts';

export interface LessonViewerOptions {
  /** As it was before the lesson. */
  readonly model: ModelFolder;
  readonly session: SessionOptions;
  readonly apply: (learned: Learned) => TaughtParts;
  readonly prompt: string;
  /** Of the first picture of every look; the others count on from it. */
  readonly seed: number;
  /** Pictures per look. */
  readonly count: number;
  /** Side of the square pictures in pixels. */
  readonly resolution: number;
  /** [1, channels, H, W] in [0, 1], for a lesson about control; picture i is steered by number i. */
  readonly controlImages: readonly Tensor[];
  /** Prompt of plain pictures of the class; undefined where the lesson leaves them alone, and drift is not measured. */
  readonly classPrompt?: string | undefined;
  /** For a lesson about a subject. */
  readonly subject?: { readonly photos: readonly Float32Array[]; readonly prompt: string } | undefined;
}

/** What a look at a lesson shows. */
export interface Look {
  /** Each the bytes of a PNG. */
  readonly pictures: readonly Uint8Array[];
  /** Percent; see measureDrift. */
  readonly drift?: number | undefined;
  /** Between the features of pictures and photos; see LIKENESS_DEFINITION. */
  readonly distance?: number | undefined;
  /** Between those of the photos. */
  readonly photoSpread?: number | undefined;
}

export interface LookProgress {
  /** Calls of the UNet for the pictures of this look. */
  readonly done: number;
  readonly total: number;
}

/** As diffusers' script takes for its validation pictures, with fewer steps than its 25. */
const RECIPE = { schedulerName: 'dpmpp-2m', numInferenceSteps: 20, guidanceScale: 7.5 } as const;
const XL_GUIDANCE = 5;
const LCM_RECIPE = { schedulerName: 'lcm', numInferenceSteps: 4, guidanceScale: 8.5 } as const;

/**
 * Looks at a lesson from outside: makes pictures with what has been learned so far, always of the same prompt and noise,
 * and measures drift and likeness. The lesson's own session stays as it is; beside it there are, while a look lasts, the
 * sessions of one picture of the lesson's resolution (weights are read from the files, so on the CPU all sessions of a
 * model share them) and, one after the other with them, a part of the UNet for features. LoRA and learned words are fed to a
 * session that is kept; other lessons build one per look. Must be disposed of.
 */
export class LessonViewer {
  readonly #options: LessonViewerOptions;
  #base: StableDiffusion | undefined;
  #probe: DriftProbe | undefined;
  #featureConditions: Readonly<Record<string, Tensor>> | undefined;
  #photoFeatures: Float32Array[] | undefined;

  constructor(options: LessonViewerOptions) {
    this.#options = options;
  }

  /**
   * Makes the pictures of a step and measures it.
   * @throws the signal's reason as soon as it is aborted
   */
  async *look(learned: Learned, signal: AbortSignal): AsyncGenerator<LookProgress, Look> {
    const parts = this.#options.apply(learned);
    this.#probe ??= await this.#recordProbe(signal);
    this.#featureConditions ??= await this.#encodeFeaturePrompt();
    // Two UNets at once would take twice the memory.
    if (parts.model) await this.#disposeBase();
    const pipeline = parts.model ? new StableDiffusion(parts.model, this.#pipelineOptions()) : this.#basePipeline();
    let look: Look;
    let latents: readonly Float32Array[];
    try {
      const drift = this.#probe && (await measureDrift(await this.#predictor(pipeline, parts, signal), this.#probe));
      const made = yield* this.#makePictures(pipeline, { parts, signal });
      look = { pictures: made.pictures, drift };
      latents = made.latents;
    } finally {
      if (parts.model) await pipeline.dispose();
    }
    return { ...look, ...(await this.#measureLikeness(latents, signal)) };
  }

  async dispose(): Promise<void> {
    await this.#disposeBase();
  }

  #basePipeline(): StableDiffusion {
    this.#base ??= new StableDiffusion(this.#options.model, this.#pipelineOptions());
    return this.#base;
  }

  async #disposeBase(): Promise<void> {
    await this.#base?.dispose();
    this.#base = undefined;
  }

  #pipelineOptions() {
    const { session } = this.#options;
    return { ...session, dtype: session.device === 'cuda' ? 'float16' : 'float32' } as const;
  }

  async #recordProbe(signal: AbortSignal): Promise<DriftProbe | undefined> {
    const { model, classPrompt } = this.#options;
    if (classPrompt === undefined) return undefined;
    const predict = await this.#predictor(this.#basePipeline(), {}, signal);
    return recordDriftProbe(predict, { scheduler: model.scheduler, latentShape: this.#latentShape() });
  }

  async #predictor(pipeline: StableDiffusion, parts: TaughtParts, signal: AbortSignal): Promise<Predict> {
    const { classPrompt = '', resolution: side } = this.#options;
    const { loras, embeddings } = parts;
    const request = { prompt: classPrompt, width: side, height: side, seed: 0, loras, embeddings };
    const predict = await pipeline.predictor(request);
    return async (sample, timestep) => {
      await pauseForSignal(signal);
      return predict(sample, timestep);
    };
  }

  async *#makePictures(
    pipeline: StableDiffusion,
    { parts, signal }: { parts: TaughtParts; signal: AbortSignal },
  ): AsyncGenerator<LookProgress, { pictures: Uint8Array[]; latents: Float32Array[] }> {
    const { count, resolution: side } = this.#options;
    const pictures: Uint8Array[] = [];
    const latents: Float32Array[] = [];
    for (let index = 0; index < count; index++) {
      const loop = pipeline.generate(this.#pictureRequest(index, parts));
      let next = await loop.next();
      for (; !next.done; next = await loop.next()) {
        const { stepIndex, stepCount } = next.value;
        yield { done: index * stepCount + stepIndex + 1, total: count * stepCount };
        await pauseForSignal(signal);
      }
      pictures.push(await encodePng(next.value.image.data as Float32Array, { width: side, height: side }));
      latents.push(next.value.latents.data as Float32Array);
    }
    return { pictures, latents };
  }

  #pictureRequest(index: number, { loras, embeddings, control }: TaughtParts): PictureRequest {
    const { model, prompt, seed, resolution: side, controlImages } = this.#options;
    const isXl = model.unet.config.addition !== undefined;
    const recipe = model.unet.config.timeCondProjDim === undefined ? RECIPE : LCM_RECIPE;
    const image = controlImages[index % controlImages.length];
    return {
      ...recipe,
      ...(isXl && { guidanceScale: XL_GUIDANCE }),
      prompt,
      width: side,
      height: side,
      seed: (seed + index) % 2 ** 32,
      loras,
      embeddings,
      controls: control && image ? [wholeControl(control, image)] : [],
    };
  }

  /** What the UNet is told while it reads features; undefined where likeness is not measured. */
  async #encodeFeaturePrompt(): Promise<Readonly<Record<string, Tensor>> | undefined> {
    const { subject, model, resolution: side } = this.#options;
    if (!subject) return undefined;
    const prompt = await this.#basePipeline().encodePrompt({ prompt: subject.prompt });
    return conditionFeeds(model.unet.config, { prompt, width: side, height: side, guidanceScale: 1 }, false);
  }

  async #measureLikeness(
    latents: readonly Float32Array[],
    signal: AbortSignal,
  ): Promise<Pick<Look, 'distance' | 'photoSpread'>> {
    const { subject, session, model } = this.#options;
    const conditions = this.#featureConditions;
    if (!subject || !conditions) return {};
    const reader = await FeatureReader.create({
      ...session,
      unet: model.unet,
      latentShape: this.#latentShape(),
      alphasCumprod: alphasCumprod(model.scheduler),
      conditions,
    });
    try {
      const read = async (pictures: readonly Float32Array[]) => {
        const features: Float32Array[] = [];
        for (const picture of pictures) {
          await pauseForSignal(signal);
          features.push(await reader.read(picture));
        }
        return features;
      };
      this.#photoFeatures ??= await read(subject.photos);
      const photos = this.#photoFeatures;
      return { distance: featureDistance(await read(latents), photos), photoSpread: featureDistance(photos, photos) };
    } finally {
      await reader.dispose();
    }
  }

  #latentShape(): [number, number, number] {
    const { model, resolution } = this.#options;
    const side = resolution / model.vae.config.vaeScaleFactor;
    return [model.vae.config.latentChannels, side, side];
  }
}

function wholeControl(control: NonNullable<TaughtParts['control']>, image: Tensor): ControlRequest {
  const whole = { conditioningScale: 1, controlGuidanceStart: 0, controlGuidanceEnd: 1, isGuessMode: false };
  return { ...control, ...whole, loadImage: async () => image };
}
