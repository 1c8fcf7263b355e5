/** The tiny configurations of the golden runs, and weights for any description from the golden generator. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import { parametersOf, type Value } from '../../worker/graph/value.ts';
import { type Checkpoint, openCheckpoint } from '../../worker/runtime/checkpoint.ts';
import { compile } from '../../worker/runtime/compile.ts';
import { saveSafetensors } from '../../worker/runtime/safetensors.ts';
import type { Session, Tensor } from '../../worker/runtime/session.ts';
import { float32Tensor } from '../../worker/runtime/session.ts';
import { findComponentWeights } from '../../worker/runtime/weight-files.ts';
import { goldenTensor } from './golden.ts';

const UNET_SD1 = {
  sample_size: 8,
  block_out_channels: [8, 16, 16, 16],
  norm_num_groups: 4,
  layers_per_block: 2,
  attention_head_dim: 2,
  cross_attention_dim: 12,
};

const UNET_SD2 = {
  sample_size: 8,
  block_out_channels: [8, 16],
  norm_num_groups: 4,
  layers_per_block: 1,
  down_block_types: ['CrossAttnDownBlock2D', 'DownBlock2D'],
  up_block_types: ['UpBlock2D', 'CrossAttnUpBlock2D'],
  attention_head_dim: [1, 2],
  cross_attention_dim: 16,
  use_linear_projection: true,
  upcast_attention: true,
};

const UNET_XL = {
  sample_size: 16,
  block_out_channels: [8, 16, 16],
  norm_num_groups: 4,
  layers_per_block: 2,
  down_block_types: ['DownBlock2D', 'CrossAttnDownBlock2D', 'CrossAttnDownBlock2D'],
  up_block_types: ['CrossAttnUpBlock2D', 'CrossAttnUpBlock2D', 'UpBlock2D'],
  attention_head_dim: [1, 2, 2],
  cross_attention_dim: 28,
  use_linear_projection: true,
  transformer_layers_per_block: [1, 2, 3],
  addition_embed_type: 'text_time',
  addition_time_embed_dim: 8,
  projection_class_embeddings_input_dim: 64,
};

const CLIP = { vocab_size: 120, num_hidden_layers: 3, num_attention_heads: 2 };

/** config.json of each tiny model of training.md, section 9.1. */
export const tinyConfigs = {
  'unet-sd1': UNET_SD1,
  'unet-sd2': UNET_SD2,
  'unet-xl': UNET_XL,
  'unet-lcm': { ...UNET_SD2, time_cond_proj_dim: 6 },
  'unet-inpaint': { ...UNET_SD2, in_channels: 9 },
  vae: {
    sample_size: 16,
    block_out_channels: [8, 16, 16, 16],
    norm_num_groups: 4,
    layers_per_block: 2,
    latent_channels: 4,
    down_block_types: Array(4).fill('DownEncoderBlock2D'),
    up_block_types: Array(4).fill('UpDecoderBlock2D'),
  },
  'controlnet-sd1': { ...UNET_SD1, conditioning_embedding_out_channels: [4, 4, 8, 8] },
  'controlnet-xl': { ...UNET_XL, conditioning_embedding_out_channels: [4, 4, 8, 8] },
  't2i-full': { channels: [8, 16, 16, 16], adapter_type: 'full_adapter' },
  't2i-full-xl': { channels: [8, 16, 16, 16], downscale_factor: 16, adapter_type: 'full_adapter_xl' },
  't2i-light': { channels: [8, 16, 16], num_res_blocks: 4, adapter_type: 'light_adapter' },
  'clip-quickgelu': { ...CLIP, hidden_size: 12, intermediate_size: 24, hidden_act: 'quick_gelu', eos_token_id: 2 },
  'clip-gelu': { ...CLIP, hidden_size: 16, intermediate_size: 32, hidden_act: 'gelu', eos_token_id: 2 },
  'clip-proj': {
    ...CLIP,
    hidden_size: 16,
    intermediate_size: 32,
    hidden_act: 'gelu',
    projection_dim: 16,
    eos_token_id: 119,
    architectures: ['CLIPTextModelWithProjection'],
  },
  safety: {
    projection_dim: 12,
    vision_config: {
      hidden_size: 16,
      intermediate_size: 32,
      num_hidden_layers: 2,
      num_attention_heads: 2,
      patch_size: 14,
      image_size: 28,
      hidden_act: 'quick_gelu',
    },
  },
} as const;

/** A folder that is removed when the running test ends. */
export async function temporaryFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'sketchbooth-'));
  onTestFinished(() => rm(folder, { recursive: true }));
  return folder;
}

/** Writes golden weights for tensors of these names and shapes. */
export async function saveGoldenWeights(
  file: string,
  shapes: ReadonlyMap<string, readonly number[]>,
  storedName: (name: string) => string = (name) => name,
): Promise<void> {
  const tensors = [...shapes].map(([name, shape]) => {
    return [storedName(name), { dtype: 'F32', shape, values: goldenTensor(name, shape) }] as const;
  });
  await saveSafetensors(file, new Map(tensors));
}

/** Opens golden weights for tensors of these names and shapes, from a folder that goes with the test. */
export async function goldenCheckpoint(expected: ReadonlyMap<string, readonly number[]>): Promise<Checkpoint> {
  const folder = await temporaryFolder();
  await saveGoldenWeights(join(folder, 'model.safetensors'), expected);
  return openCheckpoint(await findComponentWeights(folder), { expected });
}

/** Compiles a description on the CPU with golden weights for everything that it reads; disposed of with the test. */
export async function compileTiny(outputs: Readonly<Record<string, Value>>): Promise<Session> {
  const checkpoints: Record<string, Checkpoint> = {};
  for (const [component, expected] of parametersOf(Object.values(outputs))) {
    checkpoints[component] = await goldenCheckpoint(expected);
  }
  const session = await compile(outputs, { device: 'cpu', threads: 1, checkpoints });
  onTestFinished(() => session.dispose());
  return session;
}

/** Compiles a description with golden weights and runs it once. */
export async function runTiny(
  outputs: Readonly<Record<string, Value>>,
  feeds: Readonly<Record<string, Tensor>>,
): Promise<Record<string, Tensor>> {
  const session = await compileTiny(outputs);
  return session.run(feeds);
}

/** A golden input tensor, `in:` and its name. */
export function goldenInput(name: string, dims: readonly number[]): Tensor {
  return float32Tensor(goldenTensor(`in:${name}`, dims), dims);
}

/** A golden input moved from [-√3, √3] to [0, 1], as control images are made. */
export function goldenControlImage(name: string, dims: readonly number[]): Tensor {
  const data = goldenTensor(`in:${name}`, dims).map((value) => (value / Math.sqrt(3) + 1) / 2);
  return float32Tensor(data, dims);
}

export function floats(tensor: Tensor | undefined): Float32Array {
  if (tensor?.dtype !== 'float32') throw new Error(`Cannot read the result: it must be float32, got ${tensor?.dtype}`);
  return tensor.data;
}
