import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { UserError } from '../../../shared/errors.ts';
import { type ControlRequest, loadControlFeed, openControls } from '../../../worker/diffusion/controls.ts';
import { type ModelFolder, openModelFolder } from '../../../worker/diffusion/model-folder.ts';
import { saveTinyNetwork, saveTinyPipeline } from '../../support/tiny-folder.ts';
import { goldenControlImage, tinyConfigs } from '../../support/tiny-models.ts';

const SIZE = { height: 64, width: 64 };
let root: string;
let models: { sd1: ModelFolder; xl: ModelFolder };
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'sketchbooth-'));
  await saveTinyPipeline(join(root, 'sd1'), { unet: 'unet-sd1' });
  await saveTinyPipeline(join(root, 'xl'), { unet: 'unet-xl' });
  models = { sd1: await openModelFolder(join(root, 'sd1')), xl: await openModelFolder(join(root, 'xl')) };
  const { 'controlnet-sd1': controlnet, 't2i-full': adapter } = tinyConfigs;
  for (const [name, config] of Object.entries({
    controlnet,
    'controlnet-xl': tinyConfigs['controlnet-xl'],
    'controlnet-wide': { ...controlnet, cross_attention_dim: 16 },
    'controlnet-deep': { ...controlnet, layers_per_block: 1 },
    'controlnet-nine': { ...controlnet, in_channels: 9 },
    'controlnet-shallow': { ...controlnet, conditioning_embedding_out_channels: [4, 8, 8] },
    'controlnet-shuffle': { ...controlnet, global_pool_conditions: true },
    'controlnet-grey': { ...controlnet, conditioning_channels: 1 },
  })) {
    await saveTinyNetwork(join(root, name), 'ControlNetModel', config);
  }
  for (const [name, config] of Object.entries({
    adapter,
    'adapter-xl': tinyConfigs['t2i-full-xl'],
    'adapter-light': tinyConfigs['t2i-light'],
    'adapter-fine': { ...adapter, downscale_factor: 4 },
    'adapter-narrow': { ...adapter, channels: [8, 16, 16, 8] },
  })) {
    await saveTinyNetwork(join(root, name), 'T2IAdapter', config);
  }
});
afterAll(() => rm(root, { recursive: true }));

const request = (kind: ControlRequest['kind'], name: string, more: Partial<ControlRequest> = {}): ControlRequest => ({
  kind,
  folder: join(root, name),
  loadImage: async (channels) => goldenControlImage('cond', [1, channels, 64, 64]),
  conditioningScale: 1,
  controlGuidanceStart: 0,
  controlGuidanceEnd: 1,
  isGuessMode: false,
  ...more,
});

test('controls open under names of their own, in the order of the request', async () => {
  const requests = [
    request('adapter', 'adapter'),
    request('controlnet', 'controlnet'),
    request('controlnet', 'controlnet-grey'),
    request('adapter', 'adapter-light'),
  ];
  const controls = await openControls(requests, { model: models.sd1, size: SIZE });
  expect(controls.map(({ component }) => component)).toEqual([
    'adapter.0',
    'controlnet.0',
    'controlnet.1',
    'adapter.1',
  ]);
  const feeds = await Promise.all(controls.map(loadControlFeed));
  expect(feeds.map(({ image }) => image.dims[1])).toEqual([3, 3, 1, 3]);
});

test('controls of SDXL open with its model', async () => {
  const requests = [request('adapter', 'adapter-xl'), request('controlnet', 'controlnet-xl')];
  expect(await openControls(requests, { model: models.xl, size: SIZE })).toHaveLength(2);
});

test('control guesses when asked to, and always when it averages over the picture', async () => {
  const requests = ['controlnet', 'controlnet-shuffle'].map((name) => request('controlnet', name));
  const guessing = request('controlnet', 'controlnet', { isGuessMode: true });
  const controls = await openControls([...requests, guessing], { model: models.sd1, size: SIZE });
  expect(controls.map(({ isGuessMode }) => isGuessMode)).toEqual([false, true, true]);
});

describe('control is refused when', () => {
  test.each<[string, ControlRequest['kind'], string, string]>([
    [
      'it belongs to another family',
      'controlnet',
      'controlnet-xl',
      "block_out_channels must be the model's 8,16,16,16, got 8,16,16",
    ],
    [
      'it reads other prompts',
      'controlnet',
      'controlnet-wide',
      "cross_attention_dim must be the model's 12,12,12,12, got 16,16,16,16",
    ],
    [
      'it has fewer layers',
      'controlnet',
      'controlnet-deep',
      "layers_per_block must be the model's 2,2,2,2, got 1,1,1,1",
    ],
    ['it reads other latents', 'controlnet', 'controlnet-nine', "in_channels must be the model's 4, got 9"],
    [
      'it halves its image too seldom',
      'controlnet',
      'controlnet-shallow',
      "pixels per latent must be the model's 8, got 4",
    ],
    ['it is an adapter', 'controlnet', 'adapter', 'Cannot use the weights in'],
    ['it is a ControlNet', 'adapter', 'controlnet', 'Cannot use the weights in'],
    ['it is a whole pipeline', 'controlnet', 'sd1', 'config.json: the file does not exist'],
    ['its folder is missing', 'adapter', 'absent', 'config.json: the file does not exist'],
    ['it is an adapter of SDXL', 'adapter', 'adapter-xl', 'full_adapter_xl belongs to SDXL'],
    ['it is an adapter of another scale', 'adapter', 'adapter-fine', 'its downscale_factor must be 8, got 4'],
    [
      'it is an adapter of other widths',
      'adapter',
      'adapter-narrow',
      "its features must have the model's channels 8,16,16,16, got 8,16,16,8",
    ],
  ])('%s', async (_, kind, name, message) => {
    const opening = openControls([request(kind, name)], { model: models.sd1, size: SIZE });
    await expect(opening).rejects.toThrow(message);
    await expect(opening).rejects.toBeInstanceOf(UserError);
  });

  test.each([
    [{ conditioningScale: Number.NaN }, 'its scale must be a number from -100 to 100, got NaN'],
    [{ conditioningScale: 101 }, 'its scale must be a number from -100 to 100, got 101'],
    [
      { controlGuidanceStart: 0.5, controlGuidanceEnd: 0.5 },
      'start and end must satisfy 0 <= start < end <= 1, got 0.5 and 0.5',
    ],
    [{ controlGuidanceStart: -0.1 }, 'got -0.1 and 1'],
    [{ controlGuidanceEnd: Number.NaN }, 'got 0 and NaN'],
  ])('it is asked for with %o', async (more, message) => {
    const opening = openControls([request('controlnet', 'controlnet', more)], { model: models.sd1, size: SIZE });
    await expect(opening).rejects.toThrow(message);
    await expect(opening).rejects.toBeInstanceOf(UserError);
  });

  test.each([
    ['adapter', { height: 64, width: 72 }, 'multiples of 64, got 72 x 64'],
    ['adapter-light', { height: 96, width: 64 }, 'multiples of 64, got 64 x 96'],
  ])('the size does not fit %s', async (name, size, message) => {
    const opening = openControls([request('adapter', name)], { model: models.sd1, size });
    await expect(opening).rejects.toThrow(message);
  });
});
