import { symbol } from '../graph/dim.ts';
import { input } from '../graph/operators.ts';
import { Scope } from '../graph/scope.ts';
import type { Dtype } from '../graph/value.ts';
import { type SafetyCheckerConfig, safetyImageEmbeds } from '../networks/safety-checker.ts';
import { compile } from '../runtime/compile.ts';
import { loadTensor } from '../runtime/safetensors.ts';
import { float32Tensor, type Session, type SessionOptions, type Tensor } from '../runtime/session.ts';
import { findComponentWeights } from '../runtime/weight-files.ts';
import type { NetworkFolder } from './network-folder.ts';
import type { PictureSize } from './picture.ts';
import { toBytes } from './picture.ts';
import { BICUBIC, resize } from './resize.ts';

/** What the judgement compares with: embeddings of unwanted concepts, and how near is too near. */
export interface SafetyConcepts {
  /** One vector [projectionDim] per concept. */
  readonly conceptEmbeds: readonly Float32Array[];
  readonly conceptThresholds: Float32Array;
  readonly specialCareEmbeds: readonly Float32Array[];
  readonly specialCareThresholds: Float32Array;
}

/** A model's safety checker, loaded; must be disposed of. */
export class SafetyChecker {
  readonly #config: SafetyCheckerConfig;
  readonly #session: Session;
  readonly #concepts: SafetyConcepts;

  private constructor(config: SafetyCheckerConfig, session: Session, concepts: SafetyConcepts) {
    this.#config = config;
    this.#session = session;
    this.#concepts = concepts;
  }

  static async load(
    { config, checkpoint }: NetworkFolder<SafetyCheckerConfig>,
    { dtype, ...options }: SessionOptions & { dtype: Dtype },
  ): Promise<SafetyChecker> {
    const shape = [symbol('batch'), 3, config.imageSize, config.imageSize];
    const pixels = input('pixels', { shape, dtype: 'float32' });
    const scope = new Scope({ name: 'safety_checker', dtype });
    const outputs = { image_embeds: safetyImageEmbeds(scope, config, pixels) };
    const concepts = await loadConcepts(checkpoint.folder);
    const session = await compile(outputs, { ...options, checkpoints: { safety_checker: checkpoint } });
    return new SafetyChecker(config, session, concepts);
  }

  /**
   * Judges a decoded picture.
   * @param image  [1, 3, H, W], about [-1, 1]
   */
  async isUnsafe(image: Tensor): Promise<boolean> {
    const [, , height, width] = image.dims as [number, number, number, number];
    const pixels = clipPixels(image.data as Float32Array, { width, height }, this.#config.imageSize);
    const results = await this.#session.run({ pixels });
    return isUnsafe(results['image_embeds']!.data as Float32Array, this.#concepts);
  }

  dispose(): Promise<void> {
    return this.#session.dispose();
  }
}

async function loadConcepts(folder: string): Promise<SafetyConcepts> {
  const { tensors } = await findComponentWeights(folder);
  const load = (name: string) => loadTensor(tensors.get(name)!);
  const [concepts, conceptThresholds] = [await load('concept_embeds'), await load('concept_embeds_weights')];
  const [specials, specialCareThresholds] = [
    await load('special_care_embeds'),
    await load('special_care_embeds_weights'),
  ];
  return {
    conceptEmbeds: splitRows(concepts, conceptThresholds.length),
    conceptThresholds,
    specialCareEmbeds: splitRows(specials, specialCareThresholds.length),
    specialCareThresholds,
  };
}

function splitRows(values: Float32Array, rows: number): Float32Array[] {
  const size = values.length / rows;
  return Array.from({ length: rows }, (_, i) => values.slice(i * size, (i + 1) * size));
}

/**
 * Whether an image embedding is too near to an unwanted concept; being near to one of special care lowers every threshold
 * after it by 0.01.
 * @see diffusers, pipelines/stable_diffusion/safety_checker.py
 */
export function isUnsafe(imageEmbeds: Float32Array, concepts: SafetyConcepts): boolean {
  let adjustment = 0;
  const isNear = (embedding: Float32Array, threshold: number) =>
    Math.round((cosine(imageEmbeds, embedding) - threshold + adjustment) * 1000) > 0;
  concepts.specialCareEmbeds.forEach((embedding, i) => {
    if (isNear(embedding, concepts.specialCareThresholds[i]!)) adjustment = 0.01;
  });
  return concepts.conceptEmbeds.some((embedding, i) => isNear(embedding, concepts.conceptThresholds[i]!));
}

function cosine(a: Float32Array, b: Float32Array): number {
  let [product, squaresA, squaresB] = [0, 0, 0];
  for (let i = 0; i < a.length; i++) {
    product += a[i]! * b[i]!;
    squaresA += a[i]! ** 2;
    squaresB += b[i]! ** 2;
  }
  return product / Math.sqrt(squaresA * squaresB);
}

const CLIP_MEAN = [0.48145466, 0.4578275, 0.40821073];
const CLIP_DEVIATION = [0.26862954, 0.26130258, 0.27577711];

/** CLIP's feature extractor: the short side to `side` by bicubic, the middle cut out, channels normalised. */
function clipPixels(image: Float32Array, size: PictureSize, side: number): Tensor {
  const short = Math.min(size.width, size.height);
  const width = Math.trunc((size.width * side) / short);
  const height = Math.trunc((size.height * side) / short);
  const { bytes } = resize({ ...size, channels: 3, bytes: toBytes(image, size) }, { width, height }, BICUBIC);
  const [left, top] = [Math.floor((width - side) / 2), Math.floor((height - side) / 2)];
  const pixels = new Float32Array(3 * side * side);
  for (let i = 0; i < pixels.length; i++) {
    const channel = Math.floor(i / (side * side));
    const [y, x] = [Math.floor(i / side) % side, i % side];
    const byte = bytes[((top + y) * width + left + x) * 3 + channel]!;
    pixels[i] = (byte / 255 - CLIP_MEAN[channel]!) / CLIP_DEVIATION[channel]!;
  }
  return float32Tensor(pixels, [1, 3, side, side]);
}
