import { z } from 'zod';
import { UserError } from '../../shared/errors.ts';
import type { SafetensorsHeader, StoredTensor } from '../runtime/safetensors.ts';
import { loadAddOnTensor, readAddOnHeader } from './add-on-file.ts';
import { type LoraModule, type LoraTarget, loraModulesByName, pathSpellings } from './lora-names.ts';

/** The change of one module: W' = W + s · scale · up · down, where s is the person's weight. */
export interface LoraWeights {
  target: LoraTarget;
  path: string;
  rank: number;
  /** alpha / rank; 1 if the file has no alpha. */
  scale: number;
  /** [rank, in] or [rank, in, kh, kw] */
  down: Float32Array;
  /** [out, rank] */
  up: Float32Array;
}

type Part = 'down' | 'up' | 'alpha';
interface FoundModule {
  name: string;
  module: LoraModule;
  parts: Partial<Record<Part, StoredTensor>>;
}

/** Endings of the key of a module's tensor, behind the module's name. */
const ENDINGS: readonly (readonly [ending: string, part: Part])[] = [
  ['.lora.down.weight', 'down'],
  ['.lora.up.weight', 'up'],
  ['.lora_linear_layer.down.weight', 'down'],
  ['.lora_linear_layer.up.weight', 'up'],
  ['.lora_A.weight', 'down'],
  ['.lora_B.weight', 'up'],
  ['.lora_down.weight', 'down'],
  ['.lora_up.weight', 'up'],
  ['.alpha', 'alpha'],
];

/** What other methods than plain LoRA leave in their keys. */
const OTHER_METHODS: readonly (readonly [mark: string, method: string])[] = [
  ['dora_scale', 'DoRA'],
  ['lora_magnitude_vector', 'DoRA'],
  ['hada_', 'LyCORIS LoHa'],
  ['lokr_', 'LyCORIS LoKr'],
  ['lora_mid', 'LyCORIS LoCon with a Tucker core'],
];

/**
 * Loads a LoRA file of diffusers, PEFT or kohya, in the order of `modules`, which are all that the networks offer.
 * @throws UserError if the file holds another method than LoRA, a key of no module, half a module or a wrong shape
 */
export async function loadLoraFile(file: string, modules: readonly LoraModule[]): Promise<LoraWeights[]> {
  const header = await readAddOnHeader(file);
  const found = findModules(header, modules);
  const settings = adapterSettings(header);
  const loaded: LoraWeights[] = [];
  for (const module of modules) {
    const entry = found.get(module);
    if (entry !== undefined) loaded.push(await loadModule(header.file, entry, settings));
  }
  return loaded;
}

function findModules(
  { file, tensors }: SafetensorsHeader,
  modules: readonly LoraModule[],
): Map<LoraModule, FoundModule> {
  const byName = loraModulesByName(modules);
  const found = new Map<LoraModule, FoundModule>();
  const unknown: string[] = [];
  for (const [key, tensor] of tensors) {
    const other = OTHER_METHODS.find(([mark]) => key.includes(mark));
    if (other !== undefined) throw refuse(file, `it must be a plain LoRA, got ${other[1]} (${key})`);
    const [name, part] = splitKey(key) ?? [];
    const module = name === undefined ? undefined : byName.get(name);
    if (name === undefined || part === undefined || module === undefined) {
      unknown.push(key);
      continue;
    }
    const entry = found.get(module) ?? { name, module, parts: {} };
    if (entry.parts[part] !== undefined) {
      throw refuse(file, `a module must come once, got ${entry.parts[part].name} and ${key}`);
    }
    entry.parts[part] = tensor;
    found.set(module, entry);
  }
  if (unknown.length > 0) {
    const examples = unknown.slice(0, 5).join(', ');
    throw refuse(file, `every key must belong to a module of this model, got ${unknown.length} others: ${examples}`);
  }
  if (found.size === 0) throw refuse(file, 'it must hold LoRA weights, got no tensors');
  return found;
}

/** Parts a key into the name of a module, in the file's spelling, and what the tensor is of it. */
function splitKey(key: string): [name: string, part: Part] | undefined {
  for (const [ending, part] of ENDINGS) {
    if (key.endsWith(ending)) return [key.slice(0, -ending.length), part];
  }
  // Attention processors of the first releases: `attn1.processor.to_out_lora.up.weight`, `self_attn.to_q_lora.…`.
  const match = /^(.+?)(?:\.processor)?\.to_(q|k|v|out)_lora\.(down|up)\.weight$/.exec(key);
  if (match === null) return undefined;
  const [, attention, projection, part] = match;
  const isText = attention!.endsWith('.self_attn');
  const layer = isText ? `${projection}_proj` : `to_${projection}${projection === 'out' ? '.0' : ''}`;
  return [`${attention}.${layer}`, part === 'down' ? 'down' : 'up'];
}

