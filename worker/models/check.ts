import { type CheckpointRules, compareCheckpoint } from '../runtime/checkpoint.ts';
import { elementCount } from '../runtime/element-count.ts';
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
  /** Each as "name must be shape, got shape". */
  wrongShape: string[];
}

/** Tells the tensors that a network reads, and how stored names are spelled today. */
export type ExpectedTensors = (component: { folder: string; className: string }) => Promise<CheckpointRules>;

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
  const { tensors } = await findComponentWeights(folder);
  const rules = await expectedTensors({ folder, className });
  const { missing, unused, wrongShape } = compareCheckpoint(tensors, rules);
  const read = [...tensors.values()].filter(({ name }) => rules.expected.has(rules.currentName?.(name) ?? name));
  return {
    component,
    className,
    parameterCount: read.reduce((sum, { shape }) => sum + elementCount(shape), 0),
    storedDtypes: [...new Set(read.map(({ dtype }) => dtype))].sort(),
    sizeBytes: [...tensors.values()].reduce((sum, { sizeBytes }) => sum + sizeBytes, 0),
    missing: [...missing],
    unused: [...unused],
    wrongShape: [...wrongShape],
  };
}
