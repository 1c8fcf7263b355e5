import { mkdir, mkdtemp, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { UserError } from '../../../shared/errors.ts';
import { RandomGenerator } from '../../../worker/runtime/random.ts';
import { loadTensor, SafetensorsError, saveSafetensors } from '../../../worker/runtime/safetensors.ts';
import { findComponentWeights } from '../../../worker/runtime/weight-files.ts';

let root: string;
let folder: string;

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'weight-files-'));
});
afterAll(() => rm(root, { recursive: true }));
beforeEach(async () => {
  folder = await mkdtemp(join(root, 'unet-'));
});

/** Writes one-element tensors; the value tells which file a tensor came from. */
async function save(name: string, tensors: Readonly<Record<string, number>> = { weight: 1 }): Promise<void> {
  const entries = Object.entries(tensors).map(
    ([tensor, value]) => [tensor, { dtype: 'F32', shape: [1], values: Float32Array.of(value) }] as const,
  );
  await saveSafetensors(join(folder, name), entries);
}

function saveIndex(name: string, weightMap: Readonly<Record<string, string>>): Promise<void> {
  const index = { metadata: { total_size: 8 }, weight_map: weightMap };
  return writeFile(join(folder, name), JSON.stringify(index));
}

async function loadValue(tensor: string, options: { variant?: string } = {}): Promise<number | undefined> {
  const { tensors } = await findComponentWeights(folder, options);
  return (await loadTensor(tensors.get(tensor)!))[0];
}

