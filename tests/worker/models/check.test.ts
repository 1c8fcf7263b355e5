import { copyFile, mkdir, mkdtemp, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import {
  type ComponentReport,
  checkModel,
  checkStructure,
  type ExpectedTensors,
} from '../../../worker/models/check.ts';
import { describeFamily, readFamily } from '../../../worker/models/read-model.ts';
import { currentTextEncoderName } from '../../../worker/networks/clip.ts';
import { currentVaeName } from '../../../worker/networks/vae.ts';
import { saveSafetensors, type TensorToSave } from '../../../worker/runtime/safetensors.ts';
import { publishedFiles } from '../../support/hub-server.ts';

const UNET = 'unet/diffusion_pytorch_model.safetensors';
const VAE = 'vae/diffusion_pytorch_model.safetensors';
const TEXT_ENCODER = 'text_encoder/model.safetensors';

let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'sketchbooth-check-'));
  for (const [path, bytes] of publishedFiles()) {
    if (!/\.(safetensors|bin)$/.test(path)) await write(path, bytes);
  }
  await save(UNET, { 'conv_in.weight': f16([8, 4, 3, 3]), 'conv_in.bias': f16([8]) });
  await save(VAE, { 'attentions.0.query.weight': f32([6, 6, 1, 1]), 'attentions.0.proj_attn.bias': f32([6]) });
  await save(TEXT_ENCODER, {
    'embeddings.position_ids': { dtype: 'I64', shape: [1, 77], values: new BigInt64Array(77) },
    'final_layer_norm.weight': f32([5]),
  });
});

afterEach(() => rm(folder, { recursive: true }));

async function write(path: string, bytes: Uint8Array | string): Promise<void> {
  await mkdir(dirname(join(folder, path)), { recursive: true });
  await writeFile(join(folder, path), bytes);
}

async function save(path: string, tensors: Record<string, TensorToSave>): Promise<void> {
  await mkdir(dirname(join(folder, path)), { recursive: true });
  await saveSafetensors(join(folder, path), Object.entries(tensors));
}

function f32(shape: number[]): TensorToSave {
  return { dtype: 'F32', shape, values: new Float32Array(shape.reduce((product, size) => product * size, 1)) };
}

function f16(shape: number[]): TensorToSave {
  return { ...f32(shape), dtype: 'F16' };
}

const SHAPES: Record<string, [string, number[]][]> = {
  UNet2DConditionModel: [
    ['conv_in.weight', [8, 4, 3, 3]],
    ['conv_in.bias', [8]],
  ],
  AutoencoderKL: [
    ['attentions.0.to_q.weight', [6, 6]],
    ['attentions.0.to_out.0.bias', [6]],
  ],
  CLIPTextModel: [['text_model.final_layer_norm.weight', [5]]],
  ControlNetModel: [['conv_in.weight', [8, 4, 3, 3]]],
};

const expectedTensors: ExpectedTensors = async ({ className }) => ({
  expected: new Map(SHAPES[className]),
  currentName: { AutoencoderKL: currentVaeName, CLIPTextModel: currentTextEncoderName }[className] ?? ((name) => name),
});

async function reportOf(component: string): Promise<ComponentReport | undefined> {
  return (await checkModel(folder, expectedTensors)).components.find((report) => report.component === component);
}

test('check of a whole model counts parameters and bytes, in old and new tensor names', async () => {
  const report = await checkModel(folder, expectedTensors);
  expect(describeFamily(report.family)).toBe('SD 1.x');
  expect(report.isWhole).toBe(true);
  const rest = { missing: [], unused: [], wrongShape: [] };
  expect(report.components).toEqual([
    {
      component: 'text_encoder',
      className: 'CLIPTextModel',
      parameterCount: 5,
      storedDtypes: ['F32'],
      sizeBytes: 636,
      ...rest,
    },
    {
      component: 'unet',
      className: 'UNet2DConditionModel',
      parameterCount: 296,
      storedDtypes: ['F16'],
      sizeBytes: 592,
      ...rest,
    },
    {
      component: 'vae',
      className: 'AutoencoderKL',
      parameterCount: 42,
      storedDtypes: ['F32'],
      sizeBytes: 168,
      ...rest,
    },
  ]);
});

test('check names tensors that are missing, unused or of a wrong shape', async () => {
  await save(UNET, { 'conv_in.weight': f32([8, 9, 3, 3]), 'conv_extra.bias': f16([8]) });
  expect((await checkModel(folder, expectedTensors)).isWhole).toBe(false);
  expect(await reportOf('unet')).toMatchObject({
    missing: ['conv_in.bias'],
    unused: ['conv_extra.bias'],
    wrongShape: ['conv_in.weight must be [8, 4, 3, 3], got [8, 9, 3, 3]'],
    parameterCount: 648,
    storedDtypes: ['F32'],
  });
});

