import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { loadLoraFile } from '../../../worker/diffusion/lora-file.ts';
import type { LoraModule } from '../../../worker/diffusion/lora-names.ts';
import { parseClipTextConfig } from '../../../worker/networks/clip.ts';
import { parseUnetConfig } from '../../../worker/networks/unet-config.ts';
import { loadTensor, readSafetensorsHeader } from '../../../worker/runtime/safetensors.ts';
import { loraModulesOf } from '../../../worker/training/lora-modules.ts';
import { saveLora, type TrainedLora } from '../../../worker/training/save-lora.ts';
import { goldenTensor } from '../../support/golden.ts';
import { temporaryFolder, tinyConfigs } from '../../support/tiny-models.ts';

const clip = (component: 'text_encoder' | 'text_encoder_2', name: 'clip-quickgelu' | 'clip-proj') => {
  return { component, config: parseClipTextConfig(tinyConfigs[name]) };
};
const unet = (name: 'unet-sd1' | 'unet-xl') => ({ config: parseUnetConfig(tinyConfigs[name]) });

const NETWORKS = {
  'unet-sd1': loraModulesOf({ unet: unet('unet-sd1'), textEncoders: [clip('text_encoder', 'clip-quickgelu')] }),
  'unet-xl': loraModulesOf({
    unet: unet('unet-xl'),
    textEncoders: [clip('text_encoder', 'clip-quickgelu'), clip('text_encoder_2', 'clip-proj')],
  }),
};

function train(module: LoraModule, { rank, alpha }: { rank: number; alpha: number }): TrainedLora {
  const [out = 0, ...input] = module.weightShape;
  const values = (part: string, shape: number[]) => goldenTensor(`lora:${module.target}.${module.path}.${part}`, shape);
  return { ...module, rank, alpha, down: values('down', [rank, ...input]), up: values('up', [out, rank]) };
}

const loaded = ({ target, path, rank, alpha, down, up }: TrainedLora) => {
  return { target, path, rank, scale: alpha / rank, down, up };
};

const isAttention = ({ path }: LoraModule) => /\.(to_[qkv]|to_out\.0|(q|k|v|out)_proj)$/.test(path);
const inFolder = async () => join(await temporaryFolder(), 'pytorch_lora_weights.safetensors');

describe.each(['unet-sd1', 'unet-xl'] as const)('a LoRA of %s', (network) => {
  const networkModules = NETWORKS[network];

  test.each(['diffusers', 'kohya'] as const)(
    'loads from a %s file with the same factors and scales',
    async (format) => {
      const file = await inFolder();
      const trained = networkModules.map((module, i) => train(module, { rank: 1 + (i % 3), alpha: 1 + (i % 5) / 2 }));
      await saveLora(file, trained, { format, networkModules });
      expect(await loadLoraFile(file, networkModules)).toEqual(trained.map(loaded));
    },
  );

  test.each(['diffusers', 'kohya'] as const)('of a few modules keeps their names in a %s file', async (format) => {
    const file = await inFolder();
    const trained = networkModules
      .filter(({ path }) => /^(mid_block|down_blocks\.1)\.attentions\.0.*attn2\.to_k$/.test(path))
      .map((module) => train(module, { rank: 4, alpha: 4 }));
    expect(trained).not.toHaveLength(0);
    await saveLora(file, trained, { format, networkModules });
    expect(await loadLoraFile(file, networkModules)).toEqual(trained.map(loaded));
  });
});

