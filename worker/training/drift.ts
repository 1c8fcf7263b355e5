import { createScheduler } from '../diffusion/schedulers/create-scheduler.ts';
import type { SchedulerConfig } from '../diffusion/schedulers/scheduler-config.ts';
import type { Predict } from '../diffusion/stable-diffusion.ts';
import { elementCount } from '../runtime/element-count.ts';
import { RandomGenerator } from '../runtime/random.ts';
import { float32Tensor, type Tensor } from '../runtime/session.ts';

/** Where drift is measured: samples on the way to plain class pictures, and what the model said there before its lesson. */
export interface DriftProbe {
  readonly points: readonly DriftPoint[];
}

interface DriftPoint {
  /** [1, C, H, W]. */
  readonly sample: Tensor;
  readonly timestep: number;
  readonly prediction: Float32Array;
}

/** Noises that plain class pictures start from; the same for every lesson, so that lessons of a model compare. */
const SEEDS = [0, 1];
/** Of DDIM without guidance. SD's timesteps are then 831, 665, 499, 333, 167 and 1. */
const STEPS = 6;

export const DRIFT_DEFINITION =
  `How far plain class pictures moved, in percent: with the class prompt and no guidance, the untaught model takes ${STEPS} DDIM ` +
  `steps from each of ${SEEDS.length} fixed noises; at every sample on the way the taught model's prediction is compared ` +
  "with the untaught one's: root of the summed squares of the differences over that of the untaught predictions";

/**
 * Records what a model says on the way to plain class pictures.
 * @param predict  of the untaught model, with the class prompt
 * @param options.latentShape  [C, H, W]
 */
export async function recordDriftProbe(
  predict: Predict,
  { scheduler: config, latentShape }: { scheduler: SchedulerConfig; latentShape: readonly [number, number, number] },
): Promise<DriftProbe> {
  const points: DriftPoint[] = [];
  for (const seed of SEEDS) {
    const scheduler = createScheduler(config, { name: 'ddim', numInferenceSteps: STEPS });
    const noise = new RandomGenerator(seed).randn(elementCount(latentShape));
    let latents: Float32Array = noise.map((value) => value * scheduler.initNoiseSigma);
    for (const [stepIndex, timestep] of scheduler.timesteps.entries()) {
      const sample = float32Tensor(scheduler.scaleModelInput(latents, stepIndex), [1, ...latentShape]);
      const prediction = await predict(sample, timestep);
      points.push({ sample, timestep, prediction });
      latents = scheduler.step(prediction, stepIndex, latents, refuseNoise).prevSample;
    }
  }
  return { points };
}

function refuseNoise(): never {
  throw new Error('Cannot record the drift probe: DDIM must draw no noise');
}

/**
 * Measures drift, 100·√(Σ‖ε_taught(z, t) - ε_base(z, t)‖² / Σ‖ε_base(z, t)‖²) over the probe's points (z, t): 0 for a model
 * that says the same as before, about 100 for one that says something else altogether. The class prompt is encoded by each
 * model itself. Language drift and lost diversity (DreamBooth, arXiv 2208.12242, section 3.3) are both changes of these
 * predictions; whether a change is for the worse it does not tell.
 * @returns percent
 */
export async function measureDrift(predict: Predict, { points }: DriftProbe): Promise<number> {
  let [difference, scale] = [0, 0];
  for (const { sample, timestep, prediction: base } of points) {
    const taught = await predict(sample, timestep);
    for (let i = 0; i < base.length; i++) {
      difference += (taught[i]! - base[i]!) ** 2;
      scale += base[i]! ** 2;
    }
  }
  return 100 * Math.sqrt(difference / scale);
}
