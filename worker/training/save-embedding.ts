import { UserError } from '../../shared/errors.ts';
import type { TextualInversion } from '../diffusion/textual-inversion-file.ts';
import { joined } from '../runtime/joined.ts';
import { saveSafetensors, type TensorToSave } from '../runtime/safetensors.ts';

/** Keys that loadTextualInversionFile takes for an encoder and not for a token. */
const RESERVED_TOKENS: readonly string[] = ['emb_params', 'clip_l', 'clip_g', '__metadata__'];

/**
 * Writes a textual inversion that loadTextualInversionFile reads back, as diffusers' learned_embeds.safetensors: one
 * key, the token, with [vectors, hidden_size]. With vectors for both encoders of SDXL the keys are `clip_l` and `clip_g`;
 * other tools take the token of such a file from its name, loadTextualInversionFile from its metadata.
 * @throws UserError if the token is a key with another meaning
 */
export async function saveEmbedding(file: string, { token, vectors }: TextualInversion): Promise<void> {
  const { text_encoder: first, text_encoder_2: second } = vectors;
  if (first === undefined) throw new Error(`Cannot save ${file}: vectors of the first text encoder must be there`);
  if (RESERVED_TOKENS.includes(token)) {
    throw new UserError(`Cannot save ${file}: the placeholder must not be one of ${RESERVED_TOKENS}, got ${token}`);
  }
  const tensors: [string, TensorToSave][] =
    second === undefined
      ? [[token, stack(first)]]
      : [
          ['clip_l', stack(first)],
          ['clip_g', stack(second)],
        ];
  await saveSafetensors(file, tensors, { format: 'pt', token });
}

function stack(vectors: readonly Float32Array[]): TensorToSave {
  const size = vectors[0]?.length ?? 0;
  return { dtype: 'F32', shape: [vectors.length, size], values: joined(vectors) };
}
