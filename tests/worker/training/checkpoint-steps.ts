import type { TrainingCheckpoint } from '../../../worker/training/checkpoint-file.ts';

/** A checkpoint of 3 MB whose every value tells its step. */
export function checkpointAt(step: number): TrainingCheckpoint {
  const tensor = (factor: number) => ({
    shape: [256, 1024],
    values: new Float32Array(256 * 1024).map((_, i) => factor * step + i),
  });
  return {
    step,
    groups: {
      trained: new Map([['mid_block.weight', tensor(1)]]),
      m: new Map([['mid_block.weight', tensor(2)]]),
      v: new Map([['mid_block.weight', tensor(3)]]),
    },
    state: { losses: Array.from({ length: step }, (_, i) => i / 7) },
  };
}
