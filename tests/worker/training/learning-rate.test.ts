import { expect, test } from 'vitest';
import { learningRateAt } from '../../../worker/training/learning-rate.ts';

/** get_last_lr before each step of diffusers 0.42.1's get_scheduler at 3e-4, 4 of 12 steps of warm-up. */
const published = {
  constant: Array(13).fill(3e-4),
  constant_with_warmup: [0, 7.5e-5, 1.5e-4, 2.25e-4, ...Array(9).fill(3e-4)],
  cosine: [
    0, 7.5e-5, 1.5e-4, 2.25e-4, 3e-4, 0.000288581929876693, 0.00025606601717798207, 0.00020740251485476345, 1.5e-4,
    9.259748514523653e-5, 4.3933982822017876e-5, 1.1418070123306989e-5, 0,
  ],
} as const;

test.each(['constant', 'constant_with_warmup', 'cosine'] as const)(
  'learning rates are those of diffusers when the schedule is %s',
  (lrScheduler) => {
    const options = { learningRate: 3e-4, lrScheduler, lrWarmupSteps: 4, maxTrainSteps: 12 };
    for (const [step, rate] of published[lrScheduler].entries()) {
      expect(learningRateAt(step, options)).toBeCloseTo(rate, 14);
    }
  },
);

test('learning rate starts in full when there is no warm-up', () => {
  for (const lrScheduler of ['constant_with_warmup', 'cosine'] as const) {
    expect(learningRateAt(0, { learningRate: 0.5, lrScheduler, lrWarmupSteps: 0, maxTrainSteps: 4 })).toBe(0.5);
  }
});
