import { copyFile, cp, mkdir, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { UserError } from '../../shared/errors.ts';
import { elementCount } from '../runtime/element-count.ts';
import type { TensorToSave } from '../runtime/safetensors.ts';
import { saveSafetensors } from '../runtime/safetensors.ts';
import type { ExpectedTensors } from './check.ts';
import { COMPONENT_FILES, parseModelIndex, roleOf } from './model-index.ts';

export interface RandomModelOptions {
  /** Dtype that the weights are stored in. */
  readonly dtype: 'F32' | 'F16' | 'BF16';
  /** Folder with vocab.json and merges.txt, where the configurations come without them. */
  readonly tokenizerFolder?: string | undefined;
  readonly expectedTensors: ExpectedTensors;
}

/**
 * Makes a model of random weights from the configuration files of a published one: for measuring and trying things where
 * the weights cannot be had.
 * @param source  a pipeline folder, or a folder with the config.json of one network; weights in it are not read
 * @param modelIndex  parsed model_index.json of the source; undefined for one network
 */
export async function saveRandomModel(
  { source, target }: { source: string; target: string },
  modelIndex: unknown,
  options: RandomModelOptions,
): Promise<void> {
  await mkdir(target, { recursive: true });
  if ((await readdir(target)).length > 0)
    throw new UserError(`Cannot make a random model: the folder must be empty, got ${target}`);
  const { components } = parseModelIndex(modelIndex, source);
  await copyFile(join(source, 'model_index.json'), join(target, 'model_index.json'));
  for (const { component, className } of components) {
    const folders = { source: join(source, component), target: join(target, component) };
    const role = roleOf(className);
    await mkdir(folders.target);
    await cp(folders.source, folders.target, {
      recursive: true,
      filter: (file) => !file.endsWith('.safetensors') && !file.endsWith('.bin'),
    });
    if (role === 'tokenizer' && options.tokenizerFolder !== undefined) {
      for (const name of COMPONENT_FILES.tokenizer.required) {
        await copyFile(join(options.tokenizerFolder, name), join(folders.target, name));
      }
    }
    if (role === 'network') await saveRandomWeights(folders.target, className, options);
  }
}

/** Makes the folder of one network from a configuration. */
export async function saveRandomNetwork(
  target: string,
  { config, className }: { config: Readonly<Record<string, unknown>>; className: string },
  options: RandomModelOptions,
): Promise<void> {
  await mkdir(target, { recursive: true });
  await writeFile(join(target, 'config.json'), JSON.stringify({ ...config, _class_name: className }, undefined, 2));
  await saveRandomWeights(target, className, options);
}

async function saveRandomWeights(
  folder: string,
  className: string,
  { dtype, expectedTensors }: RandomModelOptions,
): Promise<void> {
  const { expected } = await expectedTensors({ folder, className });
  const stem =
    className.startsWith('CLIP') || className.endsWith('SafetyChecker') ? 'model' : 'diffusion_pytorch_model';
  const tensors = [...expected].map(([name, shape], index): [string, TensorToSave] => {
    return [name, { dtype, shape, values: () => randomWeights(name, shape, index) }];
  });
  await saveSafetensors(join(folder, `${stem}.safetensors`), tensors, { format: 'pt' });
}

/** Uniform values of variance 1 / fan-in for matrices and kernels, near 1 for the scales of norms, near 0 for biases. */
function randomWeights(name: string, shape: readonly number[], seed: number): Float32Array {
  const count = elementCount(shape);
  const fanIn = elementCount(shape.slice(1));
  const isVector = shape.length < 2;
  const scale = isVector ? 0.02 : Math.sqrt(3 / fanIn);
  const offset = isVector && name.endsWith('.weight') ? 1 : 0;
  const values = new Float32Array(count);
  let state = (seed + 1) * 0x9e3779b9;
  for (let i = 0; i < count; i++) {
    // xorshift32: quality does not matter here, and a full-size UNet has 860 million of them.
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    values[i] = offset + scale * (state / 2 ** 31);
  }
  return values;
}
