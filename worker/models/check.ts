import { findComponentWeights } from '../runtime/weight-files.ts';
import { type ModelFamily, type NetworkFolder, readFamily, readNetworks } from './read-model.ts';

export interface ComponentReport {
  component: string;
  className: string;
  /** Elements of the expected tensors that are there. */
  parameterCount: number;
  /** Of the expected tensors that are there: "F16", "F32". */
  storedDtypes: string[];
  sizeBytes: number;
  missing: string[];
  /** Stored tensors that no network reads. */
  unused: string[];
  /** Each as "name: expected shape, stored shape". */
  wrongShape: string[];
}

/** Tells the tensors that a network reads: name to shape. */
export type ExpectedTensors = (component: {
  folder: string;
  className: string;
}) => Promise<ReadonlyMap<string, readonly number[]>>;

export interface ModelReport {
  folder: string;
  family: ModelFamily;
  components: ComponentReport[];
  /** Nothing is missing and every shape is right. */
  isWhole: boolean;
}

/**
 * Compares the tensors that a model folder stores with those that its networks read.
 * Only headers are read; a file that is cut short is refused by its header.
 * @throws UserError or SafetensorsError when the folder has not the structure of a model
 */
export async function checkModel(folder: string, expectedTensors: ExpectedTensors): Promise<ModelReport> {
  const family = await readFamily(folder);
  const components: ComponentReport[] = [];
  for (const network of await readNetworks(folder)) components.push(await checkNetwork(network, expectedTensors));
  const isWhole = components.every(({ missing, wrongShape }) => missing.length === 0 && wrongShape.length === 0);
  return { folder, family, components, isWhole };
}

/**
 * Makes sure that a folder has the files of a model, each readable by its header.
 * @throws UserError or SafetensorsError that names the first file that is missing or broken
 */
export async function checkStructure(folder: string): Promise<void> {
  await readFamily(folder);
  for (const network of await readNetworks(folder)) await findComponentWeights(network.folder);
}

async function checkNetwork(network: NetworkFolder, expectedTensors: ExpectedTensors): Promise<ComponentReport> {
  const { component, className, folder } = network;
  const { tensors: stored } = await findComponentWeights(folder);
  const expected = await expectedTensors({ folder, className });
  const pairs = [...expected].map(([name, shape]) => {
    const tensor = [name, ...otherSpellings(name)].map((spelling) => stored.get(spelling)).find((found) => found);
    return { name, shape, tensor };
  });
  const found = pairs.flatMap(({ name, shape, tensor }) => (tensor === undefined ? [] : [{ name, shape, tensor }]));
  const used = new Set(found.map(({ tensor }) => tensor.name));
  return {
    component,
    className,
    parameterCount: found.reduce((sum, { tensor }) => sum + elementCount(tensor.shape), 0),
    storedDtypes: [...new Set(found.map(({ tensor }) => tensor.dtype))].sort(),
    sizeBytes: [...stored.values()].reduce((sum, { sizeBytes }) => sum + sizeBytes, 0),
    missing: pairs.filter(({ tensor }) => tensor === undefined).map(({ name }) => name),
    unused: [...stored.keys()].filter((name) => !used.has(name) && !isBuffer(name)),
    wrongShape: found
      .filter(({ shape, tensor }) => !isSameShape(shape, tensor.shape))
      .map(({ name, shape, tensor }) => `${name}: expected [${shape.join(', ')}], stored [${tensor.shape.join(', ')}]`),
  };
}

const OLD_VAE_NAMES: readonly (readonly [string, string])[] = [
  ['.to_q.', '.query.'],
  ['.to_k.', '.key.'],
  ['.to_v.', '.value.'],
  ['.to_out.0.', '.proj_attn.'],
];

/** The VAE files of SD 1.x keep the first names of attention; newer text encoders come without their prefix. */
function otherSpellings(name: string): string[] {
  const withoutPrefix = name.startsWith('text_model.') ? name.slice('text_model.'.length) : `text_model.${name}`;
  const renamed = OLD_VAE_NAMES.filter(([current]) => name.includes(current));
  return [withoutPrefix, ...renamed.map(([current, old]) => name.replace(current, old))];
}

/** Old text encoders store 0 … 76 beside their weights. */
function isBuffer(name: string): boolean {
  return name.endsWith('position_ids');
}

/** A linear layer that was saved as a 1 x 1 convolution has the same bytes. */
function isSameShape(expected: readonly number[], stored: readonly number[]): boolean {
  return withoutTrailingOnes(expected).join() === withoutTrailingOnes(stored).join();
}

function withoutTrailingOnes(shape: readonly number[]): readonly number[] {
  return shape.slice(0, shape.findLastIndex((size) => size !== 1) + 1);
}

function elementCount(shape: readonly number[]): number {
  return shape.reduce((product, size) => product * size, 1);
}