async function loadModule(
  file: string,
  { name, module, parts }: FoundModule,
  settings: AdapterSettings,
): Promise<LoraWeights> {
  const { down, up, alpha } = parts;
  if (down === undefined || up === undefined) {
    throw refuse(
      file,
      `a module must have a down and an up tensor, got only ${Object.keys(parts).join(' and ')} of ${name}`,
    );
  }
  const rank = checkShapes(file, module, { down, up });
  return {
    target: module.target,
    path: module.path,
    rank,
    scale: alpha === undefined ? settingsScale(module, rank, settings) : await storedScale(alpha, rank),
    down: await loadAddOnTensor(down),
    up: await loadAddOnTensor(up),
  };
}

/** Returns the rank. Linear layers and 1x1 convolutions may be stored as either. */
function checkShapes(
  file: string,
  { weightShape }: LoraModule,
  { down, up }: { down: StoredTensor; up: StoredTensor },
): number {
  const [out = 0, ...input] = weightShape;
  const rank = down.shape[0] ?? 0;
  const rule = (tensor: StoredTensor, shape: readonly number[]) => {
    if (rank > 0 && withoutUnitKernel(tensor.shape).join() === withoutUnitKernel(shape).join()) return;
    throw refuse(file, `${tensor.name} must have the shape [${shape}] for this model, got [${tensor.shape}]`);
  };
  rule(down, [rank, ...input]);
  rule(up, [out, rank]);
  return rank;
}

function withoutUnitKernel(shape: readonly number[]): readonly number[] {
  return shape.length === 4 && shape[2] === 1 && shape[3] === 1 ? shape.slice(0, 2) : shape;
}

async function storedScale(tensor: StoredTensor, rank: number): Promise<number> {
  const [alpha, ...more] = await loadAddOnTensor(tensor);
  if (alpha === undefined || more.length > 0 || !Number.isFinite(alpha)) {
    throw refuse(tensor.file, `${tensor.name} must be one finite number, got ${more.length + 1} values`);
  }
  // kohya reads an alpha of 0 as absent.
  return alpha === 0 ? 1 : alpha / rank;
}

const settingsSchema = z.object({
  lora_alpha: z.number().optional(),
  alpha_pattern: z.record(z.string(), z.number()).nullish(),
  use_rslora: z.boolean().nullish(),
});
type AdapterSettings = Partial<Record<LoraTarget, z.infer<typeof settingsSchema>>>;

const TARGETS: readonly LoraTarget[] = ['unet', 'text_encoder', 'text_encoder_2'];

/** Reads the PEFT settings that newer diffusers stores, keyed `unet.lora_alpha`; the ranks are those of the tensors. */
function adapterSettings({ file, metadata }: SafetensorsHeader): AdapterSettings {
  const text = metadata['lora_adapter_metadata'];
  if (text === undefined) return {};
  const stored = parseMetadata(file, text);
  const settings: AdapterSettings = {};
  for (const target of TARGETS) {
    const entries = Object.entries(stored).filter(([key]) => key.startsWith(`${target}.`));
    const parsed = settingsSchema.safeParse(
      Object.fromEntries(entries.map(([key, value]) => [key.slice(target.length + 1), value])),
    );
    if (!parsed.success) throw refuse(file, `lora_adapter_metadata: ${z.prettifyError(parsed.error)}`);
    settings[target] = parsed.data;
  }
  return settings;
}

function parseMetadata(file: string, text: string): Record<string, unknown> {
  try {
    return z.record(z.string(), z.unknown()).parse(JSON.parse(text));
  } catch (cause) {
    throw new UserError(`Cannot load the LoRA ${file}: lora_adapter_metadata must be a JSON object`, { cause });
  }
}

function settingsScale(module: LoraModule, rank: number, settings: AdapterSettings): number {
  const { lora_alpha: general, alpha_pattern: patterns, use_rslora: isRankStabilized } = settings[module.target] ?? {};
  const special = Object.entries(patterns ?? {}).find(([pattern]) => matchesPattern(module, pattern));
  const alpha = special?.[1] ?? general ?? rank;
  // Rank-stabilised LoRA (arXiv 2312.03732) divides by the root of the rank.
  return alpha / (isRankStabilized === true ? Math.sqrt(rank) : rank);
}

/** PEFT takes the key of a pattern for the end of a module's path, at a dot; diffusers writes whole paths. */
function matchesPattern(module: LoraModule, pattern: string): boolean {
  const ending = pattern.replace(/^\^/, '').replaceAll('\\.', '.');
  return pathSpellings(module).some((path) => `.${path}`.endsWith(`.${ending}`));
}

function refuse(file: string, rule: string): UserError {
  return new UserError(`Cannot load the LoRA ${file}: ${rule}`);
}
