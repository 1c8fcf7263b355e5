import { readdir, readFile, stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { z } from 'zod';
import { UserError } from '../../shared/errors.ts';
import { readSafetensorsHeader, type StoredTensor } from './safetensors.ts';

export interface ComponentWeights {
  /** Absolute path. */
  readonly folder: string;
  /** The word before the extension, such as fp16; undefined for the plain file. */
  readonly variant: string | undefined;
  /** Tensors of all shards; two of them may lie in different files. */
  readonly tensors: ReadonlyMap<string, StoredTensor>;
}

/**
 * Finds the weights of one component of a model folder, such as unet or text_encoder, in one file or in shards.
 * Without a variant the plain file is taken, or else the only variant that is there.
 * @throws UserError if the weights are missing, ambiguous or incomplete; SafetensorsError if a file is broken
 */
export async function findComponentWeights(
  folder: string,
  { variant }: { variant?: string } = {},
): Promise<ComponentWeights> {
  const path = resolve(folder);
  const names = await listFolder(path);
  const chosen = chooseSource({ folder: path, sources: weightSources(names), names, variant });
  const tensors =
    chosen.kind === 'file'
      ? (await readSafetensorsHeader(await existingFile(path, chosen.name))).tensors
      : await readShards(path, chosen.name, names);
  return { folder: path, variant: chosen.variant, tensors };
}

async function listFolder(folder: string): Promise<string[]> {
  const found = await stat(folder).catch(ignoreAbsence);
  if (found === undefined) throw new UserError(`Cannot find the weights: the folder ${folder} does not exist`);
  if (!found.isDirectory()) throw new UserError(`Cannot find the weights: ${folder} must be a folder`);
  return (await readdir(folder)).sort();
}

function ignoreAbsence(error: NodeJS.ErrnoException): undefined {
  if (error.code !== 'ENOENT') throw error;
}

/** A file that is there, links followed: an interrupted download leaves links that lead nowhere. */
async function existingFile(folder: string, name: string): Promise<string> {
  const file = join(folder, name);
  if ((await stat(file).catch(ignoreAbsence)) === undefined) {
    throw new UserError(`Cannot read the weights: ${file} is a link to a file that does not exist`);
  }
  return file;
}

/** A file name that stands for a whole component: the only file, or the list of its shards. */
interface WeightSource {
  readonly name: string;
  readonly kind: 'file' | 'index';
  readonly variant: string | undefined;
}

const STEM = '(?:model|diffusion_pytorch_model)';
const VARIANT = '(?:\\.(?<variant>[\\w-]+))?';
const SHARD = new RegExp(`^${STEM}${VARIANT}-\\d{5}-of-\\d{5}\\.safetensors$`);
/** Where both forms of a component exist the earlier one is taken: a single file cannot be incomplete. */
const SOURCES: readonly { readonly kind: WeightSource['kind']; readonly pattern: RegExp }[] = [
  { kind: 'file', pattern: new RegExp(`^${STEM}${VARIANT}\\.safetensors$`) },
  { kind: 'index', pattern: new RegExp(`^${STEM}\\.safetensors\\.index${VARIANT}\\.json$`) },
  { kind: 'index', pattern: new RegExp(`^${STEM}${VARIANT}\\.safetensors\\.index\\.json$`) },
];

function weightSources(names: readonly string[]): WeightSource[] {
  const candidates = names.filter((name) => !SHARD.test(name));
  return SOURCES.flatMap(({ kind, pattern }) =>
    candidates.flatMap((name) => {
      const match = pattern.exec(name);
      return match === null ? [] : [{ name, kind, variant: match.groups?.['variant'] }];
    }),
  );
}

interface Choice {
  readonly folder: string;
  readonly sources: readonly WeightSource[];
  readonly names: readonly string[];
  readonly variant: string | undefined;
}

function chooseSource({ folder, sources, names, variant }: Choice): WeightSource {
  const first = sources[0];
  if (first === undefined) throw noWeights(folder, names);
  const variants = new Set(sources.map((source) => source.variant));
  const wanted = variant ?? (variants.size === 1 ? first.variant : undefined);
  const matching = sources.filter((source) => source.variant === wanted);
  const [chosen] = matching;
  if (chosen === undefined) {
    const rule = variant === undefined ? 'a variant must be chosen' : `the variant ${variant} is not there`;
    throw new UserError(`Cannot choose the weights in ${folder}: ${rule}, got ${listVariants(variants)}`);
  }
  const rival = matching.find(({ name }) => stemOf(name) !== stemOf(chosen.name));
  if (rival !== undefined) {
    throw new UserError(
      `Cannot choose the weights in ${folder}: a folder must hold one component, got ${chosen.name} and ${rival.name}`,
    );
  }
  return chosen;
}

function listVariants(variants: ReadonlySet<string | undefined>): string {
  const named = [...variants].filter((variant) => variant !== undefined);
  return (variants.has(undefined) ? ['no variant', ...named] : named).join(', ');
}

function stemOf(name: string): string {
  return name.slice(0, name.indexOf('.'));
}

function noWeights(folder: string, names: readonly string[]): UserError {
  const wanted = 'model.safetensors or diffusion_pytorch_model.safetensors';
  const shard = names.find((name) => SHARD.test(name));
  if (shard !== undefined) {
    return new UserError(`Cannot find the weights in ${folder}: ${shard} needs its .safetensors.index.json beside it`);
  }
  const pickle = names.find((name) => /\.(?:bin|ckpt|pt|pth)$/.test(name));
  if (pickle !== undefined) {
    return new UserError(
      `Cannot find the weights in ${folder}: ${pickle} is a Python pickle, which may run code; please get ${wanted}`,
    );
  }
  return new UserError(`Cannot find the weights in ${folder}: it must hold ${wanted}`);
}

/** Far above any index: each tensor takes about 100 bytes, and the largest published models have some 100,000. */
const INDEX_SIZE_LIMIT = 32 * 2 ** 20;

async function readShards(
  folder: string,
  indexName: string,
  names: readonly string[],
): Promise<Map<string, StoredTensor>> {
  const index = await existingFile(folder, indexName);
  const weightMap = await readWeightMap(index);
  const present = new Set(names);
  const tensors = new Map<string, StoredTensor>();
  for (const shard of new Set(weightMap.map(([, shardName]) => shardName))) {
    checkShardName(index, shard);
    if (!present.has(shard)) throw new UserError(`Cannot read the weights: ${index} names ${shard}, which is missing`);
    const header = await readSafetensorsHeader(await existingFile(folder, shard));
    addShard(tensors, header.tensors);
  }
  checkWeightMap({ folder, index, weightMap, tensors });
  return tensors;
}

/** Names are read as entries: as keys of a record zod would leave out a tensor called __proto__. */
const weightIndexSchema = z.object({
  weight_map: z
    .custom<object>(
      (value) => typeof value === 'object' && value !== null && !Array.isArray(value),
      'must be an object',
    )
    .transform((weightMap): [string, unknown][] => Object.entries(weightMap))
    .pipe(z.array(z.tuple([z.string(), z.string()]))),
});

async function readWeightMap(index: string): Promise<[string, string][]> {
  const { size } = await stat(index);
  if (size > INDEX_SIZE_LIMIT) {
    throw new UserError(`Cannot read ${index}: an index must have at most ${INDEX_SIZE_LIMIT} bytes, got ${size}`);
  }
  const parsed = weightIndexSchema.safeParse(parseIndexJson(index, await readFile(index, 'utf8')));
  if (!parsed.success) {
    throw new UserError(`Cannot read ${index}: weight_map must name a file for each tensor`, { cause: parsed.error });
  }
  return parsed.data.weight_map;
}

function parseIndexJson(index: string, text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new UserError(`Cannot read ${index}: an index must be JSON`, { cause });
  }
}

