import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { type Config, loadConfig } from '../../../shared/config.ts';
import { listModels, registerFolder, resolveModel } from '../../../worker/models/registry.ts';
import { POCKET_FOLDER } from '../../../worker/pocket/folder.ts';

let root: string;
let config: Config;

const shipped = { name: 'pocket', folder: join(POCKET_FOLDER, 'model') };

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'sketchbooth-registry-'));
  config = loadConfig({ DATA_DIR: root });
});

afterEach(() => rm(root, { recursive: true }));

async function makeModel(folder: string): Promise<string> {
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, 'model_index.json'), '{}');
  return folder;
}

test('registered and downloaded models are listed by name, unfinished downloads are not', async () => {
  const elsewhere = await makeModel(join(root, 'elsewhere'));
  const downloaded = await makeModel(join(config.modelsDir, 'downloaded'));
  await makeModel(join(config.modelsDir, 'unfinished.partial'));
  expect(await registerFolder(elsewhere, config)).toBe('elsewhere');
  expect(await listModels(config)).toEqual([
    { name: 'downloaded', folder: downloaded },
    { name: 'elsewhere', folder: elsewhere },
    shipped,
  ]);
  expect(JSON.parse(await readFile(join(config.modelsDir, 'registry.json'), 'utf8'))).toEqual({ elsewhere });
  expect((await readdir(config.modelsDir)).toSorted()).toEqual(['downloaded', 'registry.json', 'unfinished.partial']);
});

test('the shipped model alone is listed before the first is added', async () => {
  expect(await listModels(config)).toEqual([shipped]);
});

test('shipped networks are found by name, each as what it is asked for', async () => {
  expect(await resolveModel('pocket', config)).toBe(shipped.folder);
  for (const kind of ['controlnet', 'adapter'] as const) {
    await expect(resolveModel('pocket/nothing', config, kind)).rejects.toThrow(/names known \(pocket\), got pocket/);
  }
  await expect(resolveModel('pocket/../..', config, 'controlnet')).rejects.toThrow('names known');
});

test('model is found by folder, by name, and otherwise refused with the names known', async () => {
  const folder = await makeModel(join(root, 'elsewhere'));
  await registerFolder(folder, config, 'mine');
  expect(await resolveModel(folder, config)).toBe(folder);
  expect(await resolveModel('mine', config)).toBe(folder);
  await expect(resolveModel('yours', config)).rejects.toThrow('the names known (mine, pocket), got yours');
  await rm(folder, { recursive: true });
  await expect(resolveModel('mine', config)).rejects.toThrow(`its folder must exist, got ${folder}`);
});

test('unfinished download is not found by name', async () => {
  await makeModel(join(config.modelsDir, 'unfinished.partial'));
  await expect(resolveModel('unfinished.partial', config)).rejects.toThrow(
    'the names known (pocket), got unfinished.partial',
  );
});

test.each(['../up', '', '.hidden', 'a/b', 'model.partial', 'registry.json', 'x.lock'])(
  'name "%s" is refused',
  async (name) => {
    const folder = await makeModel(join(root, 'elsewhere'));
    await expect(registerFolder(folder, config, name)).rejects.toThrow(/Cannot name a model/);
  },
);

test('name that is taken is refused', async () => {
  const folder = await makeModel(join(root, 'elsewhere'));
  await makeModel(join(config.modelsDir, 'downloaded'));
  await registerFolder(folder, config, 'mine');
  for (const name of ['mine', 'downloaded']) {
    await expect(registerFolder(folder, config, name)).rejects.toThrow(/its name must be new/);
  }
});

test('damaged registry is refused with its path', async () => {
  await mkdir(config.modelsDir);
  await writeFile(join(config.modelsDir, 'registry.json'), '{"mine":');
  await expect(listModels(config)).rejects.toThrow(`Cannot read ${join(config.modelsDir, 'registry.json')}`);
});

test('folders that are registered at the same time are all kept or refused', async () => {
  const folder = await makeModel(join(root, 'elsewhere'));
  const names = ['a', 'b', 'c', 'd'];
  const results = await Promise.allSettled(names.map((name) => registerFolder(folder, config, name)));
  const kept = names.filter((_, index) => results[index]?.status === 'fulfilled');
  expect(kept.length).toBeGreaterThan(0);
  expect((await listModels(config)).map(({ name }) => name)).toEqual([...kept, 'pocket']);
});
