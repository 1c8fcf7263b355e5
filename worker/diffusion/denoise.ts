import { controlInputNames } from '../networks/denoiser.ts';
import { float32Tensor, type Session, type Tensor } from '../runtime/session.ts';
import { guide, rescaleGuidance } from './guidance.ts';
import type { Randn, Scheduler } from './schedulers/scheduler.ts';

/** A ControlNet or T2I-Adapter of the denoiser's graph, with what it is fed. */
export interface ControlFeed {
  /** Name of the graph's component. */
  readonly component: string;
  /** [1, C, f·H, f·W] in [0, 1]. */
  readonly image: Tensor;
  readonly conditioningScale: number;
  /** Fractions of the steps between which the control acts, 0 and 1 by default. */
  readonly controlGuidanceStart: number;
  readonly controlGuidanceEnd: number;
}

/** What is repainted, and what the rest is held to. */
export type Inpainting = {
  /** [1, 1, H, W] in latents; 1 where the picture is repainted. */
  readonly mask: Float32Array;
} & (
  | { readonly kind: 'concatenate'; readonly maskedImageLatents: Float32Array }
  | { readonly kind: 'blend'; readonly originalLatents: Float32Array; readonly noise: Float32Array }
);

export interface DenoiseOptions {
  readonly session: Session;
  readonly scheduler: Scheduler;
  /** [N, C, H, W], noised to the first timestep. */
  readonly latents: Tensor;
  /** encoder_hidden_states and the like, [2N, ...] with the unconditional half first if guided, else [N, ...]. */
  readonly conditions: Readonly<Record<string, Tensor>>;
  readonly isGuided: boolean;
  readonly guidanceScale: number;
  readonly guidanceRescale?: number | undefined;
  readonly controls?: readonly ControlFeed[] | undefined;
  readonly inpainting?: Inpainting | undefined;
  readonly randn: Randn;
}

/** What is known after one call of the network. */
export interface DenoiseStep {
  /** Counts from 0 to stepCount - 1. */
  readonly stepIndex: number;
  /** Calls of the network in all: more than the inference steps for PNDM and Heun. */
  readonly stepCount: number;
  readonly timestep: number;
  /** [N, C, H, W]. */
  readonly latents: Tensor;
  /** The clean latents that the step points to, for previews. */
  readonly predOriginalSample: Tensor;
}

/**
 * Runs the denoising loop, yielding after each call of the network: a caller that stops asking cancels it.
 * @returns the final latents [N, C, H, W]
 */
export async function* denoise(options: DenoiseOptions): AsyncGenerator<DenoiseStep, Tensor> {
  const { scheduler, inpainting, randn } = options;
  const { dims } = options.latents;
  let latents = options.latents.data as Float32Array;
  const stepCount = scheduler.timesteps.length;
  for (const [stepIndex, timestep] of scheduler.timesteps.entries()) {
    const noisePred = await predictNoise(options, latents, stepIndex);
    const { prevSample, predOriginalSample } = scheduler.step(noisePred, stepIndex, latents, randn);
    latents =
      inpainting?.kind === 'blend' ? holdOutside(prevSample, { ...inpainting, scheduler, stepIndex }) : prevSample;
    yield {
      stepIndex,
      stepCount,
      timestep,
      latents: float32Tensor(latents, dims),
      predOriginalSample: float32Tensor(predOriginalSample, dims),
    };
  }
  return float32Tensor(latents, dims);
}

