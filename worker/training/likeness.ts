import { input, reduceMean, reshape } from '../graph/operators.ts';
import { Scope } from '../graph/scope.ts';
import type { Value } from '../graph/value.ts';
import { denoiserComponents } from '../networks/denoiser.ts';
import { unetFeatures } from '../networks/unet.ts';
import { SIZE_IDS, type UnetConfig } from '../networks/unet-config.ts';
import type { Checkpoint } from '../runtime/checkpoint.ts';
import { compile } from '../runtime/compile.ts';
import { RandomGenerator } from '../runtime/random.ts';
import { float32Tensor, type Session, type SessionOptions, type Tensor } from '../runtime/session.ts';

export interface FeatureOptions extends SessionOptions {
  readonly unet: { readonly config: UnetConfig; readonly checkpoint: Checkpoint };
  /** [C, H, W]. */
  readonly latentShape: readonly [number, number, number];
  /** ᾱ of every training timestep. */
  readonly alphasCumprod: Float64Array;
  /** What the UNet is told beside the sample, of batch 1: the class prompt. */
  readonly conditions: Readonly<Record<string, Tensor>>;
}

/** Of DIFT, for matching what is seen rather than its texture. */
const TIMESTEP = 261;
const UP_BLOCKS = 2;
/** Noises that the features are averaged over; DIFT takes eight, for features of single positions. */
const NOISE_SEEDS = [0, 1];

export const LIKENESS_DEFINITION =
  "How close the sample pictures are to the photos of the subject: 1 - d/d0, where d is the mean cosine distance between the pictures' and the " +
  `photos' features, and d0 the same for the pictures that the untaught model made of the same prompt and noise. 0 before the lesson, ` +
  `1 if pictures and photos were one. Features: the untaught UNet's after its up block ${UP_BLOCKS}, for latents noised to timestep ${TIMESTEP} ` +
  `and the class prompt, averaged over all positions and ${NOISE_SEEDS.length} fixed noises`;

/**
 * Reads from latents what a model sees in them: diffusion features, which tell objects and their parts apart without any
 * network beside the model. They come from the untaught model, so that all pictures of a lesson are measured alike. Must
 * be disposed of.
 * @see Tang et al. 2023 (arXiv 2306.03881, DIFT), sections 3 and 4
 */
export class FeatureReader {
  readonly #session: Session;
  readonly #options: FeatureOptions;

  private constructor(session: Session, options: FeatureOptions) {
    this.#session = session;
    this.#options = options;
  }

  static async create(options: FeatureOptions): Promise<FeatureReader> {
    const { unet, latentShape: _, alphasCumprod: __, conditions: ___, ...session } = options;
    const checkpoints = { [denoiserComponents.unet]: unet.checkpoint };
    return new FeatureReader(
      await compile({ features: describeFeatures(options) }, { ...session, checkpoints }),
      options,
    );
  }

  /**
   * @param latents  [C, H, W], times the scaling factor
   * @returns one number per channel
   */
  async read(latents: Float32Array): Promise<Float32Array> {
    const { latentShape, alphasCumprod, conditions } = this.#options;
    const alpha = alphasCumprod[Math.min(TIMESTEP, alphasCumprod.length - 1)]!;
    const sums: Float32Array[] = [];
    for (const seed of NOISE_SEEDS) {
      const noise = new RandomGenerator(seed).randn(latents.length);
      const noised = latents.map((value, i) => Math.sqrt(alpha) * value + Math.sqrt(1 - alpha) * noise[i]!);
      const feeds = {
        sample: float32Tensor(noised, [1, ...latentShape]),
        timestep: float32Tensor(Float32Array.of(TIMESTEP), [1]),
      };
      sums.push((await this.#session.run({ ...conditions, ...feeds }))['features']!.data as Float32Array);
    }
    return sums[0]!.map((_, i) => sums.reduce((sum, features) => sum + features[i]!, 0) / sums.length);
  }

  dispose(): Promise<void> {
    return this.#session.dispose();
  }
}

function describeFeatures({ unet: { config }, latentShape, conditions }: FeatureOptions): Value {
  const float = (name: string, ...shape: number[]) => input(name, { shape: [1, ...shape], dtype: 'float32' });
  const { addition, timeCondProjDim, crossAttentionDim } = config;
  const features = unetFeatures(new Scope({ name: denoiserComponents.unet, dtype: 'float32' }), config, {
    sample: float('sample', ...latentShape),
    timestep: input('timestep', { shape: [1], dtype: 'float32' }),
    encoderHiddenStates: float(
      'encoder_hidden_states',
      conditions['encoder_hidden_states']!.dims[1]!,
      crossAttentionDim[0]!,
    ),
    timestepCond: timeCondProjDim === undefined ? undefined : float('timestep_cond', timeCondProjDim),
    textEmbeds: addition && float('text_embeds', addition.textEmbedDim),
    timeIds: addition && float('time_ids', SIZE_IDS),
    upBlocks: Math.min(UP_BLOCKS, config.blockOutChannels.length - 1),
  });
  return reshape(reduceMean(features, [2, 3]), [1, Number(features.shape[1])]);
}

/**
 * Mean cosine distance, 1 - cos, between the features of two sets of pictures; 0 to 2.
 * A set is compared with itself without comparing any picture with itself.
 * @returns undefined where there is no pair
 */
export function featureDistance(a: readonly Float32Array[], b: readonly Float32Array[]): number | undefined {
  const distances = a.flatMap((one) => b.filter((other) => other !== one).map((other) => 1 - cosine(one, other)));
  if (distances.length === 0) return undefined;
  return distances.reduce((sum, distance) => sum + distance, 0) / distances.length;
}

function cosine(a: Float32Array, b: Float32Array): number {
  let [product, squareA, squareB] = [0, 0, 0];
  for (let i = 0; i < a.length; i++) {
    product += a[i]! * b[i]!;
    squareA += a[i]! ** 2;
    squareB += b[i]! ** 2;
  }
  return product / Math.sqrt(squareA * squareB);
}

/**
 * Likeness, 1 - d/d0; see LIKENESS_DEFINITION. What the photos have among themselves is what pictures can reach at most
 * without copying them.
 * @param distance  d, from featureDistance
 * @param baseDistance  d0, of the untaught model's pictures
 */
export function likeness(distance: number, baseDistance: number): number {
  return 1 - distance / baseDistance;
}
