import type { AdamwOptions, Segment } from './adamw.ts';

export interface HostAdamwStep extends Pick<AdamwOptions, 'beta1' | 'beta2' | 'epsilon'> {
  readonly segments: readonly Segment[];
  readonly learningRate: number;
  /** The optimizer's step, counted from 1. */
  readonly t: number;
  /** What gradients are multiplied by before all else, to clip them. */
  readonly gradientScale: number;
}

export interface HostAdamwVectors {
  readonly parameters: Float32Array;
  readonly firstMoments: Float32Array;
  readonly secondMoments: Float32Array;
  readonly gradients: Float32Array;
}

/**
 * Takes one AdamW step in place, in the order of torch.optim.AdamW: see adamwStep, whose vectors these are. It passes once
 * over memory that is held once, 3 ns for each number.
 */
export function adamwInPlace(vectors: HostAdamwVectors, step: HostAdamwStep): void {
  let start = 0;
  for (const segment of step.segments) {
    const end = start + segment.size;
    updateSegment(vectors, [start, end], { ...step, ...segment });
    start = end;
  }
}

function updateSegment(
  { parameters, firstMoments, secondMoments, gradients }: HostAdamwVectors,
  [start, end]: readonly [number, number],
  step: HostAdamwStep & Segment,
): void {
  const { beta1, beta2, epsilon, gradientScale, t } = step;
  const rate = step.learningRate * step.learningRateScale;
  const kept = 1 - rate * step.weightDecay;
  const [correction1, correction2] = [1 / (1 - beta1 ** t), 1 / (1 - beta2 ** t)];
  for (let i = start; i < end; i++) {
    const gradient = gradientScale * gradients[i]!;
    const first = beta1 * firstMoments[i]! + (1 - beta1) * gradient;
    const second = beta2 * secondMoments[i]! + (1 - beta2) * gradient * gradient;
    firstMoments[i] = first;
    secondMoments[i] = second;
    parameters[i] = kept * parameters[i]! - (rate * first * correction1) / (Math.sqrt(second * correction2) + epsilon);
  }
}

/** L2 norm, summed in float64. */
export function norm(vector: Float32Array): number {
  // One sum would wait for itself at every number.
  let [a, b, c, d] = [0, 0, 0, 0] as [number, number, number, number];
  const whole = vector.length - (vector.length % 4);
  for (let i = 0; i < whole; i += 4) {
    a += vector[i]! * vector[i]!;
    b += vector[i + 1]! * vector[i + 1]!;
    c += vector[i + 2]! * vector[i + 2]!;
    d += vector[i + 3]! * vector[i + 3]!;
  }
  for (let i = whole; i < vector.length; i++) a += vector[i]! * vector[i]!;
  return Math.sqrt(a + b + c + d);
}

/** ema ← ema - (1 - d)·(ema - p), as diffusers' EMAModel, in place. */
export function averageInPlace(average: Float32Array, parameters: Float32Array, decay: number): void {
  for (let i = 0; i < average.length; i++) average[i] = average[i]! - (1 - decay) * (average[i]! - parameters[i]!);
}
