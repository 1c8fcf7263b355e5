import { UserError } from '../../shared/errors.ts';
import { type LoraSlot, loraInputNames } from '../networks/lora-inputs.ts';
import { elementCount } from '../runtime/element-count.ts';
import { boolTensor, float32Tensor, type Tensor } from '../runtime/session.ts';
import type { LoraWeights } from './lora-file.ts';

/** A loaded LoRA and how much of it to apply. */
export interface AppliedLora {
  readonly weights: readonly LoraWeights[];
  /** 1 is as trained; may be negative. */
  readonly scale: number;
}

/**
 * Makes the feeds of a session's LoRA slots: the factors of all LoRAs of a module stand side by side along the rank,
 * with alpha / rank and the person's scale multiplied into `up`.
 */
export function loraFeeds(slots: readonly LoraSlot[], loras: readonly AppliedLora[]): Record<string, Tensor> {
  const byModule = new Map<string, { weights: LoraWeights; scale: number }[]>();
  for (const { weights, scale } of loras) {
    if (!Number.isFinite(scale)) throw new UserError(`Cannot apply the LoRA: its scale must be a number, got ${scale}`);
    for (const entry of weights) {
      const key = `${entry.target}:${entry.path}`;
      byModule.set(key, [...(byModule.get(key) ?? []), { weights: entry, scale }]);
    }
  }
  return Object.assign(
    {},
    ...slots.map((slot) => slotFeeds(slot, byModule.get(`${slot.component}:${slot.path}`) ?? [])),
  );
}

function slotFeeds(
  slot: LoraSlot,
  updates: readonly { weights: LoraWeights; scale: number }[],
): Record<string, Tensor> {
  const names = loraInputNames(slot);
  const [out, ...kernel] = slot.weightShape as [number, ...number[]];
  // An unused slot still needs factors of its shape; rank 1 is the smallest.
  const rank = Math.max(
    1,
    updates.reduce((sum, { weights }) => sum + weights.rank, 0),
  );
  const features = elementCount(kernel);
  const down = new Float32Array(rank * features);
  const up = new Float32Array(out * rank);
  let first = 0;
  for (const { weights, scale } of updates) {
    down.set(weights.down, first * features);
    const factor = scale * weights.scale;
    for (let row = 0; row < out; row++) {
      for (let i = 0; i < weights.rank; i++) up[row * rank + first + i] = factor * weights.up[row * weights.rank + i]!;
    }
    first += weights.rank;
  }
  return {
    [names.enabled]: boolTensor(updates.length > 0),
    [names.down]: float32Tensor(down, [rank, ...kernel]),
    [names.up]: float32Tensor(up, [out, rank, ...kernel.slice(1).map(() => 1)]),
  };
}
