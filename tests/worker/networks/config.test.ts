import { existsSync, readdirSync } from 'node:fs';
import { join, relative } from 'node:path';
import { describe, expect, test } from 'vitest';
import { UserError } from '../../../shared/errors.ts';
import { readJsonFile } from '../../../worker/diffusion/network-folder.ts';
import { unetFixedValues } from '../../../worker/networks/unet-config.ts';
import { type ConfigClass, configClasses } from '../../support/config-classes.ts';
import { tinyConfigs } from '../../support/tiny-models.ts';

const { unet, controlnet, adapter, vae, clip, safety, scheduler } = configClasses;

const REFERENCE = join(import.meta.dirname, '..', '..', '..', '..', 'shared', 'reference', 'published');

describe('published configuration parses', () => {
  const classes: Readonly<Record<string, ConfigClass>> = {
    'unet/config.json': unet,
    'vae/config.json': vae,
    'text_encoder/config.json': clip,
    'text_encoder_2/config.json': clip,
    'safety_checker/config.json': safety,
    'scheduler/scheduler_config.json': scheduler,
  };
  const models = existsSync(REFERENCE) ? readdirSync(REFERENCE) : [];
  const files = models.flatMap((model) => Object.keys(classes).map((file) => [model, file] as const));
  const present = files.filter(([model, file]) => existsSync(join(REFERENCE, model, file)));
  if (present.length === 0) test.skip(`no files at ${relative('.', REFERENCE)}`, () => {});

  test.each(present)('%s %s', async (model, file) => {
    const json = await readJsonFile(join(REFERENCE, model, file));
    expect(classes[file]!.parse(json)).toBeTypeOf('object');
  });
});

describe('configuration that states nothing gives the defaults of the class', () => {
  // diffusers 0.42.1 and transformers 5.23.0, signatures of the constructors.
  const defaults = {
    blockOutChannels: [320, 640, 1280, 1280],
    layersPerBlock: [2, 2, 2, 2],
    numAttentionHeads: [8, 8, 8, 8],
    crossAttentionDim: [1280, 1280, 1280, 1280],
    transformerLayersPerBlock: [1, 1, 1, 1],
    hasDownAttention: [true, true, true, false],
    useLinearProjection: false,
    upcastAttention: false,
    normNumGroups: 32,
    normEps: 1e-5,
    sampleSize: undefined,
    addition: undefined,
    timeCondProjDim: undefined,
    inChannels: 4,
  };
  test.each<[string, ConfigClass, object]>([
    ['UNet', unet, { ...defaults, hasUpAttention: [true, true, true, false], outChannels: 4 }],
    [
      'ControlNet',
      controlnet,
      {
        ...defaults,
        conditioningChannels: 3,
        conditioningEmbeddingOutChannels: [16, 32, 96, 256],
        pixelsPerLatent: 8,
        channelOrder: 'rgb',
        globalPoolConditions: false,
      },
    ],
    [
      'T2I-Adapter',
      adapter,
      {
        adapterType: 'full_adapter',
        inChannels: 3,
        channels: [320, 640, 1280, 1280],
        numResBlocks: 2,
        downscaleFactor: 8,
      },
    ],
    [
      'VAE',
      vae,
      {
        inChannels: 3,
        outChannels: 3,
        blockOutChannels: [64],
        layersPerBlock: 1,
        latentChannels: 4,
        normNumGroups: 32,
        sampleSize: 32,
        scalingFactor: 0.18215,
        vaeScaleFactor: 1,
        forceUpcast: true,
      },
    ],
    [
      'text encoder',
      clip,
      {
        hiddenSize: 512,
        intermediateSize: 2048,
        numHiddenLayers: 12,
        numAttentionHeads: 8,
        hiddenAct: 'quick_gelu',
        layerNormEps: 1e-5,
        vocabSize: 49408,
        maxPositionEmbeddings: 77,
        projectionDim: undefined,
        eosTokenId: 49407,
      },
    ],
    [
      'safety checker',
      safety,
      {
        hiddenSize: 768,
        intermediateSize: 3072,
        numHiddenLayers: 12,
        numAttentionHeads: 12,
        hiddenAct: 'quick_gelu',
        layerNormEps: 1e-5,
        imageSize: 224,
        patchSize: 32,
        projectionDim: 512,
      },
    ],
  ])('for a %s', (_, { parse }, expected) => {
    expect(parse({})).toMatchObject(expected);
  });

  test('where a field is null as well', () => {
    expect(unet.parse({ layers_per_block: null, dropout: null, sample_size: null })).toEqual(unet.parse({}));
  });
});