/** Keeps an index that somebody else wrote from naming files outside the folder. */
function checkShardName(index: string, shard: string): void {
  if (!/^[\w.-]+\.safetensors$/.test(shard) || shard.includes('..')) {
    const got = JSON.stringify(shard.slice(0, 100));
    throw new UserError(`Cannot read ${index}: shards must be .safetensors files in the same folder, got ${got}`);
  }
}

function addShard(tensors: Map<string, StoredTensor>, shard: ReadonlyMap<string, StoredTensor>): void {
  for (const tensor of shard.values()) {
    const twin = tensors.get(tensor.name);
    if (twin !== undefined) {
      throw new UserError(
        `Cannot read the weights: a tensor must lie in one shard, got ${tensor.name} in ${twin.file} and ${tensor.file}`,
      );
    }
    tensors.set(tensor.name, tensor);
  }
}

interface WeightMapCheck {
  readonly folder: string;
  readonly index: string;
  readonly weightMap: readonly (readonly [string, string])[];
  readonly tensors: ReadonlyMap<string, StoredTensor>;
}

function checkWeightMap({ folder, index, weightMap, tensors }: WeightMapCheck): void {
  for (const [name, shard] of weightMap) {
    if (tensors.get(name)?.file !== join(folder, shard)) {
      throw new UserError(`Cannot read the weights: ${index} promises ${name} in ${shard}, which does not hold it`);
    }
  }
}