/** Keys of attention modules as training.md and models.md, section 13, list them. */
test('keys are those that diffusers and kohya write', async () => {
  const keysOf = async (network: keyof typeof NETWORKS, format: 'diffusers' | 'kohya') => {
    const networkModules = NETWORKS[network];
    const file = await inFolder();
    const trained = networkModules.filter(isAttention).map((module) => train(module, { rank: 4, alpha: 4 }));
    await saveLora(file, trained, { format, networkModules });
    return [...(await readSafetensorsHeader(file)).tensors.keys()];
  };
  expect(await keysOf('unet-sd1', 'diffusers')).toEqual(
    expect.arrayContaining([
      'unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q.lora.down.weight',
      'unet.mid_block.attentions.0.transformer_blocks.0.attn2.to_out.0.lora.up.weight',
      'text_encoder.text_model.encoder.layers.0.self_attn.q_proj.lora_linear_layer.down.weight',
    ]),
  );
  expect(await keysOf('unet-sd1', 'kohya')).toEqual(
    expect.arrayContaining([
      'lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q.alpha',
      'lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_out_0.lora_up.weight',
      'lora_te_text_model_encoder_layers_0_self_attn_q_proj.lora_down.weight',
    ]),
  );
  expect(await keysOf('unet-xl', 'diffusers')).toContain(
    'text_encoder_2.text_model.encoder.layers.2.self_attn.out_proj.lora_linear_layer.up.weight',
  );
  const xl = await keysOf('unet-xl', 'kohya');
  expect(xl).toEqual(
    expect.arrayContaining([
      'lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q.lora_down.weight',
      'lora_unet_middle_block_1_transformer_blocks_0_attn1_to_q.lora_down.weight',
      'lora_unet_output_blocks_0_1_transformer_blocks_0_attn1_to_q.lora_down.weight',
      'lora_te1_text_model_encoder_layers_0_self_attn_q_proj.lora_down.weight',
      'lora_te2_text_model_encoder_layers_0_self_attn_q_proj.lora_down.weight',
    ]),
  );
  expect(xl.filter((key) => /^lora_unet_(down|up|mid)_/.test(key))).toEqual([]);
});

test('1 x 1 convolutions keep their kernel, which diffusers and kohya demand', async () => {
  const shapesOf = async (network: keyof typeof NETWORKS) => {
    const networkModules = NETWORKS[network];
    const file = await inFolder();
    const module = networkModules.find(({ path }) => path === 'mid_block.attentions.0.proj_in')!;
    await saveLora(file, [train(module, { rank: 2, alpha: 2 })], { format: 'diffusers', networkModules });
    return [...(await readSafetensorsHeader(file)).tensors.values()].map(({ shape }) => shape);
  };
  expect(await shapesOf('unet-sd1')).toEqual([
    [2, 16, 1, 1],
    [16, 2, 1, 1],
  ]);
  expect(await shapesOf('unet-xl')).toEqual([
    [2, 16],
    [16, 2],
  ]);
});

test('rank and alpha stand in the header where tools look for them', async () => {
  const networkModules = NETWORKS['unet-sd1'];
  const trained = networkModules.filter(isAttention).map((module) => train(module, { rank: 4, alpha: 2 }));
  const [diffusers, kohya] = [await inFolder(), await inFolder()];
  const metadata = { ss_sd_model_name: 'tiny' };
  await saveLora(diffusers, trained, { format: 'diffusers', networkModules });
  await saveLora(kohya, trained, { format: 'kohya', networkModules, metadata });
  const settings = JSON.parse((await readSafetensorsHeader(diffusers)).metadata['lora_adapter_metadata']!);
  expect(settings).toMatchObject({
    'unet.r': 4,
    'unet.lora_alpha': 2,
    'unet.rank_pattern': {},
    'unet.alpha_pattern': {},
    'text_encoder.lora_alpha': 2,
  });
  const header = await readSafetensorsHeader(kohya);
  expect(header.metadata).toEqual({
    format: 'pt',
    ss_network_module: 'networks.lora',
    ss_network_dim: '4',
    ss_network_alpha: '2',
    ss_sd_model_name: 'tiny',
  });
  const alpha = header.tensors.get('lora_te_text_model_encoder_layers_0_self_attn_q_proj.alpha')!;
  expect(alpha.shape).toEqual([]);
  expect([...(await loadTensor(alpha))]).toEqual([2]);
});

test('a LoRA whose factors do not fit leaves no file', async () => {
  const file = await inFolder();
  const networkModules = NETWORKS['unet-sd1'];
  const module = { ...train(networkModules[0]!, { rank: 2, alpha: 2 }), rank: 3 };
  await expect(saveLora(file, [module], { format: 'diffusers', networkModules })).rejects.toThrow(
    'values must fit F32',
  );
  expect(await readdir(join(file, '..'))).toEqual([]);
});
