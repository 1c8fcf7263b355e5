import { createHash } from 'node:crypto';
import { stat } from 'node:fs/promises';
import { resolve } from 'node:path';
import type { ModelFolder } from '../diffusion/model-folder.ts';

/**
 * Names a model's weights without reading them: a hash of the folder's path, of its tensors' names, dtypes and places,
 * and of the files' sizes and times, which tell a model from one that was trained into the same folder later.
 * @returns 16 hexadecimal digits
 */
export async function modelKey({ folder, unet, vae, textEncoders }: ModelFolder): Promise<string> {
  const checkpoints = [unet, vae, ...textEncoders].map(({ checkpoint }) => checkpoint);
  const tensors = checkpoints.flatMap(({ parameters }) => [...parameters]);
  const files = [...new Set(tensors.map(([, { file }]) => file))];
  const versions = await Promise.all(files.map((file) => stat(file)));
  const identity = [resolve(folder), tensors, versions.map(({ size, mtimeMs }) => [size, mtimeMs])];
  return createHash('sha256').update(JSON.stringify(identity)).digest('hex').slice(0, 16);
}
