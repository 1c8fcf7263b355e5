import { randomUUID } from 'node:crypto';
import {
  copyFile,
  link,
  mkdir,
  open,
  readdir,
  readFile,
  realpath,
  rename,
  rm,
  rmdir,
  stat,
  writeFile,
} from 'node:fs/promises';
import { basename, dirname, join, resolve, sep } from 'node:path';
import { UserError } from '../../shared/errors.ts';
import { networkClasses } from '../networks/network-classes.ts';
import { loadTensor, type StoredTensor, saveSafetensors, type TensorToSave } from '../runtime/safetensors.ts';
import { findComponentWeights } from '../runtime/weight-files.ts';
import { LESSON_FILES, listFolder } from './lesson-folder.ts';
import type { TrainedTensor, TrainedTensors } from './trained-tensors.ts';

export interface SaveNetworkOptions {
  /** Dtype that the weights are stored in. */
  readonly dtype: 'F32' | 'F16';
}

export interface SaveModelOptions extends SaveNetworkOptions {
  /** Fields of the components' config.json that training changed. */
  readonly configs?: { readonly [C in TrainableComponent]?: Readonly<Record<string, unknown>> };
}

/** Components of a pipeline folder that can be trained, and the kind of network that each is. */
const TRAINABLE = {
  unet: { currentName: networkClasses.UNet2DConditionModel.currentName, stem: 'diffusion_pytorch_model' },
  vae: { currentName: networkClasses.AutoencoderKL.currentName, stem: 'diffusion_pytorch_model' },
  text_encoder: { currentName: networkClasses.CLIPTextModel.currentName, stem: 'model' },
  text_encoder_2: { currentName: networkClasses.CLIPTextModel.currentName, stem: 'model' },
} as const;
export type TrainableComponent = keyof typeof TRAINABLE;

/** Tensors of the trained components, by the names that the networks use; a component may leave tensors out. */
export type TrainedComponents = { readonly [C in TrainableComponent]?: TrainedTensors };

/**
 * Writes a whole pipeline folder: the trained tensors under the names that the source stores them by, and all else as
 * the source has it. Weights that did not change are hard links where the file system can make them, so they take no
 * space and must be replaced rather than edited.
 * @param folders.target appears by one rename, when everything is on the disk; beside a lesson's own files its
 *   model_index.json appears last
 * @throws UserError if the target exists and is not empty, or lies in the source
 */
export async function saveModelFolder(
  { source, target }: { source: string; target: string },
  trained: TrainedComponents,
  { configs = {}, ...options }: SaveModelOptions,
): Promise<void> {
  const [from, to] = [await realpath(source), resolve(target)];
  if (`${to}${sep}`.startsWith(`${from}${sep}`)) {
    throw new UserError(`Cannot save the model: the folder must not lie in the model ${from}, got ${to}`);
  }
  await writeFolder(to, async (partial) => {
    await copyFolder(from, partial, (path) => !isReplaced(path, trained));
    for (const component of Object.keys(TRAINABLE) as TrainableComponent[]) {
      const tensors = trained[component];
      if (tensors !== undefined) await saveComponent({ from, to: partial, component }, tensors, options);
      if (configs[component]) await changeConfig(join(partial, component, 'config.json'), configs[component]);
    }
  });
}

async function changeConfig(file: string, fields: Readonly<Record<string, unknown>>): Promise<void> {
  const config: unknown = JSON.parse(await readFile(file, 'utf8'));
  await writeFile(file, `${JSON.stringify({ ...Object(config), ...fields }, undefined, 2)}\n`);
}

const WEIGHT_FILE = /\.(safetensors|bin|ckpt|pt|pth|msgpack|h5|onnx|pb)$|\.index(\.\w+)?\.json$/;

/** Weights beside model_index.json are the whole untrained pipeline in one file. */
function isReplaced(path: string, trained: TrainedComponents): boolean {
  const [component, ...rest] = path.split(sep);
  return WEIGHT_FILE.test(path) && (rest.length === 0 || Object.hasOwn(trained, component!));
}

/** Copies what `keeps` accepts, by path from the source; hidden files are not the model's but git's or a downloader's. */
async function copyFolder(source: string, target: string, keeps: (path: string) => boolean, at = ''): Promise<void> {
  await mkdir(join(target, at), { recursive: true });
  for (const name of await readdir(join(source, at))) {
    const path = join(at, name);
    if (name.startsWith('.') || !keeps(path)) continue;
    if ((await stat(join(source, path))).isDirectory()) await copyFolder(source, target, keeps, path);
    else await copyModelFile(join(source, path), join(target, path));
  }
}

async function copyModelFile(source: string, target: string): Promise<void> {
  // A downloader's cache holds relative links, which would lead nowhere from another folder.
  const file = await realpath(source);
  // People edit configurations in place, which would reach through a hard link.
  if (!WEIGHT_FILE.test(source) || source.endsWith('.json')) return copyFile(file, target);
  await link(file, target).catch((error: NodeJS.ErrnoException) => {
    if (!NO_LINK.has(error.code)) throw error;
    return copyFile(file, target);
  });
}

/** Another file system, one without hard links, somebody else's file, or too many links to it. */
const NO_LINK: ReadonlySet<string | undefined> = new Set(['EXDEV', 'EPERM', 'EACCES', 'ENOTSUP', 'ENOSYS', 'EMLINK']);

