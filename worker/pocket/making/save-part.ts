import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { saveSafetensors, type TensorToSave } from '../../runtime/safetensors.ts';
import type { Trainable } from '../../training/adamw.ts';
import type { Weights } from './run-part.ts';

export interface PartFolder {
  readonly folder: string;
  readonly className: 'AutoencoderKL' | 'CLIPTextModel' | 'UNet2DConditionModel' | 'ControlNetModel' | 'T2IAdapter';
  /** Fields of config.json but the class name. */
  readonly config: Readonly<Record<string, unknown>>;
}

/** Writes a network of the family in its published layout, float16, over what an earlier making left there. */
export async function savePart(
  { folder, className, config }: PartFolder,
  trainables: readonly Pick<Trainable, 'name' | 'shape'>[],
  trained: Weights,
): Promise<void> {
  await mkdir(folder, { recursive: true });
  await saveJson(join(folder, 'config.json'), { _class_name: className, ...config });
  const stem = className === 'CLIPTextModel' ? 'model' : 'diffusion_pytorch_model';
  const tensors = trainables.map(({ name, shape }): [string, TensorToSave] => {
    return [name, { dtype: 'F16', shape, values: trained.get(name)! }];
  });
  await saveSafetensors(join(folder, `${stem}.safetensors`), tensors, { format: 'pt' });
}

export async function saveJson(file: string, json: unknown): Promise<void> {
  await writeFile(file, `${JSON.stringify(json, undefined, 2)}\n`);
}