async function expectUserError(message: string | RegExp, options: { variant?: string } = {}): Promise<void> {
  const error = await findComponentWeights(folder, options).catch((thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(UserError);
  expect(String(error)).toMatch(message);
  expect(String(error)).toContain(folder);
}

test.each(['model', 'diffusion_pytorch_model'])('weights are found when the file is %s.safetensors', async (stem) => {
  await save(`${stem}.safetensors`);
  await writeFile(join(folder, 'config.json'), '{}');
  await save('pytorch_lora_weights.safetensors', { other: 2 });
  const found = await findComponentWeights(folder);
  expect(found.folder).toBe(folder);
  expect(found.variant).toBeUndefined();
  expect([...found.tensors.keys()]).toEqual(['weight']);
  expect(found.tensors.get('weight')!.file).toBe(join(folder, `${stem}.safetensors`));
});

test('plain file wins when variants lie beside it, unless one is asked for', async () => {
  await save('model.safetensors', { weight: 1 });
  await save('model.fp16.safetensors', { weight: 2 });
  await save('model.non_ema.safetensors', { weight: 3 });
  expect(await loadValue('weight')).toBe(1);
  expect(await loadValue('weight', { variant: 'fp16' })).toBe(2);
  expect(await loadValue('weight', { variant: 'non_ema' })).toBe(3);
  await expectUserError(/variant bf16 is not there, got no variant, fp16, non_ema$/, { variant: 'bf16' });
});

test('only variant is taken when there is no plain file', async () => {
  await save('diffusion_pytorch_model.fp16.safetensors', { weight: 2 });
  expect((await findComponentWeights(folder)).variant).toBe('fp16');
  expect(await loadValue('weight')).toBe(2);
});

test('choice is refused and the variants are listed when several exist without a plain file', async () => {
  await save('model.fp16.safetensors');
  await save('model.non_ema.safetensors');
  await expectUserError(/a variant must be chosen, got fp16, non_ema$/);
});

const SHARDED = [
  { index: 'model.safetensors.index.json', shard: 'model-0000%-of-00002.safetensors', variant: undefined },
  { index: 'model.safetensors.index.fp16.json', shard: 'model.fp16-0000%-of-00002.safetensors', variant: 'fp16' },
  { index: 'model.fp16.safetensors.index.json', shard: 'model.fp16-0000%-of-00002.safetensors', variant: 'fp16' },
  {
    index: 'diffusion_pytorch_model.safetensors.index.fp16.json',
    shard: 'diffusion_pytorch_model-0000%-of-00002.fp16.safetensors',
    variant: 'fp16',
  },
];

test.each(SHARDED)('shards are joined when $index lists them', async ({ index, shard, variant }) => {
  const [first, second] = ['1', '2'].map((number) => shard.replace('%', number));
  await save(first!, { a: 1, b: 2 });
  await save(second!, { c: 3, __extra: 4 });
  await saveIndex(index, { c: second!, a: first!, b: first! });
  const found = await findComponentWeights(folder);
  expect(found.variant).toBe(variant);
  expect([...found.tensors.keys()].sort()).toEqual(['__extra', 'a', 'b', 'c']);
  expect(await loadValue('c')).toBe(3);
  expect(await loadValue('b', variant === undefined ? {} : { variant })).toBe(2);
});

const INDEX = 'model.safetensors.index.json';
const FIRST = 'model-00001-of-00002.safetensors';
const SECOND = 'model-00002-of-00002.safetensors';

test('single file wins when shards lie beside it', async () => {
  await save('model.safetensors', { weight: 7 });
  await saveIndex(INDEX, { weight: 'absent.safetensors' });
  expect(await loadValue('weight')).toBe(7);
});

test('folder is refused when it is missing or a file', async () => {
  folder = join(root, 'absent');
  await expectUserError('does not exist');
  await writeFile(folder, '');
  await expectUserError('must be a folder');
});

test('folder is refused when it holds no weights, pickles only, or shards without an index', async () => {
  await expectUserError('it must hold model.safetensors or diffusion_pytorch_model.safetensors');
  await writeFile(join(folder, 'diffusion_pytorch_model.bin'), '');
  await expectUserError(/diffusion_pytorch_model\.bin is a Python pickle.*please get model\.safetensors/);
  await save(FIRST);
  await expectUserError(`${FIRST} needs its .safetensors.index.json`);
});

test('folder is refused when it holds two components', async () => {
  await save('model.safetensors');
  await save('diffusion_pytorch_model.safetensors');
  await expectUserError('a folder must hold one component');
});

test('shards are refused when one is missing', async () => {
  await save(FIRST, { a: 1 });
  await saveIndex(INDEX, { a: FIRST, b: SECOND });
  await expectUserError(`names ${SECOND}, which is missing`);
});

test('shards are refused when the index promises a tensor that another shard or none holds', async () => {
  await save(FIRST, { a: 1 });
  await save(SECOND, { b: 2 });
  await saveIndex(INDEX, { a: FIRST, b: SECOND, c: SECOND });
  await expectUserError(`promises c in ${SECOND}`);
  await saveIndex(INDEX, { a: SECOND, b: FIRST });
  await expectUserError(`promises a in ${SECOND}`);
  await writeFile(join(folder, INDEX), `{"weight_map":{"a":"${FIRST}","b":"${SECOND}","__proto__":"${FIRST}"}}`);
  await expectUserError(`promises __proto__ in ${FIRST}`);
});

test('shards are refused when two hold the same tensor', async () => {
  await save(FIRST, { a: 1, b: 1 });
  await save(SECOND, { b: 2 });
  await saveIndex(INDEX, { a: FIRST, b: SECOND });
  await expectUserError(`a tensor must lie in one shard, got b in `);
});

test.each([
  '../model.safetensors',
  '/etc/model.safetensors',
  'sub/model.safetensors',
  'sub\\model.safetensors',
  '..',
  'a..safetensors',
  '',
  'model.bin',
  'a\0.safetensors',
])('index is refused when it names the shard %j', async (shard) => {
  await mkdir(join(folder, 'sub'));
  await save('sub/model.safetensors', { a: 1 });
  await saveIndex(INDEX, { a: shard });
  await expectUserError('shards must be .safetensors files in the same folder');
});

test.each([
  '',
  '[]',
  'null',
  '{}',
  '{"weight_map":[]}',
  '{"weight_map":{"a":1}}',
  '{"weight_map":null}',
  '{"weight_map"',
])('index is refused when it is %j', async (text) => {
  await writeFile(join(folder, INDEX), text);
  await expectUserError('Cannot read ');
});

test('weights are read through links, as a download cache lays them out', async () => {
  await save(FIRST, { a: 1 });
  await mkdir(join(folder, 'blobs'));
  await rename(join(folder, FIRST), join(folder, 'blobs', '0123abcd'));
  await symlink('blobs/0123abcd', join(folder, FIRST));
  await saveIndex('blobs/4567', { a: FIRST });
  await symlink('blobs/4567', join(folder, INDEX));
  expect(await loadValue('a')).toBe(1);
  await symlink('blobs/0123abcd', join(folder, 'model.safetensors'));
  expect(await loadValue('a')).toBe(1);
});

test('weights are refused when a link leads nowhere', async () => {
  await symlink('blobs/absent', join(folder, 'model.safetensors'));
  await expectUserError('model.safetensors is a link to a file that does not exist');
});

test('broken file is refused with the rule of the format', async () => {
  await writeFile(join(folder, 'model.safetensors'), 'version https://git-lfs.github.com/spec/v1\n');
  await expect(findComponentWeights(folder)).rejects.toThrow(SafetensorsError);
});

test('damaged index gives weights or a UserError, never another error', async () => {
  await save(FIRST, { a: 1 });
  await save(SECOND, { b: 2 });
  const original = Buffer.from(JSON.stringify({ metadata: {}, weight_map: { a: FIRST, b: SECOND } }));
  const random = new RandomGenerator(2024);
  const fragments = ['{', '}', '[', '"', '../', '\\', '"__proto__":1,', 'null', '[['.repeat(1000), '\0', ','];
  let refused = 0;
  for (let round = 0; round < 500; round++) {
    const at = random.randint(original.length);
    const insert = random.randint(2) === 0 ? fragments[random.randint(fragments.length)]! : '';
    const rest = original.subarray(at + random.randint(4));
    await writeFile(join(folder, INDEX), Buffer.concat([original.subarray(0, at), Buffer.from(insert), rest]));
    const result = await findComponentWeights(folder).catch((error: unknown) => error);
    if (result instanceof UserError) refused++;
    else if (result instanceof Error) throw result;
  }
  expect(refused).toBeGreaterThan(300);
});
