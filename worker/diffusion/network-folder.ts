import { readFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { UserError } from '../../shared/errors.ts';
import type { NetworkClass } from '../networks/network-classes.ts';
import { type Checkpoint, openCheckpoint } from '../runtime/checkpoint.ts';
import { findComponentWeights } from '../runtime/weight-files.ts';

/** A network of a published folder: its configuration, and its weights where they lie. */
export interface NetworkFolder<Config> {
  readonly config: Config;
  readonly checkpoint: Checkpoint;
}

/**
 * Opens the folder of one network, `config.json` and safetensors; only headers are read.
 * @throws UserError that names the file, the field or the tensors that are wrong
 */
export async function openNetwork<Config>(
  folder: string,
  networkClass: NetworkClass<Config>,
): Promise<NetworkFolder<Config>> {
  const file = join(folder, 'config.json');
  const config = networkClass.parseConfig(await readJsonFile(file), file);
  const weights = await findComponentWeights(folder);
  const { currentName } = networkClass;
  const checkpoint = openCheckpoint(weights, { expected: networkClass.tensorShapes(config), currentName });
  return { config, checkpoint };
}

/**
 * Reads a JSON file of a model folder.
 * @throws UserError that names the file if it is missing or not JSON
 */
export async function readJsonFile(file: string): Promise<unknown> {
  const text = await readFile(file, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') throw new UserError(`Cannot read ${resolve(file)}: the file does not exist`);
    throw error;
  });
  try {
    // diffusers writes Python's spelling of infinity into scheduler files, which JSON does not have.
    return JSON.parse(text.replace(/:\s*(-?)Infinity\b/g, ': $11e999'));
  } catch (error) {
    throw new UserError(`Cannot read ${resolve(file)}: it must be JSON`, { cause: error });
  }
}
