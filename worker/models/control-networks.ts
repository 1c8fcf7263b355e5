import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import type { Config } from '../../shared/config.ts';
import { CONTROL_KINDS, type ControlKind, type ControlMethod } from '../../shared/jobs.ts';
import { ADAPTER_TYPES, DEFAULT_CHANNELS, featureChannels, wantedFeatures } from '../networks/t2i-adapter.ts';
import { type KnownModel, listModels } from './registry.ts';
import { SHIPPED_MODEL, shippedFolder } from './shipped.ts';

/** A ControlNet or T2I-Adapter that fits a model. */
export interface ControlNetwork {
  readonly name: string;
  readonly folder: string;
  readonly kind: ControlKind;
  readonly method: ControlMethod;
}

/** Published networks say what they take in their names only: control_v11p_sd15_scribble, t2iadapter_canny_sd15v2. */
const KIND_WORDS: { readonly [K in ControlKind]: RegExp } = {
  sketch: /scribble|sketch|line_?art|soft_?edge|hed/i,
  canny: /canny/i,
  depth: /depth/i,
  segmentation: /seg/i,
  pose: /pose/i,
};

const METHOD_CLASSES: Readonly<Record<string, ControlMethod>> = {
  ControlNetModel: 'controlnet',
  T2IAdapter: 't2i-adapter',
};

const configSchema = z.object({
  _class_name: z.string().optional(),
  block_out_channels: z.array(z.number()).optional(),
  cross_attention_dim: z.union([z.number(), z.array(z.number())]).optional(),
  addition_embed_type: z.string().nullish(),
  down_block_types: z.array(z.string()).optional(),
  channels: z
    .array(z.number())
    .min(1)
    .default([...DEFAULT_CHANNELS]),
  adapter_type: z.enum(ADAPTER_TYPES).default('full_adapter'),
});
type NetworkConfig = z.infer<typeof configSchema>;

/** The control networks that fit a model, by kind and method; of several the first by name comes first. */
export async function controlNetworksOf(model: KnownModel, config: Config): Promise<ControlNetwork[]> {
  if (model.name === SHIPPED_MODEL) return shippedNetworks();
  const unet = await readConfig(join(model.folder, 'unet'));
  if (!unet) return [];
  const networks: ControlNetwork[] = [];
  for (const { name, folder } of await listModels(config)) {
    const kind = CONTROL_KINDS.find((candidate) => KIND_WORDS[candidate].test(name));
    const own = kind && (await readConfig(folder));
    const method = METHOD_CLASSES[own?._class_name ?? ''];
    if (own && kind && method && fits(own, unet, method)) networks.push({ name, folder, kind, method });
  }
  return networks;
}

function shippedNetworks(): ControlNetwork[] {
  return CONTROL_KINDS.flatMap((kind) =>
    (['controlnet', 'adapter'] as const).flatMap((type): ControlNetwork[] => {
      const name = `${SHIPPED_MODEL}/${kind}`;
      const folder = shippedFolder(name, type);
      const method = type === 'adapter' ? 't2i-adapter' : type;
      return folder === undefined ? [] : [{ name, folder, kind, method }];
    }),
  );
}

/** A quick look; the engine checks every dimension when it opens them together. */
function fits(own: NetworkConfig, unet: NetworkConfig, method: ControlMethod): boolean {
  if (method === 'controlnet') {
    const traits = ({ block_out_channels, cross_attention_dim, addition_embed_type }: NetworkConfig) =>
      JSON.stringify([block_out_channels, cross_attention_dim, addition_embed_type ?? null]);
    return traits(own) === traits(unet);
  }
  // SDXL's UNet begins with a level without attention, as others may: its adapters are made for those.
  const isLate = own.adapter_type === 'full_adapter_xl';
  const beginsWithAttention = unet.down_block_types?.[0] !== 'DownBlock2D';
  const features = featureChannels({ adapterType: own.adapter_type, channels: own.channels });
  const wanted = wantedFeatures(unet.block_out_channels ?? [], beginsWithAttention);
  return isLate !== beginsWithAttention && String(features) === String(wanted);
}

async function readConfig(folder: string): Promise<NetworkConfig | undefined> {
  const file = join(folder, 'config.json');
  if (!existsSync(file)) return undefined;
  return configSchema.safeParse(JSON.parse(await readFile(file, 'utf8'))).data;
}
