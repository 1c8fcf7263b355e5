/** Lessons on networks with golden weights, and golden numbers for whatever they read. */
import { onTestFinished } from 'vitest';
import { parametersOf } from '../../worker/graph/value.ts';
import type { Checkpoint } from '../../worker/runtime/checkpoint.ts';
import { elementCount } from '../../worker/runtime/element-count.ts';
import { float32Tensor, int64Tensor } from '../../worker/runtime/session.ts';
import { ADAMW_DEFAULTS, type AdamwOptions, type Trainable } from '../../worker/training/adamw.ts';
import { type Lesson, type StepFeeds, Trainer } from '../../worker/training/trainer.ts';
import { goldenTensor } from './golden.ts';
import { goldenCheckpoint } from './tiny-models.ts';

/** Of the frozen networks of a lesson. */
export async function goldenCheckpoints({ loss }: Pick<Lesson, 'loss'>): Promise<Record<string, Checkpoint>> {
  const checkpoints: Record<string, Checkpoint> = {};
  for (const [component, shapes] of parametersOf([loss])) checkpoints[component] = await goldenCheckpoint(shapes);
  return checkpoints;
}

/** A trainer that is disposed of with the test. */
export async function createTrainer(lesson: Lesson, adamw: Partial<AdamwOptions> = {}): Promise<Trainer> {
  const options = { device: 'cpu', threads: 1, checkpoints: await goldenCheckpoints(lesson) } as const;
  const trainer = await Trainer.create(lesson, { ...ADAMW_DEFAULTS, ...adamw }, options);
  onTestFinished(() => trainer.dispose());
  return trainer;
}

export const goldenValues = (trainables: readonly Trainable[]) =>
  new Map(trainables.map(({ name, shape }) => [name, goldenTensor(name, shape)]));

/** Golden numbers for every input; ids and rows are zeros and marks ones, so that every word is a learned one. */
export function goldenFeeds({ perStep }: Pick<Lesson, 'perStep'>): StepFeeds {
  return Object.fromEntries(
    perStep.map((value) => {
      if (value.op !== 'Input') throw new Error(`Cannot feed ${value.op}: it must be an Input`);
      const { name, shape, dtype } = value.attributes;
      const dims = shape.map(Number);
      if (dtype !== 'int64') return [name, float32Tensor(goldenTensor(`in:${name}`, dims), dims)];
      return [name, int64Tensor(Array(elementCount(dims)).fill(name.endsWith(':is_inverted') ? 1 : 0), dims)];
    }),
  );
}
