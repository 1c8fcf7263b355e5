import { z } from 'zod';
import { UserError } from '../../shared/errors.ts';
import { type Dim, multiplyDims } from '../graph/dim.ts';
import { add, attention, endBlock, gather, gelu, quickGelu, reshape, where } from '../graph/operators.ts';
import type { Scope } from '../graph/scope.ts';
import type { Value } from '../graph/value.ts';
import { countUpTo, parseConfig } from './config.ts';
import { dense, layerNorm } from './layers.ts';

/** The parts of a CLIP configuration that its transformer is built from. */
export interface ClipEncoderConfig {
  readonly hiddenSize: number;
  readonly intermediateSize: number;
  readonly numHiddenLayers: number;
  readonly numAttentionHeads: number;
  readonly hiddenAct: 'quick_gelu' | 'gelu';
  readonly layerNormEps: number;
}

export interface ClipTextConfig extends ClipEncoderConfig {
  readonly vocabSize: number;
  readonly maxPositionEmbeddings: number;
  /** Width of text_projection; undefined for a text encoder without it. */
  readonly projectionDim: number | undefined;
  /** The file's eos_token_id; 2 selects the legacy pooling rule. */
  readonly eosTokenId: number;
}

export const clipEncoderSchema = z.object({
  hidden_size: countUpTo(65536).default(512),
  intermediate_size: countUpTo(262144).default(2048),
  num_hidden_layers: countUpTo(256).default(12),
  num_attention_heads: countUpTo(1024).default(8),
  hidden_act: z.enum(['quick_gelu', 'gelu']).default('quick_gelu'),
  layer_norm_eps: z.number().positive().max(1).default(1e-5),
});

const clipTextSchema = clipEncoderSchema.extend({
  vocab_size: countUpTo(1 << 20).default(49408),
  max_position_embeddings: countUpTo(65536).default(77),
  projection_dim: countUpTo(65536).default(512),
  eos_token_id: z.int().nonnegative().default(49407),
  architectures: z.array(z.string()).default(['CLIPTextModel']),
});

/**
 * Parses text_encoder/config.json.
 * @throws UserError that names the field, the rule and the value received
 */
export function parseClipTextConfig(json: unknown, where = 'text_encoder/config.json'): ClipTextConfig {
  const fields = parseConfig(json, { schema: clipTextSchema, fixed: { use_attention_mask: false }, where });
  return {
    ...normalizeClipEncoder(fields, where),
    vocabSize: fields.vocab_size,
    maxPositionEmbeddings: fields.max_position_embeddings,
    projectionDim: fields.architectures.includes('CLIPTextModelWithProjection') ? fields.projection_dim : undefined,
    eosTokenId: fields.eos_token_id,
  };
}

export function normalizeClipEncoder(fields: z.infer<typeof clipEncoderSchema>, where: string): ClipEncoderConfig {
  if (fields.hidden_size % fields.num_attention_heads !== 0) {
    const { hidden_size, num_attention_heads } = fields;
    throw new UserError(
      `Cannot read ${where}: hidden_size must be divisible by ${num_attention_heads} heads, got ${hidden_size}`,
    );
  }
  return {
    hiddenSize: fields.hidden_size,
    intermediateSize: fields.intermediate_size,
    numHiddenLayers: fields.num_hidden_layers,
    numAttentionHeads: fields.num_attention_heads,
    hiddenAct: fields.hidden_act,
    layerNormEps: fields.layer_norm_eps,
  };
}

/** Learned embeddings that stand in for tokens outside the vocabulary. */
export interface InvertedEmbeddings {
  /** [n, hiddenSize], at least one row. */
  readonly table: Value;
  /** int64 [N, S]: row of the table, 0 where the token is an ordinary one. */
  readonly rows: Value;
  /** bool [N, S, 1]: true where the row stands in. */
  readonly isInverted: Value;
}

export interface TextEncoderInputs {
  /** int64 [N, S] below vocabSize; any ordinary id where an inverted embedding stands in. */
  readonly inputIds: Value;
  readonly inverted?: InvertedEmbeddings | undefined;
}

