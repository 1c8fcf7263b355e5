import { multiplyDims } from '../graph/dim.ts';
import { add, cast, concat, constant, cos, endBlock, mul, reshape, silu, sin } from '../graph/operators.ts';
import type { Scope } from '../graph/scope.ts';
import type { Value } from '../graph/value.ts';
import { dense } from './layers.ts';
import { SIZE_IDS, type UnetConfig } from './unet-config.ts';

/**
 * Embeds numbers as [cos(t·f), sin(t·f)] with f falling geometrically from 1 to 1/10000.
 * @param values float32 [M]
 * @param dim even
 * @returns float32 [M, dim]
 * @see Vaswani et al. 2017, section 3.5; the order of the halves is flip_sin_to_cos of the published configurations
 */
export function sinusoid(values: Value, dim: number): Value {
  const half = dim / 2;
  const angles = mul(reshape(values, [values.shape[0]!, 1]), constant(frequencies(half), [1, half], 'float32'));
  return concat([cos(angles), sin(angles)], 1);
}

/** exp(-ln(10000)·i/half), rounded to float32 at each step as the published implementation does. */
function frequencies(half: number): number[] {
  const logPeriod = Math.fround(-Math.log(10000));
  return Array.from({ length: half }, (_, i) => Math.fround(Math.exp(Math.fround(Math.fround(logPeriod * i) / half))));
}

/** What the denoiser is told beside the noisy latents and the prompt. */
export interface TimeConditions {
  /** float32 [N]; may be fractional. */
  readonly timestep: Value;
  /** LCM's guidance embedding [N, timeCondProjDim]. */
  readonly timestepCond?: Value | undefined;
  /** SDXL: pooled text embedding [N, projection]. */
  readonly textEmbeds?: Value | undefined;
  /** SDXL: float32 [N, 6], original height and width, crop top and left, target height and width. */
  readonly timeIds?: Value | undefined;
}

/**
 * The time embedding, already through the SiLU that every resnet applies to it.
 * @returns [N, 4·blockOutChannels[0]]
 */
export function timeEmbedding(scope: Scope, config: UnetConfig, conditions: TimeConditions): Value {
  const { dtype } = scope.component;
  const width = config.blockOutChannels[0]!;
  const features = 4 * width;
  const time = scope.at('time_embedding');
  let embedding = cast(sinusoid(conditions.timestep, width), dtype);
  if (conditions.timestepCond) {
    embedding = add(embedding, dense(time.at('cond_proj'), conditions.timestepCond, width, { hasBias: false }));
  }
  embedding = dense(time.at('linear_2'), silu(dense(time.at('linear_1'), embedding, features)), features);
  const { textEmbeds, timeIds } = conditions;
  if (config.addition && textEmbeds && timeIds) {
    const added = scope.at('add_embedding');
    const batch = timeIds.shape[0]!;
    const flat = sinusoid(reshape(timeIds, [multiplyDims(batch, SIZE_IDS)]), config.addition.timeEmbedDim);
    const sizes = cast(reshape(flat, [batch, SIZE_IDS * config.addition.timeEmbedDim]), dtype);
    const hidden = silu(dense(added.at('linear_1'), concat([textEmbeds, sizes], 1), features));
    embedding = add(embedding, dense(added.at('linear_2'), hidden, features));
  }
  return endBlock(silu(embedding));
}
