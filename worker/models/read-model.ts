import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { UserError } from '../../shared/errors.ts';
import { ADAPTER_TYPES, DEFAULT_CHANNELS, featureChannels } from '../networks/t2i-adapter.ts';
import { COMPONENT_FILES, parseAdapterClass, parseModelIndex, roleOf } from './model-index.ts';

/** A network of a model folder. */
export interface NetworkFolder {
  component: string;
  className: string;
  /** The folder of its config.json and weights. */
  folder: string;
}

/** Which of the published families a model belongs to, told by its configuration. */
export interface ModelFamily {
  kind: 'pipeline' | 'ControlNet' | 'T2I-Adapter';
  /** Undefined for a T2I-Adapter whose file does not tell SD 1.x from SD 2.x. */
  base: 'SD 1.x' | 'SD 2.x' | 'SDXL' | undefined;
  /** Of the UNet's levels, where a T2I-Adapter is made for none of the published families. */
  unetChannels?: readonly number[];
  isInpainting: boolean;
  isLatentConsistency: boolean;
}

/**
 * Reads which networks a model folder has.
 * @throws UserError when the folder is not a model, or one of the small files that a component needs is missing
 */
export async function readNetworks(folder: string): Promise<NetworkFolder[]> {
  if (!isPipeline(folder)) {
    const className = parseAdapterClass(await readJson(folder, 'config.json'), folder);
    return [{ component: className, className, folder }];
  }
  const { components } = parseModelIndex(await readJson(folder, 'model_index.json'), folder);
  for (const { component, className } of components) {
    for (const name of COMPONENT_FILES[roleOf(className)].required) requireFile(join(folder, component, name));
  }
  return components
    .filter(({ className }) => roleOf(className) === 'network')
    .map(({ component, className }) => ({ component, className, folder: join(folder, component) }));
}

const networkConfigSchema = z.object({
  in_channels: z.number().optional(),
  use_linear_projection: z.boolean().optional(),
  addition_embed_type: z.string().nullish(),
  time_cond_proj_dim: z.number().nullish(),
  adapter_type: z.enum(ADAPTER_TYPES).default('full_adapter'),
  channels: z
    .array(z.number())
    .min(1)
    .default([...DEFAULT_CHANNELS]),
});
type NetworkConfig = z.infer<typeof networkConfigSchema>;

/** Reads the family of a model folder from its configuration. */
export async function readFamily(folder: string): Promise<ModelFamily> {
  if (isPipeline(folder)) {
    const unet = await readNetworkConfig(folder, 'unet/config.json');
    return {
      kind: 'pipeline',
      base: baseOf(unet),
      isInpainting: unet.in_channels === 9,
      isLatentConsistency: typeof unet.time_cond_proj_dim === 'number',
    };
  }
  const adapterClass = parseAdapterClass(await readJson(folder, 'config.json'), folder);
  const config = await readNetworkConfig(folder, 'config.json');
  const common = { isInpainting: false, isLatentConsistency: false };
  return adapterClass === 'ControlNetModel'
    ? { kind: 'ControlNet', base: baseOf(config), ...common }
    : { kind: 'T2I-Adapter', ...adapterBase(config), ...common };
}

/** Names a family as people do: "SD 1.x inpainting", "ControlNet for SDXL". */
export function describeFamily({ kind, base, unetChannels, isInpainting, isLatentConsistency }: ModelFamily): string {
  if (unetChannels) return `${kind} for UNets of ${unetChannels.join(', ')} channels`;
  if (kind !== 'pipeline') return `${kind} for ${base ?? 'SD 1.x or 2.x'}`;
  return [base, isLatentConsistency ? 'LCM' : undefined, isInpainting ? 'inpainting' : undefined]
    .filter((word) => word !== undefined)
    .join(' ');
}

function isPipeline(folder: string): boolean {
  if (existsSync(join(folder, 'model_index.json'))) return true;
  if (existsSync(join(folder, 'config.json'))) return false;
  throw new UserError(
    `Cannot use ${folder}: a model holds model_index.json, or config.json of a ControlNet or T2I-Adapter, got neither`,
  );
}

/** SD 2 brought linear projections around attention, SDXL the added text and size embedding. */
function baseOf(config: NetworkConfig): 'SD 1.x' | 'SD 2.x' | 'SDXL' {
  if (config.addition_embed_type === 'text_time') return 'SDXL';
  return config.use_linear_projection === true ? 'SD 2.x' : 'SD 1.x';
}

/** SDXL's form of an adapter, whose last feature is for the UNet's middle, fits other UNets that begin without attention too. */
function adapterBase({ adapter_type, channels }: NetworkConfig): Pick<ModelFamily, 'base' | 'unetChannels'> {
  const isLate = adapter_type === 'full_adapter_xl';
  const features = featureChannels({ adapterType: adapter_type, channels });
  if (String(features) === String(DEFAULT_CHANNELS)) return { base: isLate ? 'SDXL' : undefined };
  return { base: undefined, unetChannels: isLate ? features.slice(0, -1) : features };
}

async function readNetworkConfig(folder: string, name: string): Promise<NetworkConfig> {
  const parsed = networkConfigSchema.safeParse(await readJson(folder, name));
  if (parsed.success) return parsed.data;
  throw new UserError(`Cannot read ${join(folder, name)}: ${z.prettifyError(parsed.error)}`);
}

async function readJson(folder: string, name: string): Promise<unknown> {
  const path = join(folder, name);
  requireFile(path);
  const text = await readFile(path, 'utf8');
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new UserError(`Cannot read ${path}: it must be JSON`, { cause: error });
  }
}

function requireFile(path: string): void {
  if (!existsSync(path)) throw new UserError(`Cannot read a model: it must hold ${path}, which is missing`);
}