export interface TextEncoderOutputs {
  /** The embeddings, then each layer's result: numHiddenLayers + 1 of [N, S, hiddenSize], before the final norm. */
  readonly hiddenStates: readonly Value[];
  /** The last hidden state after the final norm. */
  readonly lastHiddenState: Value;
}

/**
 * CLIPTextModel.
 * @see Radford et al. 2021 (arXiv 2103.00020); transformers, models/clip/modeling_clip.py
 */
export function clipTextEncoder(
  scope: Scope,
  config: ClipTextConfig,
  { inputIds, inverted }: TextEncoderInputs,
): TextEncoderOutputs {
  return scope.describe(() => {
    const model = scope.at('text_model');
    const { hiddenSize } = config;
    const table = model.at('embeddings').parameter('token_embedding.weight', [config.vocabSize, hiddenSize]);
    let tokens = gather(table, inputIds);
    if (inverted) tokens = where(inverted.isInverted, gather(inverted.table, inverted.rows), tokens);
    const positions = model
      .at('embeddings')
      .parameter('position_embedding.weight', [config.maxPositionEmbeddings, hiddenSize]);
    let x = add(tokens, positions);
    const hiddenStates = [x];
    for (let i = 0; i < config.numHiddenLayers; i++) {
      x = clipEncoderLayer(model.at('encoder.layers', i), x, { config, isCausal: true });
      hiddenStates.push(x);
    }
    return { hiddenStates, lastHiddenState: finalLayerNorm(scope, config, x) };
  });
}

/** The norm after the last layer, which clip-skip applies to an earlier layer's result. */
export function finalLayerNorm(scope: Scope, config: ClipTextConfig, hiddenState: Value): Value {
  return layerNorm(scope.at('text_model.final_layer_norm'), hiddenState, config.layerNormEps);
}

/**
 * Takes the vector at the end-of-text position of each prompt.
 * @param eosPositions int64 [N], counted over all N·S positions
 * @returns [N, hiddenSize]
 */
export function pooledText(lastHiddenState: Value, eosPositions: Value): Value {
  const [batch, length, features] = lastHiddenState.shape as [Dim, Dim, Dim];
  return gather(reshape(lastHiddenState, [multiplyDims(batch, length), features]), eosPositions);
}

/** CLIPTextModelWithProjection's text_embeds [N, projectionDim]. */
export function projectText(scope: Scope, projectionDim: number, pooled: Value): Value {
  return dense(scope.at('text_projection'), pooled, projectionDim, { hasBias: false });
}

/** One pre-norm transformer layer, of the text encoder (causal) or of the vision encoder. */
export function clipEncoderLayer(
  scope: Scope,
  x: Value,
  { config, isCausal }: { config: ClipEncoderConfig; isCausal: boolean },
): Value {
  return scope.describe(() => {
    const { hiddenSize, intermediateSize, numAttentionHeads: numHeads, layerNormEps } = config;
    const h = layerNorm(scope.at('layer_norm1'), x, layerNormEps);
    const project = (name: string, input: Value) => dense(scope.at('self_attn', name), input, hiddenSize);
    const attended = attention(project('q_proj', h), project('k_proj', h), project('v_proj', h), {
      numHeads,
      isCausal,
    });
    x = add(x, project('out_proj', attended));
    const activate = { quick_gelu: quickGelu, gelu }[config.hiddenAct];
    const hidden = activate(
      dense(scope.at('mlp.fc1'), layerNorm(scope.at('layer_norm2'), x, layerNormEps), intermediateSize),
    );
    return endBlock(add(x, dense(scope.at('mlp.fc2'), hidden, hiddenSize)));
  });
}

/**
 * The published spelling of a text encoder's tensor, with the `text_model.` prefix that transformers 5 leaves out;
 * undefined for the position ids that old files carry and nobody reads.
 */
export function currentTextEncoderName(name: string): string | undefined {
  if (name.endsWith('embeddings.position_ids')) return undefined;
  return /^(embeddings|encoder|final_layer_norm)\./.test(name) ? `text_model.${name}` : name;
}