async function predictNoise(options: DenoiseOptions, latents: Float32Array, stepIndex: number): Promise<Float32Array> {
  const { session, scheduler, conditions, isGuided, guidanceScale, guidanceRescale = 0 } = options;
  const [batch, ...rest] = options.latents.dims as [number, number, number, number];
  const scaled = scheduler.scaleModelInput(latents, stepIndex);
  const sample = withInpaintingChannels(float32Tensor(scaled, [batch, ...rest]), options.inpainting);
  const copies = isGuided ? 2 : 1;
  const timestep = new Float32Array(copies * batch).fill(scheduler.timesteps[stepIndex]!);
  const results = await session.run({
    ...conditions,
    ...controlFeeds(options.controls ?? [], stepIndex, scheduler.timesteps.length),
    sample: repeatBatch(sample, copies),
    timestep: float32Tensor(timestep, [copies * batch]),
  });
  const noisePred = results['noise_pred']!.data as Float32Array;
  if (!isGuided) return noisePred;
  const guided = guide(noisePred, guidanceScale);
  if (guidanceRescale === 0) return guided;
  return rescaleGuidance(guided, noisePred.subarray(noisePred.length / 2), { batch, guidanceRescale });
}

function controlFeeds(controls: readonly ControlFeed[], stepIndex: number, stepCount: number): Record<string, Tensor> {
  const feeds = controls.map(({ component, image, conditioningScale, controlGuidanceStart, controlGuidanceEnd }) => {
    const names = controlInputNames(component);
    const isActive = stepIndex / stepCount >= controlGuidanceStart && (stepIndex + 1) / stepCount <= controlGuidanceEnd;
    const scale = Float32Array.of(isActive ? conditioningScale : 0);
    return { [names.image]: image, [names.conditioningScale]: float32Tensor(scale, []) };
  });
  return Object.assign({}, ...feeds);
}

/** An inpainting UNet sees the mask and the masked picture's latents as further channels, not scaled by the scheduler. */
function withInpaintingChannels(sample: Tensor, inpainting: Inpainting | undefined): Tensor {
  if (inpainting?.kind !== 'concatenate') return sample;
  const [batch, channels, height, width] = sample.dims as [number, number, number, number];
  const parts = [inpainting.mask, inpainting.maskedImageLatents];
  const extra = parts.reduce((sum, part) => sum + part.length, 0) / (height * width);
  const size = (channels + extra) * height * width;
  const data = new Float32Array(batch * size);
  for (let n = 0; n < batch; n++) {
    const own = (sample.data as Float32Array).subarray(
      n * channels * height * width,
      (n + 1) * channels * height * width,
    );
    let offset = n * size;
    for (const part of [own, ...parts]) {
      data.set(part, offset);
      offset += part.length;
    }
  }
  return float32Tensor(data, [batch, channels + extra, height, width]);
}

/** Puts the original, noised to the next timestep, back wherever the mask is 0. */
function holdOutside(
  prevSample: Float32Array,
  options: Extract<Inpainting, { kind: 'blend' }> & { scheduler: Scheduler; stepIndex: number },
): Float32Array {
  const { mask, originalLatents, noise, scheduler, stepIndex } = options;
  const isLast = stepIndex === scheduler.timesteps.length - 1;
  const held = isLast ? originalLatents : scheduler.addNoise(originalLatents, noise, stepIndex + 1);
  return prevSample.map((value, i) => {
    const share = mask[i % mask.length]!;
    return (1 - share) * held[i % held.length]! + share * value;
  });
}

/** Repeats a batch as a whole: [a, b] becomes [a, b, a, b]. */
export function repeatBatch({ data, dims }: Tensor, copies: number): Tensor {
  const [batch, ...rest] = dims as [number, ...number[]];
  const repeated = new Float32Array(data.length * copies);
  for (let i = 0; i < copies; i++) repeated.set(data as Float32Array, i * data.length);
  return float32Tensor(repeated, [batch * copies, ...rest]);
}

/** Joins two batches: the unconditional half first. */
export function joinBatches(a: Tensor, b: Tensor): Tensor {
  const joined = new Float32Array(a.data.length + b.data.length);
  joined.set(a.data as Float32Array);
  joined.set(b.data as Float32Array, a.data.length);
  return float32Tensor(joined, [a.dims[0]! + b.dims[0]!, ...a.dims.slice(1)]);
}
