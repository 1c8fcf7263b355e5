import { multiplyDims, symbol } from '../graph/dim.ts';
import { cast, input, type LoraFactors } from '../graph/operators.ts';
import type { Dtype } from '../graph/value.ts';

/** A module whose weight can be given a low-rank update at run time. */
export interface LoraSlot {
  readonly component: string;
  /** Module path in the checkpoint, e.g. `mid_block.attentions.0.proj_in`. */
  readonly path: string;
  /** [out, in] or [out, in, kH, kW]. */
  readonly weightShape: readonly number[];
}

/** Names of the three graph inputs of a slot. */
export function loraInputNames({ component, path }: LoraSlot): { enabled: string; down: string; up: string } {
  const stem = `lora:${component}:${path}`;
  return { enabled: `${stem}:enabled`, down: `${stem}:down`, up: `${stem}:up` };
}

/**
 * Makes the `lora` function of a Component and the list of slots that it fills while the component is described.
 * Factors are fed as down [rank, in, ...] and up [out, rank, ...]; the scale is multiplied into them beforehand.
 */
export function collectLoraSlots(component: string, dtype: Dtype) {
  const slots: LoraSlot[] = [];
  const lora = (path: string, weightShape: readonly number[]): LoraFactors => {
    const slot = { component, path, weightShape };
    slots.push(slot);
    const names = loraInputNames(slot);
    const [out, ...kernel] = weightShape as [number, ...number[]];
    const rank = multiplyDims(symbol(`rank:${component}:${path}`));
    const pointwise = kernel.slice(1).map(() => 1);
    return {
      enabled: input(names.enabled, { shape: [], dtype: 'bool' }),
      down: cast(input(names.down, { shape: [rank, ...kernel], dtype: 'float32' }), dtype),
      up: cast(input(names.up, { shape: [out, rank, ...pointwise], dtype: 'float32' }), dtype),
    };
  };
  return { slots, lora };
}