async function saveComponent(
  { from, to, component }: { from: string; to: string; component: TrainableComponent },
  trained: TrainedTensors,
  { dtype }: SaveNetworkOptions,
): Promise<void> {
  const { currentName, stem } = TRAINABLE[component];
  const { tensors } = await findComponentWeights(join(from, component));
  const unplaced = new Set(trained.keys());
  const entries = [...tensors.values()].map((stored): [string, TensorToSave] => {
    const name = currentName(stored.name);
    const update = name === undefined ? undefined : trained.get(name);
    if (name === undefined || update === undefined) return [stored.name, unchangedTensor(stored, dtype)];
    unplaced.delete(name);
    return [stored.name, { dtype, shape: updatedShape(stored, update), values: update.values }];
  });
  if (unplaced.size > 0) {
    throw new Error(
      `Cannot save ${component}: every tensor must be one of the model's, got ${[...unplaced].slice(0, 5)}`,
    );
  }
  await saveSafetensors(join(to, component, `${stem}.safetensors`), entries, { format: 'pt' });
}

/** Keeps the source's shape: old checkpoints store linear weights as 1 x 1 convolutions. */
function updatedShape(stored: StoredTensor, { shape }: TrainedTensor): readonly number[] {
  const sides = (all: readonly number[]) => all.join().replace(/(,1)+$/, '');
  if (sides(shape) !== sides(stored.shape)) {
    throw new Error(`Cannot save ${stored.name}: the shape must be [${stored.shape}], got [${shape}]`);
  }
  return stored.shape;
}

function unchangedTensor(stored: StoredTensor, dtype: SaveNetworkOptions['dtype']): TensorToSave {
  const { shape } = stored;
  // Position ids, which nobody reads.
  if (stored.dtype === 'I64') return { dtype: 'I64', shape, values: () => readTensorBytes(stored) };
  return { dtype, shape, values: () => loadTensor(stored) };
}

async function readTensorBytes({ file, offset, sizeBytes }: StoredTensor): Promise<Uint8Array> {
  const handle = await open(file);
  try {
    const bytes = new Uint8Array(sizeBytes);
    await handle.read(bytes, 0, sizeBytes, offset);
    return bytes;
  } finally {
    await handle.close();
  }
}

export interface TrainedNetwork {
  readonly className: 'ControlNetModel' | 'T2IAdapter';
  /** Fields of config.json but the class name. */
  readonly config: Readonly<Record<string, unknown>>;
  readonly tensors: TrainedTensors;
}

/**
 * Writes the folder of a network that stands beside a pipeline, config.json and weights.
 * @param target appears by one rename, when everything is on the disk; beside a lesson's own files its config.json
 *   appears last
 * @throws UserError if the target exists and is not empty
 */
export async function saveNetworkFolder(
  target: string,
  { className, config, tensors }: TrainedNetwork,
  { dtype }: SaveNetworkOptions,
): Promise<void> {
  const entries = [...tensors].map(([name, tensor]): [string, TensorToSave] => [name, { dtype, ...tensor }]);
  await writeFolder(resolve(target), async (partial) => {
    const json = JSON.stringify({ _class_name: className, ...config }, undefined, 2);
    await writeFile(join(partial, 'config.json'), `${json}\n`);
    await saveSafetensors(join(partial, 'diffusion_pytorch_model.safetensors'), entries, { format: 'pt' });
  });
}

/** Names that make a folder one that can be opened; they come last. */
const INDEX_FILES: readonly string[] = ['model_index.json', 'config.json'];

/** Lets `write` fill a folder beside the target, which then takes its name. */
async function writeFolder(target: string, write: (partial: string) => Promise<void>): Promise<void> {
  await refuseContent(target);
  const [parent, stem] = [dirname(target), `.${basename(target)}.`];
  await mkdir(parent, { recursive: true });
  // A process that was killed here may have left as much as a whole model.
  const left = (await readdir(parent)).filter((name) => name.startsWith(stem) && name.endsWith('.partial'));
  for (const name of left) await rm(join(parent, name), { recursive: true });
  const partial = join(parent, `${stem}${randomUUID()}.partial`);
  await mkdir(partial);
  try {
    await write(partial);
    await install(partial, target);
  } catch (error) {
    await rm(partial, { recursive: true, force: true });
    throw error;
  }
}

/** Beside a lesson's own files everything moves in by itself, and the file by which the folder is opened last. */
async function install(partial: string, target: string): Promise<void> {
  if ((await listFolder(target)).length === 0) {
    // Windows renames only to names that are free.
    await rmdir(target).catch(ignoreAbsence);
    return rename(partial, target);
  }
  const names = await readdir(partial);
  const isIndex = (name: string) => INDEX_FILES.includes(name);
  for (const name of [...names.filter((name) => !isIndex(name)), ...names.filter(isIndex)]) {
    // An earlier attempt may have been killed between two of them.
    await rm(join(target, name), { recursive: true, force: true });
    await rename(join(partial, name), join(target, name));
  }
  await rm(partial, { recursive: true });
}

/** @throws UserError if the target is neither absent nor empty nor the folder of a lesson without its result */
async function refuseContent(target: string): Promise<void> {
  const names = await listFolder(target);
  const isLesson = names.includes(LESSON_FILES.journal) && !names.some((name) => INDEX_FILES.includes(name));
  if (names.length > 0 && !isLesson) {
    throw new UserError(`Cannot save to ${target}: the folder must be empty, got ${names.length} entries`);
  }
}

function ignoreAbsence(error: NodeJS.ErrnoException): undefined {
  if (error.code !== 'ENOENT') throw error;
}