test('configuration may hold fields that nobody knows', () => {
  const json = { ...tinyConfigs['unet-sd2'], _diffusers_version: '0.40.0', some_future_field: { deep: [1] } };
  expect(unet.parse(json)).toEqual(unet.parse(tinyConfigs['unet-sd2']));
});

describe('configuration is refused by field and value when it asks for what is not implemented', () => {
  const unetOthers: Readonly<Record<keyof typeof unetFixedValues, unknown>> = {
    act_fn: 'gelu',
    attention_type: 'gated',
    center_input_sample: true,
    class_embed_type: 'timestep',
    class_embeddings_concat: true,
    conv_in_kernel: 1,
    conv_out_kernel: 5,
    cross_attention_norm: 'layer_norm',
    downsample_padding: 0,
    dropout: 0.1,
    dual_cross_attention: true,
    encoder_hid_dim: 4096,
    encoder_hid_dim_type: 'text_proj',
    flip_sin_to_cos: false,
    freq_shift: 1,
    mid_block_only_cross_attention: true,
    mid_block_scale_factor: 1.5,
    mid_block_type: 'UNetMidBlock2D',
    num_attention_heads: 8,
    num_class_embeds: 1000,
    only_cross_attention: true,
    resnet_out_scale_factor: 2,
    resnet_skip_time_act: true,
    resnet_time_scale_shift: 'scale_shift',
    reverse_transformer_layers_per_block: [[1]],
    time_embedding_act_fn: 'silu',
    time_embedding_dim: 256,
    time_embedding_type: 'fourier',
    timestep_post_act: 'silu',
  };
  const vaeOthers = {
    act_fn: 'gelu',
    latents_mean: [0, 0, 0, 0],
    latents_std: [1, 1, 1, 1],
    shift_factor: 0.1159,
    use_quant_conv: false,
    use_post_quant_conv: false,
    mid_block_add_attention: false,
  };

  test('with a case for each field', () => {
    expect(Object.keys(unetOthers)).toEqual(Object.keys(unetFixedValues));
  });

  test.each([
    ...Object.entries(unetOthers).map(([field, value]) => ['UNet', unet, field, value] as const),
    ...Object.entries(unetOthers).map(([field, value]) => ['ControlNet', controlnet, field, value] as const),
    ...Object.entries(vaeOthers).map(([field, value]) => ['VAE', vae, field, value] as const),
    ['text encoder', clip, 'use_attention_mask', true],
  ] as const)('%s %o %s', (_, { parse }, field, value) => {
    expect(() => parse({ [field]: value })).toThrow(UserError);
    expect(() => parse({ [field]: value })).toThrow(`config.json: ${field} must be`);
    expect(() => parse({ [field]: value })).toThrow(`got ${JSON.stringify(value)}`);
  });
});

