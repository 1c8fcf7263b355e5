import { mkdir, readdir, readFile, rename, stat, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { UserError } from '../../../shared/errors.ts';
import { openModelFolder } from '../../../worker/diffusion/model-folder.ts';
import { openNetwork } from '../../../worker/diffusion/network-folder.ts';
import {
  controlnetClass,
  type NetworkClass,
  t2iAdapterClass,
  textEncoderClass,
  unetClass,
  vaeClass,
} from '../../../worker/networks/network-classes.ts';
import { parseT2iAdapterConfig } from '../../../worker/networks/t2i-adapter.ts';
import type { Checkpoint } from '../../../worker/runtime/checkpoint.ts';
import { loadTensor, readSafetensorsHeader, saveSafetensors } from '../../../worker/runtime/safetensors.ts';
import { controlnetJson, t2iAdapterJson } from '../../../worker/training/network-config.ts';
import { saveModelFolder, saveNetworkFolder } from '../../../worker/training/save-network.ts';
import type { TrainedTensors } from '../../../worker/training/trained-tensors.ts';
import { goldenTensor } from '../../support/golden.ts';
import { saveTinyPipeline } from '../../support/tiny-folder.ts';
import { temporaryFolder, tinyConfigs } from '../../support/tiny-models.ts';

/** Values for every tensor of a network that differ from those of the golden folders. */
function train<Config>({ parseConfig, tensorShapes }: NetworkClass<Config>, config: unknown): TrainedTensors {
  const shapes = tensorShapes(parseConfig(config, 'config.json'));
  return new Map([...shapes].map(([name, shape]) => [name, { shape, values: goldenTensor(`trained:${name}`, shape) }]));
}

async function valuesOf({ parameters }: Checkpoint): Promise<Map<string, Float32Array>> {
  const values = new Map<string, Float32Array>();
  for (const [name, stored] of parameters) values.set(name, await loadTensor({ ...stored, name, shape: [] }));
  return values;
}

const trainedValues = (tensors: TrainedTensors) => new Map([...tensors].map(([name, { values }]) => [name, values]));

test('a fine-tuned model opens with the trained tensors and everything else of its source', async () => {
  const root = await temporaryFolder();
  const [source, target] = [join(root, 'model'), join(root, 'out', 'tuned')];
  await saveTinyPipeline(source, { unet: 'unet-xl' });
  await mkdir(join(source, '.git'));
  for (const [name, text] of [
    ['README.md', 'the card'],
    ['v1-pruned.ckpt', 'the untrained pipeline'],
    ['.git/config', 'hidden'],
    ['unet/diffusion_pytorch_model.fp16.safetensors', 'an untrained variant'],
    ['unet/diffusion_pytorch_model.bin', 'an untrained pickle'],
    ['vae/diffusion_pytorch_model.bin', 'kept'],
  ] as const) {
    await writeFile(join(source, name), text);
  }
  const unet = train(unetClass, tinyConfigs['unet-xl']);
  await saveModelFolder({ source, target }, { unet }, { dtype: 'F32' });
  const [before, after] = await Promise.all([openModelFolder(source), openModelFolder(target)]);
  expect(await valuesOf(after.unet.checkpoint)).toEqual(trainedValues(unet));
  expect(await valuesOf(after.vae.checkpoint)).toEqual(await valuesOf(before.vae.checkpoint));
  expect(after.unet.config).toEqual(before.unet.config);
  expect(after.scheduler).toEqual(before.scheduler);
  expect((await readdir(target)).sort()).toEqual(
    (await readdir(source)).filter((name) => name !== '.git' && name !== 'v1-pruned.ckpt').sort(),
  );
  expect(await readdir(join(target, 'unet'))).toEqual(['config.json', 'diffusion_pytorch_model.safetensors']);
  expect(await readdir(join(target, 'vae'))).toContain('diffusion_pytorch_model.bin');
  expect(await readdir(join(root, 'out'))).toEqual(['tuned']);
});

test('unchanged weights are hard links and configurations are copies', async () => {
  const root = await temporaryFolder();
  const [source, target] = [join(root, 'model'), join(root, 'tuned')];
  await saveTinyPipeline(source);
  // As in a downloader's cache, where the folders hold links.
  const weights = join(source, 'vae', 'diffusion_pytorch_model.safetensors');
  await rename(weights, join(root, 'blob'));
  await symlink('../../blob', weights);
  await saveModelFolder({ source, target }, { unet: train(unetClass, tinyConfigs['unet-sd1']) }, { dtype: 'F32' });
  const inode = async (...parts: string[]) => (await stat(join(...parts))).ino;
  expect(await inode(target, 'vae', 'diffusion_pytorch_model.safetensors')).toBe(await inode(root, 'blob'));
  expect(await inode(target, 'vae', 'config.json')).not.toBe(await inode(source, 'vae', 'config.json'));
  expect((await openModelFolder(target)).vae.config).toEqual((await openModelFolder(source)).vae.config);
});

test('old names, old shapes and unread tensors of the source are kept', async () => {
  const root = await temporaryFolder();
  const [source, target] = [join(root, 'model'), join(root, 'tuned')];
  await saveTinyPipeline(source);
  const vae = train(vaeClass, tinyConfigs.vae);
  const textConfig = { ...tinyConfigs['clip-quickgelu'], vocab_size: 656 };
  const text = train(textEncoderClass, textConfig);
  const oldNames: Record<string, string> = { to_q: 'query', to_k: 'key', to_v: 'value', 'to_out.0': 'proj_attn' };
  const oldVae = [...vae].map(([name, { shape }]) => {
    const old = name.replace(/(?<=attentions\.0\.)(to_[qkv]|to_out\.0)/, (now) => oldNames[now]!);
    const isMatrix = old !== name && shape.length === 2;
    const stored = isMatrix ? [...shape, 1, 1] : shape;
    return [old, { dtype: 'F16', shape: stored, values: goldenTensor(name, shape) }] as const;
  });
  await saveSafetensors(join(source, 'vae', 'diffusion_pytorch_model.safetensors'), oldVae);
  const positions = BigInt64Array.from({ length: 77 }, (_, i) => BigInt(i));
  await saveSafetensors(join(source, 'text_encoder', 'model.safetensors'), [
    ['text_model.embeddings.position_ids', { dtype: 'I64', shape: [1, 77], values: positions }],
    ...[...text].map(([name, { shape }]) => {
      const stored = { dtype: 'BF16', shape, values: goldenTensor(name, shape) } as const;
      return [name.replace('text_model.', ''), stored] as const;
    }),
  ]);
  const [frozen, ...moved] = [...text.keys()] as [string, ...string[]];
  const trainedText = new Map(moved.map((name) => [name, text.get(name)!]));
  await saveModelFolder({ source, target }, { vae, text_encoder: trainedText }, { dtype: 'F16' });
  const after = await openModelFolder(target);
  const rounded = (values: Map<string, Float32Array>) =>
    new Map([...values].map(([name, numbers]) => [name, numbers.map((value) => Math.round(value * 512) / 512)]));
  const vaeFile = join('vae', 'diffusion_pytorch_model.safetensors');
  const shapes = async (...parts: string[]) => {
    const { tensors } = await readSafetensorsHeader(join(...parts));
    return [...tensors.values()].map(({ name, shape }) => [name, shape]);
  };
  expect(await shapes(target, vaeFile)).toEqual(await shapes(source, vaeFile));
  expect(await shapes(target, vaeFile)).toContainEqual(['decoder.mid_block.attentions.0.query.weight', [16, 16, 1, 1]]);
  const textFile = join('text_encoder', 'model.safetensors');
  expect(await shapes(target, textFile)).toEqual(await shapes(source, textFile));
  const header = await readSafetensorsHeader(join(target, textFile));
  const ids = header.tensors.get('text_model.embeddings.position_ids')!;
  const bytes = await readFile(ids.file);
  expect(new BigInt64Array(bytes.buffer.slice(ids.offset, ids.offset + ids.sizeBytes))).toEqual(positions);
  const values = await valuesOf(after.vae.checkpoint);
  for (const [name, numbers] of trainedValues(vae)) {
    // Half precision keeps 11 bits.
    numbers.forEach((value, i) => {
      expect(Math.abs(values.get(name)![i]! - value)).toBeLessThanOrEqual(Math.abs(value) / 2048 + 1e-7);
    });
  }
  const texts = await valuesOf(after.textEncoders[0]!.checkpoint);
  const frozenBefore = (await valuesOf((await openModelFolder(source)).textEncoders[0]!.checkpoint)).get(frozen)!;
  expect(rounded(new Map([[frozen, texts.get(frozen)!]]))).toEqual(rounded(new Map([[frozen, frozenBefore]])));
});

test('a ControlNet folder is made from its UNet and opens with the trained tensors', async () => {
  for (const name of ['sd1', 'xl'] as const) {
    const target = join(await temporaryFolder(), 'controlnet');
    const unet = { ...tinyConfigs[`unet-${name}`], _diffusers_version: '0.42.0', sample_size: 64, out_channels: 4 };
    const config = controlnetJson(unet, { embeddingChannels: [4, 4, 8, 8], conditioningChannels: 3 });
    const tensors = train(controlnetClass, config);
    await saveNetworkFolder(target, { className: 'ControlNetModel', config, tensors }, { dtype: 'F32' });
    const network = await openNetwork(target, controlnetClass);
    const published = controlnetClass.parseConfig(tinyConfigs[`controlnet-${name}`], 'config.json');
    expect(network.config).toEqual({ ...published, sampleSize: undefined });
    expect(await valuesOf(network.checkpoint)).toEqual(trainedValues(tensors));
    const json = JSON.parse(await readFile(join(target, 'config.json'), 'utf8'));
    expect(json).toMatchObject({ _class_name: 'ControlNetModel', conditioning_embedding_out_channels: [4, 4, 8, 8] });
    expect(Object.keys(json)).not.toContain('out_channels');
  }
});

test.each(['t2i-full', 't2i-full-xl', 't2i-light'] as const)('a T2I-Adapter folder opens as %s', async (name) => {
  const target = join(await temporaryFolder(), 'adapter');
  const config = parseT2iAdapterConfig(tinyConfigs[name]);
  const tensors = train(t2iAdapterClass, tinyConfigs[name]);
  const network = { className: 'T2IAdapter', config: t2iAdapterJson(config), tensors } as const;
  await saveNetworkFolder(target, network, { dtype: 'F32' });
  const opened = await openNetwork(target, t2iAdapterClass);
  expect(opened.config).toEqual(config);
  expect(await valuesOf(opened.checkpoint)).toEqual(trainedValues(tensors));
});

test('a target that holds something is refused and stays as it was', async () => {
  const root = await temporaryFolder();
  const [source, full, empty] = [join(root, 'model'), join(root, 'full'), join(root, 'empty')];
  await saveTinyPipeline(source);
  await mkdir(full);
  await mkdir(empty);
  await writeFile(join(full, 'mine.txt'), 'mine');
  const unet = train(unetClass, tinyConfigs['unet-sd1']);
  const save = (target: string) => saveModelFolder({ source, target }, { unet }, { dtype: 'F32' });
  await expect(save(full)).rejects.toThrow(UserError);
  await expect(save(full)).rejects.toThrow('the folder must be empty, got 1 entries');
  await expect(save(join(full, 'mine.txt'))).rejects.toThrow('it must be a folder, got a file');
  await expect(save(join(source, 'tuned'))).rejects.toThrow('the folder must not lie in the model');
  await mkdir(join(root, '.empty.0f8a.partial'));
  await save(empty);
  await openModelFolder(empty);
  expect((await readdir(root)).sort()).toEqual(['empty', 'full', 'model']);
});

test('a model is put beside what its lesson wrote down, also after an attempt that was killed half way', async () => {
  const root = await temporaryFolder();
  const [source, target] = [join(root, 'model'), join(root, 'lesson')];
  await saveTinyPipeline(source);
  await mkdir(join(target, 'unet'), { recursive: true });
  await writeFile(join(target, 'lesson.jsonl'), 'what happened');
  await writeFile(join(target, 'unet', 'half.safetensors'), 'half');
  const unet = train(unetClass, tinyConfigs['unet-sd1']);
  const save = () => saveModelFolder({ source, target }, { unet }, { dtype: 'F32' });
  await save();
  expect(await valuesOf((await openModelFolder(target)).unet.checkpoint)).toEqual(trainedValues(unet));
  expect(await readdir(join(target, 'unet'))).toEqual(['config.json', 'diffusion_pytorch_model.safetensors']);
  expect(await readFile(join(target, 'lesson.jsonl'), 'utf8')).toBe('what happened');
  expect((await readdir(root)).sort()).toEqual(['lesson', 'model']);
  await expect(save()).rejects.toThrow('the folder must be empty');
});

test('tensors that the model does not have leave no folder', async () => {
  const root = await temporaryFolder();
  const [source, target] = [join(root, 'model'), join(root, 'tuned')];
  await saveTinyPipeline(source);
  const save = (name: string, shape: number[]) => {
    const tensor = { shape, values: new Float32Array(shape.reduce((product, size) => product * size, 1)) };
    return saveModelFolder({ source, target }, { unet: new Map([[name, tensor]]) }, { dtype: 'F32' });
  };
  await expect(save('conv_in.wait', [8])).rejects.toThrow("every tensor must be one of the model's, got conv_in.wait");
  await expect(save('conv_in.bias', [9])).rejects.toThrow('the shape must be [8], got [9]');
  expect(await readdir(root)).toEqual(['model']);
});
