import { symbol } from '../graph/dim.ts';
import { cast, concat, gather, input, reshape } from '../graph/operators.ts';
import { Scope } from '../graph/scope.ts';
import type { Dtype, Value } from '../graph/value.ts';
import { type ClipTextConfig, clipTextEncoder, finalLayerNorm, pooledText, projectText } from './clip.ts';
import { collectLoraSlots, type LoraSlot } from './lora-inputs.ts';

export interface TextEncoderGraph {
  readonly outputs: {
    /** [N, S, H] after the final norm. */
    readonly last_hidden_state: Value;
    /** [N, S, H]: the layer that hidden_state_index asks for, before and after the final norm. */
    readonly hidden_state: Value;
    readonly hidden_state_normalized: Value;
    /** [N, projectionDim]; only of an encoder with a projection. */
    readonly text_embeds?: Value;
  };
  readonly loraSlots: readonly LoraSlot[];
}

/**
 * Describes a text encoder with everything that a prompt can ask of it.
 * Inputs: input_ids int64 [N, S]; inverted_table [n, H], inverted_rows int64 [N, S] and is_inverted bool [N, S, 1] for
 * learned tokens; hidden_state_index int64 [1], 0 for the embeddings; eos_positions int64 [N] over all N·S positions if
 * there is a projection; and the factors of loraSlots.
 */
export function describeTextEncoder(
  config: ClipTextConfig,
  { component, dtype, takesLora }: { component: string; dtype: Dtype; takesLora: boolean },
): TextEncoderGraph {
  const { slots, lora } = collectLoraSlots(component, dtype);
  const scope = new Scope({ name: component, dtype, ...(takesLora && { lora }) });
  const batch = symbol('batch');
  const length = config.maxPositionEmbeddings;
  const { hiddenStates, lastHiddenState } = clipTextEncoder(scope, config, {
    inputIds: input('input_ids', { shape: [batch, length], dtype: 'int64' }),
    inverted: {
      table: cast(input('inverted_table', { shape: [symbol('inverted'), config.hiddenSize], dtype: 'float32' }), dtype),
      rows: input('inverted_rows', { shape: [batch, length], dtype: 'int64' }),
      isInverted: input('is_inverted', { shape: [batch, length, 1], dtype: 'bool' }),
    },
  });
  const stacked = concat(
    hiddenStates.map((state) => reshape(state, [1, ...state.shape])),
    0,
  );
  const chosen = gather(stacked, input('hidden_state_index', { shape: [1], dtype: 'int64' }));
  const hiddenState = reshape(chosen, lastHiddenState.shape);
  const outputs = {
    last_hidden_state: lastHiddenState,
    hidden_state: hiddenState,
    hidden_state_normalized: finalLayerNorm(scope, config, hiddenState),
  };
  if (config.projectionDim === undefined) return { outputs, loraSlots: slots };
  const pooled = pooledText(lastHiddenState, input('eos_positions', { shape: [batch], dtype: 'int64' }));
  return { outputs: { ...outputs, text_embeds: projectText(scope, config.projectionDim, pooled) }, loraSlots: slots };
}