describe('configuration is refused by rule and value', () => {
  const xl = tinyConfigs['unet-xl'];
  const many = { layers_per_block: 32, transformer_layers_per_block: 64 };
  test.each<[string, ConfigClass, unknown]>([
    ['in_channels: Invalid input: expected number, received string, got "4"', unet, { in_channels: '4' }],
    ['in_channels: Invalid input: expected int, received number, got 4.5', unet, { in_channels: 4.5 }],
    ['in_channels: Too small: expected number to be >=1, got -4', unet, { in_channels: -4 }],
    [
      'block_out_channels.1: Too big: expected number to be <=65536, got 1000000',
      unet,
      { block_out_channels: [8, 1e6] },
    ],
    ['block_out_channels: Too big: expected array to have <=8 items', unet, { block_out_channels: Array(9).fill(32) }],
    ['down_block_types.0: Invalid option', unet, { down_block_types: ['AttnDownBlock2D'] }],
    [
      'down_block_types must have 2 entries, got ["DownBlock2D"]',
      unet,
      { ...tinyConfigs['unet-sd2'], down_block_types: ['DownBlock2D'] },
    ],
    [
      'up_block_types must have 2 entries, got ["UpBlock2D"]',
      unet,
      { ...tinyConfigs['unet-sd2'], up_block_types: ['UpBlock2D'] },
    ],
    [
      'attention_head_dim of config.json must have one entry per level, got 3 for 4 levels',
      unet,
      { attention_head_dim: [5, 10, 20] },
    ],
    ['block_out_channels must be divisible by the heads 7,7,7,7, got 320', unet, { attention_head_dim: 7 }],
    ['block_out_channels must be divisible by 33 groups, got 320', unet, { norm_num_groups: 33 }],
    ['the network must have at most 2000 transformer blocks, got 16640', unet, many],
    ['the network must have at most 2000 transformer blocks, got 16640', controlnet, many],
    [
      'block_out_channels must begin with an even number, got [7,7]',
      unet,
      { ...tinyConfigs['unet-sd2'], block_out_channels: [7, 7], norm_num_groups: 1, attention_head_dim: 1 },
    ],
    ['addition_embed_type: Invalid input', unet, { addition_embed_type: 'image' }],
    ['addition_embed_type text_time needs addition_time_embed_dim', unet, { addition_embed_type: 'text_time' }],
    ['addition_time_embed_dim must be even, got 7', unet, { ...xl, addition_time_embed_dim: 7 }],
    [
      'projection_class_embeddings_input_dim must be above 6 times addition_time_embed_dim, got 48',
      unet,
      { ...xl, projection_class_embeddings_input_dim: 48 },
    ],
    ['conditioning_embedding_out_channels: Too small', controlnet, { conditioning_embedding_out_channels: [] }],
    [
      'controlnet_conditioning_channel_order: Invalid option',
      controlnet,
      { controlnet_conditioning_channel_order: 'grb' },
    ],
    ['adapter_type: Invalid option', adapter, { adapter_type: 'heavy_adapter' }],
    ['channels of a full_adapter must have 4 entries, got 3', adapter, { channels: [8, 8, 8] }],
    [
      'channels of a light_adapter must be divisible by 4, got 8,6',
      adapter,
      { adapter_type: 'light_adapter', channels: [8, 6] },
    ],
    ['downscale_factor: Invalid input, got 7', adapter, { downscale_factor: 7 }],
    ['down_block_types must have 2 entries, got 1', vae, { block_out_channels: [32, 32] }],
    ['block_out_channels must be divisible by 32 groups, got 40', vae, { block_out_channels: [40] }],
    ['scaling_factor: Too small: expected number to be >0, got 0', vae, { scaling_factor: 0 }],
    ['hidden_act: Invalid option', clip, { hidden_act: 'relu' }],
    ['hidden_size must be divisible by 7 heads, got 512', clip, { num_attention_heads: 7 }],
    ['eos_token_id: Invalid input', clip, { eos_token_id: [2, 3] }],
    [
      'architectures: Invalid input: expected array, received string, got "CLIPTextModel"',
      clip,
      { architectures: 'CLIPTextModel' },
    ],
    ['vision_config of config.json: it must be a JSON object, got 3', safety, { vision_config: 3 }],
    [
      'vision_config of config.json: image_size must be at least patch_size 32, got 8',
      safety,
      { vision_config: { image_size: 8 } },
    ],
    ['config.json: it must be a JSON object, got ["a"]', unet, ['a']],
    ['config.json: it must be a JSON object, got null', vae, null],
    ['the file: Invalid input: expected object, received array, got []', scheduler, []],
  ])('%s', (message, { parse }, json) => {
    expect(() => parse(json)).toThrow(UserError);
    expect(() => parse(json)).toThrow(message);
  });
});

describe('refusal stays short', () => {
  let nested: unknown = [];
  for (let i = 0; i < 100_000; i++) nested = i % 2 === 0 ? [nested] : { a: nested };
  const wrong = Array(100_000).fill('x');
  test.each<[string, () => unknown]>([
    ['when a field nests deeply', () => unet.parse({ in_channels: nested })],
    ['when a fixed field nests deeply', () => unet.parse({ act_fn: nested })],
    ['when the file nests deeply', () => vae.parse([nested])],
    ['when a field of a scheduler nests deeply', () => scheduler.parse({ _class_name: nested })],
    ['when a list is long and all of it wrong', () => clip.parse({ architectures: Array(100_000).fill(1) })],
    [
      'when a list of a scheduler is long and all of it wrong',
      () => scheduler.parse({ _class_name: 'DDIMScheduler', trained_betas: wrong }),
    ],
    ['when a text is long', () => unet.parse({ act_fn: 'x'.repeat(1e6) })],
  ])('%s', (_, parse) => {
    expect(parse).toThrow(UserError);
    expect(parse).toThrow(expect.objectContaining({ message: expect.stringMatching(/^.{1,2000}$/s) }));
  });
});
