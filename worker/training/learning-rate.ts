import type { LrScheduler } from './settings.ts';

export interface LearningRateOptions {
  readonly learningRate: number;
  readonly lrScheduler: LrScheduler;
  readonly lrWarmupSteps: number;
  readonly maxTrainSteps: number;
}

/**
 * The learning rate of a step, as diffusers' get_scheduler gives it: linear from 0 over the warm-up, then constant, or
 * half a cosine down to 0 at the last step.
 * @param step  counted from 0
 */
export function learningRateAt(step: number, options: LearningRateOptions): number {
  return options.learningRate * factors[options.lrScheduler](step, options);
}

type Factor = (step: number, options: LearningRateOptions) => number;

const factors: { readonly [S in LrScheduler]: Factor } = {
  constant: () => 1,
  constant_with_warmup: warmup,
  cosine: (step, options) => {
    if (step < options.lrWarmupSteps) return warmup(step, options);
    const progress = (step - options.lrWarmupSteps) / Math.max(1, options.maxTrainSteps - options.lrWarmupSteps);
    return Math.max(0, 0.5 * (1 + Math.cos(Math.PI * progress)));
  },
};

function warmup(step: number, { lrWarmupSteps }: LearningRateOptions): number {
  return step < lrWarmupSteps ? step / Math.max(1, lrWarmupSteps) : 1;
}
