import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { type Config, loadConfig } from '../../../shared/config.ts';
import { controlNetworksOf } from '../../../worker/models/control-networks.ts';
import { UNET_JSON } from '../../../worker/pocket/making/configs.ts';
import { controlJson } from '../../../worker/pocket/making/control-part.ts';

let root: string;
let config: Config;

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'sketchbooth-controls-'));
  config = loadConfig({ DATA_DIR: root });
});
afterEach(() => rm(root, { recursive: true }));

async function writeConfig(path: string, json: Record<string, unknown>): Promise<void> {
  const file = join(config.modelsDir, path);
  await mkdir(dirname(file), { recursive: true });
  await writeFile(file, JSON.stringify(json));
}

/** Names of the adapters that a model finds beside it. */
async function adaptersOf(unet: Record<string, unknown>): Promise<string[]> {
  await writeConfig('own/unet/config.json', unet);
  const networks = await controlNetworksOf({ name: 'own', folder: join(config.modelsDir, 'own') }, config);
  return networks.map(({ name }) => name);
}

const adapter = { ...controlJson('adapter', 'depth'), _class_name: 'T2IAdapter' };

test("adapters of SDXL's form fit every UNet that begins without attention, if they are as wide", async () => {
  await writeConfig('depth-late/config.json', adapter);
  await writeConfig('depth-wide/config.json', { ...adapter, channels: [320, 640, 1280, 1280] });
  await writeConfig('depth-early/config.json', { ...adapter, adapter_type: 'full_adapter' });
  expect(await adaptersOf(UNET_JSON)).toEqual(['depth-late']);
  const widths = { block_out_channels: [320, 640, 1280], addition_embed_type: 'text_time' };
  expect(await adaptersOf({ ...UNET_JSON, ...widths })).toEqual(['depth-wide']);
});

test('adapters fit UNets of as many levels, and one that names no channels is as wide as published ones', async () => {
  await writeConfig('depth-late/config.json', adapter);
  await writeConfig('depth-light/config.json', { ...adapter, adapter_type: 'light_adapter', channels: [64, 96, 96] });
  await writeConfig('depth-unnamed/config.json', { _class_name: 'T2IAdapter' });
  const down = (...types: string[]) => types.map((type) => `${type}DownBlock2D`);
  const fewer = { block_out_channels: [64, 96], down_block_types: down('', 'CrossAttn') };
  expect(await adaptersOf({ ...UNET_JSON, ...fewer })).toEqual([]);
  const down_block_types = down('CrossAttn', 'CrossAttn', 'CrossAttn', '');
  const published = { block_out_channels: [320, 640, 1280, 1280], down_block_types };
  expect(await adaptersOf({ ...UNET_JSON, ...published })).toEqual(['depth-unnamed']);
  const alike = { block_out_channels: [64, 96, 96, 96], down_block_types };
  expect(await adaptersOf({ ...UNET_JSON, ...alike })).toEqual(['depth-light']);
});

test('adapters of the other form fit UNets that begin with attention', async () => {
  await writeConfig('depth-late/config.json', adapter);
  await writeConfig('depth-early/config.json', { ...adapter, adapter_type: 'full_adapter' });
  const down_block_types = ['CrossAttnDownBlock2D', 'CrossAttnDownBlock2D', 'CrossAttnDownBlock2D', 'DownBlock2D'];
  const unet = { ...UNET_JSON, block_out_channels: [64, 96, 96, 96], down_block_types };
  expect(await adaptersOf(unet)).toEqual(['depth-early']);
});
