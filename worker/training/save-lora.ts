import { type LoraModule, type LoraTarget, loraModulesByName } from '../diffusion/lora-names.ts';
import { saveSafetensors, type TensorToSave } from '../runtime/safetensors.ts';

/** The learned change of one module: W' = W + alpha / rank · up · down. */
export interface TrainedLora extends Pick<LoraModule, 'target' | 'path'> {
  readonly rank: number;
  readonly alpha: number;
  /** [rank, in] or [rank, in, kh, kw] */
  readonly down: Float32Array;
  /** [out, rank] */
  readonly up: Float32Array;
}

export interface SaveLoraOptions {
  /** `diffusers` for its scripts' spelling, `kohya` for tools that came from sd-scripts. */
  readonly format: 'diffusers' | 'kohya';
  /**
   * All modules of the model, from loraModulesOf: they tell convolutions from linear layers, and how many blocks SDXL's
   * UNet has, which kohya's names depend on.
   */
  readonly networkModules: readonly LoraModule[];
  /** Further text for the header, such as the name of the model. */
  readonly metadata?: Readonly<Record<string, string>>;
}

/**
 * Writes a LoRA file that loadLoraFile reads back with the same factors and scales.
 * Keys and metadata are those of diffusers' train_dreambooth_lora.py and of sd-scripts' networks/lora.py; the text
 * encoders' keys have the `text_model.` of published files.
 * @throws Error if the factors do not fit rank and shape; an older file then stays as it was
 */
export async function saveLora(file: string, loras: readonly TrainedLora[], options: SaveLoraOptions): Promise<void> {
  const stored = new Map(options.networkModules.map((module) => [keyOf(module), module]));
  const modules = loras.map((lora): StoredLora => {
    const module = stored.get(keyOf(lora));
    if (module) return { ...lora, weightShape: module.weightShape };
    throw new Error(`Cannot save the LoRA ${file}: its modules must be the model's, got ${keyOf(lora)}`);
  });
  const { tensors, metadata } = formats[options.format](modules, options.networkModules);
  await saveSafetensors(file, tensors, { format: 'pt', ...metadata, ...options.metadata });
}

type StoredLora = TrainedLora & LoraModule;

interface LoraFile {
  readonly tensors: [string, TensorToSave][];
  readonly metadata: Readonly<Record<string, string>>;
}

type Format = (modules: readonly StoredLora[], networkModules: readonly LoraModule[]) => LoraFile;
const formats: { readonly [F in SaveLoraOptions['format']]: Format } = { diffusers: diffusersFile, kohya: kohyaFile };

function diffusersFile(modules: readonly StoredLora[]): LoraFile {
  const tensors = modules.flatMap((module) => {
    const stem = `${keyOf(module)}.${module.target === 'unet' ? 'lora' : 'lora_linear_layer'}`;
    return factors(module, { down: `${stem}.down.weight`, up: `${stem}.up.weight` });
  });
  const targets = new Set(modules.map(({ target }) => target));
  const settings = [...targets].flatMap((target) => peftSettings(modules.filter((module) => module.target === target)));
  // PEFT's own settings, which diffusers takes instead of guessing an alpha equal to the rank.
  return { tensors, metadata: { lora_adapter_metadata: JSON.stringify(Object.fromEntries(settings)) } };
}

/** Fields of PEFT's LoraConfig for the modules of one network. */
function peftSettings(modules: readonly StoredLora[]): [string, unknown][] {
  const { target, rank, alpha } = modules[0]!;
  // PEFT compares the end of a module's path, so the path without `text_model.` is found in every version.
  const pattern = (field: 'rank' | 'alpha', usual: number) =>
    Object.fromEntries(
      modules.filter((module) => module[field] !== usual).map((module) => [barePath(module), module[field]]),
    );
  return [
    [`${target}.r`, rank],
    [`${target}.lora_alpha`, alpha],
    [`${target}.rank_pattern`, pattern('rank', rank)],
    [`${target}.alpha_pattern`, pattern('alpha', alpha)],
    [`${target}.target_modules`, modules.map(barePath)],
  ];
}

function kohyaFile(modules: readonly StoredLora[], networkModules: readonly LoraModule[]): LoraFile {
  const names = kohyaNames(networkModules);
  const tensors = modules.flatMap((module): [string, TensorToSave][] => {
    const name = names.get(keyOf(module))!;
    return [
      ...factors(module, { down: `${name}.lora_down.weight`, up: `${name}.lora_up.weight` }),
      [`${name}.alpha`, { dtype: 'F32', shape: [], values: Float32Array.of(module.alpha) }],
    ];
  });
  const [first] = modules;
  const metadata = {
    ss_network_module: 'networks.lora',
    // Only shown to people: readers take ranks and alphas from the tensors.
    ...(first && { ss_network_dim: String(first.rank), ss_network_alpha: String(first.alpha) }),
  };
  return { tensors, metadata };
}

const KOHYA_PREFIXES: { readonly [T in LoraTarget]: string } = {
  unet: 'lora_unet_',
  text_encoder: 'lora_te_',
  text_encoder_2: 'lora_te2_',
};

/** Names each module as kohya's tools do: SDXL's UNet with sgm's paths, everything else with diffusers'. */
function kohyaNames(networkModules: readonly LoraModule[]): Map<string, string> {
  const isXl = networkModules.some(({ path }) => path.startsWith('add_embedding.'));
  const names = new Map<string, string>();
  for (const module of networkModules) {
    const prefix = isXl && module.target === 'text_encoder' ? 'lora_te1_' : KOHYA_PREFIXES[module.target];
    names.set(keyOf(module), prefix + module.path.replaceAll('.', '_'));
  }
  if (!isXl) return names;
  const sgm = new Map<string, string>();
  for (const [name, module] of loraModulesByName(networkModules)) {
    const key = keyOf(module);
    if (name.startsWith(KOHYA_PREFIXES.unet) && name !== names.get(key)) sgm.set(key, name);
  }
  return new Map([...names, ...sgm]);
}

function keyOf({ target, path }: Pick<LoraModule, 'target' | 'path'>): string {
  return `${target}.${path}`;
}

/** Paths of text encoders begin with `text_model.`, as published; transformers 5 leaves that out. */
function barePath({ path }: LoraModule): string {
  return path.replace(/^text_model\./, '');
}

function factors(
  { weightShape, rank, down, up }: StoredLora,
  names: { down: string; up: string },
): [string, TensorToSave][] {
  const [out, ...input] = weightShape as [number, ...number[]];
  const pointwise = input.slice(1).map(() => 1);
  return [
    [names.down, { dtype: 'F32', shape: [rank, ...input], values: down }],
    [names.up, { dtype: 'F32', shape: [out, rank, ...pointwise], values: up }],
  ];
}
