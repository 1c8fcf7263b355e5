import { join } from 'node:path';
import type { ModelFolder } from '../diffusion/model-folder.ts';
import { encodePng } from '../diffusion/picture.ts';
import { StableDiffusion } from '../diffusion/stable-diffusion.ts';
import type { SessionOptions } from '../runtime/session.ts';
import { ensureClassImages } from '../training/class-images.ts';
import { modelKey } from '../training/model-key.ts';
import { pauseForSignal } from './pause-for-signal.ts';

export interface ClassPicturesOptions {
  readonly model: ModelFolder;
  readonly session: SessionOptions;
  readonly classPrompt: string;
  readonly count: number;
  readonly resolution: number;
  readonly cacheFolder: string;
  readonly signal: AbortSignal | undefined;
}

/** Class pictures are being made, before a lesson's first step. */
export interface PreparingEvent {
  readonly kind: 'preparing';
  readonly step: 0;
  readonly done: number;
  /** Pictures that the cache lacked. */
  readonly total: number;
}

/** Class pictures are made as diffusers' script makes them. */
const RECIPE = { numInferenceSteps: 50, guidanceScale: 7.5 } as const;

/**
 * Makes the class pictures that the cache lacks with the frozen model, yielding after each.
 * @returns the folder that holds them
 * @throws the signal's reason as soon as it is aborted
 */
export async function* makeClassPictures(options: ClassPicturesOptions): AsyncGenerator<PreparingEvent, string> {
  const { model, session, classPrompt, count, resolution: side, cacheFolder, signal } = options;
  const pipeline = new StableDiffusion(model, { ...session, dtype: 'float32' });
  const make = async (seed: number) => {
    const loop = pipeline.generate({ ...RECIPE, prompt: classPrompt, width: side, height: side, seed });
    let next = await loop.next();
    for (; !next.done; next = await loop.next()) await pauseForSignal(signal);
    return encodePng(next.value.image.data as Float32Array, { width: side, height: side });
  };
  try {
    const images = { cacheFolder, modelKey: await modelKey(model), classPrompt, count, resolution: side, make };
    const loop = ensureClassImages(images);
    for (let next = await loop.next(); ; next = await loop.next()) {
      if (next.done) return join(next.value[0]!, '..');
      yield { kind: 'preparing', step: 0, done: next.value.made, total: next.value.missing };
    }
  } finally {
    await pipeline.dispose();
  }
}
