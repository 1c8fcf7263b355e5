import { expect, test } from 'vitest';
import { UserError } from '../../../shared/errors.ts';
import { selectFiles } from '../../../worker/models/select-files.ts';

const UNET_ONLY = { _class_name: 'StableDiffusionPipeline', unet: ['diffusers', 'UNet2DConditionModel'] };

function select(files: Record<string, unknown>, variant?: string): Promise<string[]> {
  const view = {
    id: 'maker/model',
    paths: new Set(Object.keys(files)),
    readJson: async (path: string) => files[path],
  };
  return selectFiles(view, variant);
}

async function expectRefusal(files: Record<string, unknown>, message: RegExp): Promise<void> {
  const error = await select(files).then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(UserError);
  expect(String(error)).toMatch(message);
}

test('selection follows the index when weights are in shards', async () => {
  const selected = await select({
    'model_index.json': UNET_ONLY,
    'unet/config.json': {},
    'unet/diffusion_pytorch_model.safetensors.index.json': {
      weight_map: {
        a: 'diffusion_pytorch_model-00001-of-00002.safetensors',
        b: 'diffusion_pytorch_model-00002-of-00002.safetensors',
        c: 'diffusion_pytorch_model-00001-of-00002.safetensors',
      },
    },
    'unet/diffusion_pytorch_model-00001-of-00002.safetensors': undefined,
    'unet/diffusion_pytorch_model-00002-of-00002.safetensors': undefined,
    'unet/diffusion_pytorch_model-00001-of-00003.safetensors': undefined,
  });
  expect(selected).toEqual([
    'model_index.json',
    'unet/config.json',
    'unet/diffusion_pytorch_model.safetensors.index.json',
    'unet/diffusion_pytorch_model-00001-of-00002.safetensors',
    'unet/diffusion_pytorch_model-00002-of-00002.safetensors',
  ]);
});

test.each([
  'diffusion_pytorch_model.safetensors.index.fp16.json',
  'diffusion_pytorch_model.fp16.safetensors.index.json',
])('selection finds the shards of a variant by %s', async (index) => {
  const shard = 'diffusion_pytorch_model.fp16-00001-of-00001.safetensors';
  const files = {
    'model_index.json': UNET_ONLY,
    'unet/config.json': {},
    'unet/diffusion_pytorch_model.safetensors': undefined,
    [`unet/${index}`]: { weight_map: { a: shard } },
    [`unet/${shard}`]: undefined,
  };
  expect(await select(files, 'fp16')).toEqual([
    'model_index.json',
    'unet/config.json',
    `unet/${index}`,
    `unet/${shard}`,
  ]);
  expect(await select(files)).toContain('unet/diffusion_pytorch_model.safetensors');
});

test('selection takes a ControlNet or T2I-Adapter by its class', async () => {
  for (const className of ['ControlNetModel', 'T2IAdapter']) {
    const files = {
      'config.json': { _class_name: className },
      'diffusion_pytorch_model.safetensors': undefined,
      'diffusion_pytorch_model.bin': undefined,
      'images/example.png': undefined,
    };
    expect(await select(files)).toEqual(['config.json', 'diffusion_pytorch_model.safetensors']);
  }
});

test('selection takes every tokenizer and text encoder of SDXL', async () => {
  const networks = ['text_encoder/model', 'text_encoder_2/model', 'unet/diffusion_pytorch_model'];
  const files = {
    'model_index.json': {
      _class_name: 'StableDiffusionXLPipeline',
      text_encoder: ['transformers', 'CLIPTextModel'],
      text_encoder_2: ['transformers', 'CLIPTextModelWithProjection'],
      tokenizer: ['transformers', 'CLIPTokenizer'],
      tokenizer_2: ['transformers', 'CLIPTokenizer'],
      unet: ['diffusers', 'UNet2DConditionModel'],
      image_encoder: [null, null],
      force_zeros_for_empty_prompt: true,
    },
    ...Object.fromEntries(networks.map((stem) => [`${stem.split('/')[0]}/config.json`, {}])),
    ...Object.fromEntries(networks.map((stem) => [`${stem}.safetensors`, undefined])),
    ...Object.fromEntries(
      ['tokenizer', 'tokenizer_2'].flatMap((folder) => [
        [`${folder}/vocab.json`, {}],
        [`${folder}/merges.txt`, undefined],
      ]),
    ),
    'vae_decoder/model.onnx': undefined,
  };
  const selected = await select(files);
  expect(selected.toSorted()).toEqual(
    Object.keys(files)
      .filter((path) => !path.endsWith('.onnx'))
      .toSorted(),
  );
});

test('repository with pickles only is refused with their names', async () => {
  await expectRefusal(
    { 'model_index.json': UNET_ONLY, 'unet/config.json': {}, 'unet/diffusion_pytorch_model.bin': undefined },
    /must hold unet\/diffusion_pytorch_model\.safetensors, got only unet\/diffusion_pytorch_model\.bin/,
  );
});

test('repository that has weights only as a variant is refused with the flag to add', async () => {
  await expectRefusal(
    {
      'model_index.json': UNET_ONLY,
      'unet/config.json': {},
      'unet/diffusion_pytorch_model.fp16.safetensors': undefined,
    },
    /only as a variant; add --variant fp16/,
  );
});

test('repository that lacks a shard is refused with its name', async () => {
  await expectRefusal(
    {
      'model_index.json': UNET_ONLY,
      'unet/config.json': {},
      'unet/diffusion_pytorch_model.safetensors.index.json': { weight_map: { a: 'part-2.safetensors' } },
    },
    /must hold unet\/part-2\.safetensors, which is missing/,
  );
});

test.each([
  ['a single-file checkpoint', { 'model.safetensors': undefined }, /got the single-file checkpoint model\.safetensors/],
  ['a LoRA', { 'pytorch_lora_weights.safetensors': undefined }, /not a single LoRA or embedding file/],
  ['an embedding', { 'learned_embeds.safetensors': undefined }, /not a single LoRA or embedding file/],
  ['another network', { 'config.json': { model_type: 'llama' } }, /ControlNetModel or T2IAdapter, got no _class_name/],
  [
    'a pipeline without a UNet',
    { 'model_index.json': { _class_name: 'FluxPipeline', transformer: ['diffusers', 'FluxTransformer2DModel'] } },
    /needs a unet of class UNet2DConditionModel, got a FluxPipeline without a unet/,
  ],
  [
    'a component outside its folder',
    { 'model_index.json': { ...UNET_ONLY, '../up': ['diffusers', 'AutoencoderKL'] } },
    /components are folder names, got "\.\.\/up"/,
  ],
  [
    'shards outside its folder',
    {
      'model_index.json': UNET_ONLY,
      'unet/config.json': {},
      'unet/diffusion_pytorch_model.safetensors.index.json': { weight_map: { a: '../up.safetensors' } },
    },
    /must name safetensors files beside it/,
  ],
  ['nothing', {}, /must hold model_index\.json/],
])('repository with %s is refused', async (_case, files, message) => {
  await expectRefusal(files, message);
});
