import { z } from 'zod';
import { UserError } from '../../shared/errors.ts';
import { add, concat, conv, expand, flattenSpatial, reshape, slice } from '../graph/operators.ts';
import type { Scope } from '../graph/scope.ts';
import type { Value } from '../graph/value.ts';
import { type ClipEncoderConfig, clipEncoderLayer, clipEncoderSchema, normalizeClipEncoder } from './clip.ts';
import { countUpTo, parseConfig } from './config.ts';
import { dense, layerNorm } from './layers.ts';

export interface SafetyCheckerConfig extends ClipEncoderConfig {
  readonly imageSize: number;
  readonly patchSize: number;
  readonly projectionDim: number;
}

const visionSchema = clipEncoderSchema.extend({
  hidden_size: countUpTo(65536).default(768),
  intermediate_size: countUpTo(262144).default(3072),
  num_attention_heads: countUpTo(1024).default(12),
  image_size: countUpTo(4096).default(224),
  patch_size: countUpTo(1024).default(32),
});

const checkerSchema = z.object({
  projection_dim: countUpTo(65536).default(512),
  vision_config: z.unknown().default({}),
});

/** Numbers of general and of special-care concepts in every published checker. */
export const CONCEPTS = 17;
export const SPECIAL_CONCEPTS = 3;

/**
 * Parses safety_checker/config.json.
 * @throws UserError that names the field, the rule and the value received
 */
export function parseSafetyCheckerConfig(json: unknown, where = 'safety_checker/config.json'): SafetyCheckerConfig {
  const fields = parseConfig(json, { schema: checkerSchema, fixed: {}, where });
  const visionWhere = `vision_config of ${where}`;
  const vision = parseConfig(fields.vision_config, { schema: visionSchema, fixed: {}, where: visionWhere });
  if (vision.image_size < vision.patch_size) {
    const { image_size, patch_size } = vision;
    throw new UserError(
      `Cannot read ${visionWhere}: image_size must be at least patch_size ${patch_size}, got ${image_size}`,
    );
  }
  return {
    ...normalizeClipEncoder(vision, visionWhere),
    imageSize: vision.image_size,
    patchSize: vision.patch_size,
    projectionDim: fields.projection_dim,
  };
}

/**
 * The safety checker's image embedding.
 * @param pixels [N, 3, imageSize, imageSize], normalised by CLIP's mean and standard deviation
 * @returns [N, projectionDim], not normalised
 * @see diffusers, pipelines/stable_diffusion/safety_checker.py
 */
export function safetyImageEmbeds(scope: Scope, config: SafetyCheckerConfig, pixels: Value): Value {
  return scope.describe(() => {
    const vision = scope.at('vision_model.vision_model');
    const { hiddenSize, patchSize, imageSize } = config;
    const positions = Math.floor(imageSize / patchSize) ** 2 + 1;
    const embeddings = vision.at('embeddings');
    const kernel = embeddings.parameter('patch_embedding.weight', [hiddenSize, 3, patchSize, patchSize]);
    const patches = conv(pixels, kernel, undefined, { strides: [patchSize, patchSize], pads: [0, 0, 0, 0] });
    const classToken = reshape(embeddings.parameter('class_embedding', [hiddenSize]), [1, 1, hiddenSize]);
    const batch = pixels.shape[0]!;
    const tokens = concat([expand(classToken, [batch, 1, hiddenSize]), flattenSpatial(patches)], 1);
    let x = add(tokens, embeddings.parameter('position_embedding.weight', [positions, hiddenSize]));
    // The checkpoint spells it this way.
    x = layerNorm(vision.at('pre_layrnorm'), x, config.layerNormEps);
    for (let i = 0; i < config.numHiddenLayers; i++) {
      x = clipEncoderLayer(vision.at('encoder.layers', i), x, { config, isCausal: false });
    }
    const classVector = reshape(slice(x, 1, [0, 1]), [batch, hiddenSize]);
    const pooled = layerNorm(vision.at('post_layernorm'), classVector, config.layerNormEps);
    return dense(scope.at('visual_projection'), pooled, config.projectionDim, { hasBias: false });
  });
}

/** Tensors of the checkpoint that the judgement reads and the network does not. */
export function safetyConceptShapes({ projectionDim }: SafetyCheckerConfig): Map<string, readonly number[]> {
  return new Map([
    ['concept_embeds', [CONCEPTS, projectionDim]],
    ['special_care_embeds', [SPECIAL_CONCEPTS, projectionDim]],
    ['concept_embeds_weights', [CONCEPTS]],
    ['special_care_embeds_weights', [SPECIAL_CONCEPTS]],
  ]);
}
