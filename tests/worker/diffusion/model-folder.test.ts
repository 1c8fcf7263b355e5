import { readdir, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { UserError } from '../../../shared/errors.ts';
import { openModelFolder } from '../../../worker/diffusion/model-folder.ts';
import { saveTinyNetwork, saveTinyPipeline, type TinyPipelineOptions } from '../../support/tiny-folder.ts';
import { temporaryFolder, tinyConfigs } from '../../support/tiny-models.ts';

async function tinyFolder(options: TinyPipelineOptions = {}): Promise<string> {
  const folder = await temporaryFolder();
  await saveTinyPipeline(folder, options);
  return folder;
}

async function expectRefused(folder: string, message: string | RegExp): Promise<void> {
  await expect(openModelFolder(folder)).rejects.toThrow(message);
  await expect(openModelFolder(folder)).rejects.toBeInstanceOf(UserError);
}

describe('pipeline folder opens', () => {
  test.each([
    ['unet-sd1', ['text_encoder']],
    ['unet-sd2', ['text_encoder']],
    ['unet-xl', ['text_encoder', 'text_encoder_2']],
    ['unet-lcm', ['text_encoder']],
    ['unet-inpaint', ['text_encoder']],
  ] as const)('with %s and its text encoders', async (unet, components) => {
    const folder = await tinyFolder({ unet });
    const model = await openModelFolder(folder);
    expect(model.textEncoders.map(({ component }) => component)).toEqual(components);
    expect(model.textEncoders.map(({ tokenizerFolder }) => tokenizerFolder)).toEqual(
      components.map((name) => join(folder, name.replace('text_encoder', 'tokenizer'))),
    );
    expect(model.forceZerosForEmptyPrompt).toBe(unet === 'unet-xl');
    expect(model.safetyChecker).toBeUndefined();
    expect(model.unet.config.inChannels).toBe(unet === 'unet-inpaint' ? 9 : 4);
  });

  test('with the settings of its scheduler', async () => {
    const scheduler = { _class_name: 'PNDMScheduler', prediction_type: 'v_prediction', skip_prk_steps: true };
    const model = await openModelFolder(await tinyFolder({ scheduler }));
    expect(model.scheduler).toMatchObject({ solver: 'pndm', predictionType: 'v_prediction', stepsOffset: 1 });
  });

  test('with its safety checker, or without it when its folder has been deleted', async () => {
    const folder = await tinyFolder({ withSafetyChecker: true });
    expect((await openModelFolder(folder)).safetyChecker?.config.projectionDim).toBe(12);
    await rm(join(folder, 'safety_checker'), { recursive: true });
    expect((await openModelFolder(folder)).safetyChecker).toBeUndefined();
  });

  test('without writing to it', async () => {
    const folder = await tinyFolder();
    const listing = async () => {
      const names = (await readdir(folder, { recursive: true })).sort();
      return Promise.all(names.map(async (name) => [name, (await stat(join(folder, name))).mtimeMs] as const));
    };
    const before = await listing();
    await openModelFolder(folder);
    expect(await listing()).toEqual(before);
  });
});

describe('pipeline folder is refused', () => {
  test('when it does not exist', async () => {
    await expectRefused('/nowhere/at/all', 'Cannot read /nowhere/at/all/model_index.json: the file does not exist');
  });

  test('when it has no model_index.json', async () => {
    const folder = await tinyFolder();
    await rm(join(folder, 'model_index.json'));
    await expectRefused(folder, `Cannot read ${folder}/model_index.json: the file does not exist`);
  });

  test.each([
    ['model_index.json', ''],
    ['model_index.json', '{"unet": '],
    ['unet/config.json', '<html>Not found</html>'],
    ['scheduler/scheduler_config.json', '{"beta_start": NaN}'],
  ])('when %s is not JSON but %j', async (name, text) => {
    const folder = await tinyFolder();
    await writeFile(join(folder, name), text);
    await expectRefused(folder, `Cannot read ${folder}/${name}: it must be JSON`);
  });

  test.each([
    ['[]', 'model_index.json must name a Stable Diffusion'],
    ['{}', 'unet: Invalid input'],
    [
      JSON.stringify({ unet: ['diffusers', 'FluxTransformer2DModel'] }),
      'unet.1: Invalid input: expected "UNet2DConditionModel"',
    ],
  ])('when model_index.json is %s', async (text, message) => {
    const folder = await tinyFolder();
    await writeFile(join(folder, 'model_index.json'), text);
    await expectRefused(folder, message);
  });

  test.each(['unet', 'vae', 'text_encoder', 'scheduler', 'text_encoder_2'])(
    'when the folder %s is missing',
    async (name) => {
      const folder = await tinyFolder({ unet: 'unet-xl' });
      await rm(join(folder, name), { recursive: true });
      await expectRefused(folder, new RegExp(`^Cannot read ${folder}/${name}/\\w+\\.json: the file does not exist$`));
    },
  );

  test('when weights are missing', async () => {
    const folder = await tinyFolder();
    await rm(join(folder, 'unet', 'diffusion_pytorch_model.safetensors'));
    await expectRefused(folder, `Cannot find the weights in ${folder}/unet`);
  });

  test('when weights belong to another configuration', async () => {
    const folder = await tinyFolder();
    await writeFile(
      join(folder, 'unet', 'config.json'),
      JSON.stringify({ ...tinyConfigs['unet-sd1'], cross_attention_dim: 20 }),
    );
    await expectRefused(folder, /wrong shapes: .*attn2\.to_k\.weight must be \[8, 20\], got \[8, 12\]/);
  });

  test('when UNet and text encoder do not fit', async () => {
    const folder = await tinyFolder();
    await saveTinyNetwork(join(folder, 'text_encoder'), 'CLIPTextModel', tinyConfigs['clip-gelu']);
    await expectRefused(
      folder,
      `Cannot use ${folder}: cross_attention_dim of the UNet must be the text encoders' 16, got 12,12,12,12`,
    );
  });

  test('when the UNet gives other channels than the VAE takes', async () => {
    const folder = await tinyFolder();
    await saveTinyNetwork(join(folder, 'vae'), 'AutoencoderKL', { ...tinyConfigs.vae, latent_channels: 8 });
    await expectRefused(folder, `Cannot use ${folder}: the UNet must give 8 channels, got 4`);
  });

  test.each([
    ['none', 'CLIPTextModel', { ...tinyConfigs['clip-proj'], architectures: ['CLIPTextModel'] }],
    ['20', 'CLIPTextModelWithProjection', { ...tinyConfigs['clip-proj'], projection_dim: 20 }],
  ] as const)("when SDXL's second text encoder has a projection of %s", async (width, className, config) => {
    const folder = await tinyFolder({ unet: 'unet-xl' });
    await saveTinyNetwork(join(folder, 'text_encoder_2'), className, config);
    await expectRefused(folder, `the last text encoder's projection must have the UNet's 16 features, got ${width}`);
  });

  test('when a component cannot be read, as a fault of the machine', async () => {
    const folder = await tinyFolder();
    const file = join(folder, 'vae', 'config.json');
    await rm(file);
    // A folder in the place of the file.
    await saveTinyNetwork(file, 'AutoencoderKL', tinyConfigs.vae);
    await expect(openModelFolder(folder)).rejects.toThrow('EISDIR');
    await expect(openModelFolder(folder)).rejects.not.toBeInstanceOf(UserError);
  });
});
