import { UserError } from '../../shared/errors.ts';
import {
  loadTensor,
  readSafetensorsHeader,
  SafetensorsError,
  type SafetensorsHeader,
  type StoredTensor,
} from '../runtime/safetensors.ts';

/**
 * Reads the header of a small weight file that a person brings: a LoRA or a textual inversion.
 * @throws UserError if the file is missing, a pickle or no safetensors file
 */
export async function readAddOnHeader(file: string): Promise<SafetensorsHeader> {
  if (/\.(pt|pth|bin|ckpt|pkl)$/i.test(file)) {
    throw new UserError(
      `Cannot load ${file}: it must be a .safetensors file; pickles (.pt, .bin, .ckpt) are not read because they can run code`,
    );
  }
  try {
    return await readSafetensorsHeader(file);
  } catch (cause) {
    if (cause instanceof SafetensorsError) throw new UserError(cause.message, { cause });
    if (cause instanceof Error && 'code' in cause && cause.code === 'ENOENT') {
      throw new UserError(`Cannot load ${file}: the file is missing`, { cause });
    }
    throw cause;
  }
}

/** Reads the values of one tensor of such a file, which must be floating point numbers. */
export async function loadAddOnTensor(tensor: StoredTensor): Promise<Float32Array> {
  if (!/^B?F/.test(tensor.dtype)) {
    throw new UserError(`Cannot load ${tensor.file}: ${tensor.name} must be floating point, got ${tensor.dtype}`);
  }
  return loadTensor(tensor);
}
