import type { CompileOptions } from '../runtime/compile.ts';
import type { AdamwOptions } from './adamw.ts';
import { HostTrainer } from './host-trainer.ts';
import { type Lesson, type LessonTrainer, learningCount, Trainer } from './trainer.ts';

/**
 * Numbers that learn, above which the optimizer runs on the host where the CPU is the device: a Loop holds about a dozen
 * copies of them, 3 GiB here. On other devices the Loop saves the way over the bus; loss scaling is there in the Loop alone.
 */
const LOOP_LIMIT = 2 ** 26;

/** Makes what takes a lesson's steps on a device; must be disposed of. */
export function createTrainer(lesson: Lesson, adamw: AdamwOptions, options: CompileOptions): Promise<LessonTrainer> {
  return trainerOf(lesson, options).create(lesson, adamw, options);
}

/** What createTrainer makes. */
export function trainerOf(
  { trainables, isLossScaled = false }: Pick<Lesson, 'trainables' | 'isLossScaled'>,
  { device }: Pick<CompileOptions, 'device'>,
): typeof Trainer | typeof HostTrainer {
  const isOnHost = device === 'cpu' && learningCount(trainables) > LOOP_LIMIT && !isLossScaled;
  return isOnHost ? HostTrainer : Trainer;
}