test('unused tensors alone leave a model whole', async () => {
  await save(UNET, { 'conv_in.weight': f16([8, 4, 3, 3]), 'conv_in.bias': f16([8]), 'ema.decay': f32([1]) });
  expect((await checkModel(folder, expectedTensors)).isWhole).toBe(true);
});

test('check reads the tensors of all shards', async () => {
  await rm(join(folder, UNET));
  const shards = [
    'diffusion_pytorch_model-00001-of-00002.safetensors',
    'diffusion_pytorch_model-00002-of-00002.safetensors',
  ];
  await save(`unet/${shards[0]}`, { 'conv_in.weight': f16([8, 4, 3, 3]) });
  await save(`unet/${shards[1]}`, { 'conv_in.bias': f32([8]) });
  const weightMap = { 'conv_in.weight': shards[0], 'conv_in.bias': shards[1] };
  await write(`${UNET}.index.json`, JSON.stringify({ weight_map: weightMap }));
  expect(await reportOf('unet')).toMatchObject({ parameterCount: 296, storedDtypes: ['F16', 'F32'], missing: [] });
});

test.each([
  UNET,
  'unet/config.json',
  'tokenizer/vocab.json',
  'tokenizer/merges.txt',
  'scheduler/scheduler_config.json',
  'model_index.json',
])('structure without %s is refused', async (path) => {
  await checkStructure(folder);
  await rm(join(folder, path));
  await expect(checkStructure(folder)).rejects.toThrow(/Cannot (read|find|use)/);
});

test('structure with a weights file that is cut short is refused', async () => {
  await truncate(join(folder, VAE), (await stat(join(folder, VAE))).size - 1);
  await expect(checkStructure(folder)).rejects.toThrow(join(folder, VAE));
});

test('check of a stand-alone ControlNet reads the folder itself', async () => {
  const controlNet = join(folder, 'control');
  await mkdir(controlNet);
  const config = { _class_name: 'ControlNetModel', addition_embed_type: 'text_time', use_linear_projection: true };
  await writeFile(join(controlNet, 'config.json'), JSON.stringify(config));
  await copyFile(join(folder, UNET), join(controlNet, 'diffusion_pytorch_model.safetensors'));
  const report = await checkModel(controlNet, expectedTensors);
  expect(describeFamily(report.family)).toBe('ControlNet for SDXL');
  expect(report.components).toMatchObject([
    { component: 'ControlNetModel', parameterCount: 288, unused: ['conv_in.bias'] },
  ]);
});

// The fields are those of the published unet/config.json files.
test.each([
  ['SD 1.x', { in_channels: 4, cross_attention_dim: 768 }],
  ['SD 1.x inpainting', { in_channels: 9, cross_attention_dim: 768 }],
  ['SD 2.x', { in_channels: 4, cross_attention_dim: 1024, use_linear_projection: true }],
  ['SD 1.x LCM', { in_channels: 4, cross_attention_dim: 768, time_cond_proj_dim: 256 }],
  ['SDXL', { in_channels: 4, use_linear_projection: true, addition_embed_type: 'text_time', time_cond_proj_dim: null }],
])('family is %s when the UNet is so configured', async (family, config) => {
  await write('unet/config.json', JSON.stringify(config));
  expect(describeFamily(await readFamily(folder))).toBe(family);
});

test.each([
  ['T2I-Adapter for SDXL', { adapter_type: 'full_adapter_xl' }],
  ['T2I-Adapter for SD 1.x or 2.x', { adapter_type: 'full_adapter', channels: [320, 640, 1280, 1280] }],
  ['T2I-Adapter for SD 1.x or 2.x', { adapter_type: 'light_adapter', channels: [320, 640, 1280] }],
  ['T2I-Adapter for UNets of 64, 96, 96 channels', { adapter_type: 'full_adapter_xl', channels: [64, 96, 96, 96] }],
  ['T2I-Adapter for UNets of 32, 64, 64, 64 channels', { channels: [32, 64, 64, 64] }],
])('family is %s when the adapter is %j', async (family, config) => {
  await rm(join(folder, 'model_index.json'));
  await write('config.json', JSON.stringify({ _class_name: 'T2IAdapter', ...config }));
  expect(describeFamily(await readFamily(folder))).toBe(family);
});
