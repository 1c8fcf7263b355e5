import { mkdtemp, readdir, readFile, rm, stat, symlink, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { RandomGenerator } from '../../../worker/runtime/random.ts';
import {
  HEADER_SIZE_LIMIT,
  loadTensor,
  readSafetensorsHeader,
  SafetensorsError,
  saveSafetensors,
  type TensorToSave,
} from '../../../worker/runtime/safetensors.ts';

let folder: string;
let file: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'safetensors-'));
  file = join(folder, 'model.safetensors');
});
afterAll(() => rm(folder, { recursive: true }));

/** Builds a file byte by byte, independently of saveSafetensors. */
function fileBytes(header: string | Uint8Array, dataBytes = 0): Buffer {
  const json = Buffer.from(header);
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(json.length));
  const data = Uint8Array.from({ length: dataBytes }, (_, i) => i);
  return Buffer.concat([length, json, data]);
}

async function readBytes(bytes: Uint8Array) {
  await writeFile(file, bytes);
  return readSafetensorsHeader(file);
}

async function errorOf(bytes: Uint8Array): Promise<SafetensorsError> {
  const error = await readBytes(bytes).catch((thrown: unknown) => thrown);
  if (!(error instanceof SafetensorsError)) throw new Error('Expected a SafetensorsError', { cause: error });
  return error;
}

const entry = (shape: string, begin: number, end: number, dtype = 'F32') =>
  `{"dtype":"${dtype}","shape":${shape},"data_offsets":[${begin},${end}]}`;

test('header is read when names, order and padding are unusual', async () => {
  const names = ['b', '__proto__', 'constructor', '', '10', '2', 'a "quoted" \\ name', 'ünï\u{1F600}'];
  const members = names.map((name, i) => `${JSON.stringify(name)} :\t${entry('[2, 1]', i * 8, i * 8 + 8)}`);
  members.splice(1, 0, '"__metadata__":{"format":"pt","__proto__":"x"}');
  const header = `{\n${members.reverse().join(' ,\r\n ')}}   `;
  const { tensors, metadata } = await readBytes(fileBytes(header, names.length * 8));
  expect([...tensors.keys()]).toEqual(names.toReversed());
  expect(Object.entries(metadata).sort()).toEqual([
    ['__proto__', 'x'],
    ['format', 'pt'],
  ]);
  const offset = 8 + Buffer.byteLength(header) + 8;
  expect(tensors.get('__proto__')).toEqual({
    name: '__proto__',
    dtype: 'F32',
    shape: [2, 1],
    file,
    offset,
    sizeBytes: 8,
  });
});

test('header is read when tensors are empty, scalar or absent', async () => {
  const header = `{"none":${entry('[0,5]', 0, 0)},"one":${entry('[]', 0, 4)},"end":${entry('[0]', 4, 4, 'I64')}}`;
  const { tensors } = await readBytes(fileBytes(header, 4));
  expect([...tensors.values()].map(({ sizeBytes }) => sizeBytes)).toEqual([0, 4, 0]);
  expect(await loadTensor(tensors.get('none')!)).toEqual(new Float32Array());
  expect((await readBytes(fileBytes('{}'))).tensors.size).toBe(0);
});

const F32 = entry('[1]', 0, 4);
const BROKEN: readonly [rule: string, header: string | Uint8Array, dataBytes: number, tensor?: string][] = [
  ['must be UTF-8', Buffer.concat([Buffer.from('{"'), Buffer.of(0xff), Buffer.from(`":${F32}}`)]), 4],
  ['must be a JSON object', '', 0],
  ['must be a JSON object', '[]', 0],
  ['must be a JSON object', ' {}', 0],
  ['must be a JSON object', '\ufeff{}', 0],
  ['must be a JSON object', '['.repeat(200_000), 0],
  ['must be JSON', '{', 0],
  ['must be JSON', '{}x', 0],
  ['must be JSON', `{"a":${F32},}`, 4],
  ['must be JSON', `{"a":${F32}`, 4],
  ['must be JSON', `{"a`, 0],
  ['must be JSON', `{"a\\`, 0],
  ['must be JSON', `{"a\\x":${F32}}`, 4],
  ['must be JSON', `{"a\n":${F32}}`, 4],
  ['must be JSON', `{a:${F32}}`, 4],
  ['must be Unicode', `{"\\ud800":${F32}}`, 4],
  ['keys must differ', `{"a":${F32},"\\u0061":${F32}}`, 4],
  ['keys must differ', `{"__metadata__":{},"__metadata__":{}}`, 0],
  ['keys must differ', '{"__metadata__":{"a":"","a":""}}', 0],
  ['keys must differ', '{"a":{"dtype":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4]}}', 4, 'a'],
  ['__metadata__ must be an object', '{"__metadata__":[]}', 0],
  ['must be a string', '{"__metadata__":{"a":1}}', 0],
  ['must be a string', '{"__metadata__":{"a":{"b":"c"}}}', 0],
  ['must be an object', '{"a":[]}', 0, 'a'],
  ['must be an object', '{"__proto__":null}', 0, '__proto__'],
  ['must be given', '{"a":{}}', 0, 'a'],
  ['must be given', '{"a":{"dtype":"F32","shape":[1]}}', 4, 'a'],
  ['fields must be', '{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"more":1}}', 4, 'a'],
  ['dtype must be one of', `{"a":${entry('[1]', 0, 4, 'F33')}}`, 4, 'a'],
  ['dtype must be one of', `{"a":${entry('[1]', 0, 4, 'toString')}}`, 4, 'a'],
  ['dtype must be a string', '{"a":{"dtype":1,"shape":[1],"data_offsets":[0,4]}}', 4, 'a'],
  ['shape must be an array', `{"a":${entry('1', 0, 4)}}`, 4, 'a'],
  ['shape must be an array', `{"a":${entry('[-1]', 0, 4)}}`, 4, 'a'],
  ['shape must be an array', `{"a":${entry('[1.0]', 0, 4)}}`, 4, 'a'],
  ['shape must be an array', `{"a":${entry('[1e0]', 0, 4)}}`, 4, 'a'],
  ['shape must be an array', `{"a":${entry('[01]', 0, 4)}}`, 4, 'a'],
  ['shape must be an array', `{"a":${entry('["1"]', 0, 4)}}`, 4, 'a'],
  ['shape must be an array', `{"a":${entry('[9007199254740992]', 0, 4)}}`, 4, 'a'],
  ['shape must be an array', `{"a":${entry(`[${'1'.repeat(50)}]`, 0, 4)}}`, 4, 'a'],
  ['shape must be an array', `{"a":${entry('['.repeat(200_000), 0, 4)}}`, 4, 'a'],
  ['shape must not have over 64', `{"a":${entry(`[${'1,'.repeat(64)}1]`, 0, 4)}}`, 4, 'a'],
  ['below 2^53 bytes', `{"a":${entry('[4294967296,4294967296,0]', 0, 0)}}`, 0, 'a'],
  ['data_offsets must be two integers', '{"a":{"dtype":"F32","shape":[1],"data_offsets":[4]}}', 4, 'a'],
  ['data_offsets must be two integers', '{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4,4]}}', 4, 'a'],
  ['data_offsets must be an array', '{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,-4]}}', 4, 'a'],
  ['data_offsets must not decrease', `{"a":${entry('[1]', 4, 0)}}`, 4, 'a'],
  ['must end inside the file', `{"a":${entry('[2]', 0, 8)}}`, 4, 'a'],
  ['must take 4 bytes', `{"a":${entry('[1]', 0, 8)}}`, 8, 'a'],
  ['must not overlap', `{"a":${entry('[2]', 0, 8)},"b":${entry('[1]', 4, 8)}}`, 8, 'b'],
  ['must not overlap', `{"a":${entry('[2]', 0, 8)},"b":${entry('[0]', 4, 4)}}`, 8, 'b'],
  ['got a hole of 4 bytes', `{"a":${entry('[1]', 0, 4)},"b":${entry('[1]', 8, 12)}}`, 12, 'b'],
  ['got a hole of 4 bytes', `{"a":${entry('[1]', 4, 8)}}`, 8, 'a'],
  ['got 1 bytes after the last one', `{"a":${F32}}`, 5],
  ['got 3 bytes after the last one', '{}', 3],
];

test.each(BROKEN)(
  'reading refuses the file with "%s" when the header is %j',
  async (rule, header, dataBytes, tensor) => {
    const error = await errorOf(fileBytes(header, dataBytes));
    expect(error.rule).toContain(rule);
    expect(error.tensor).toBe(tensor);
    expect(error.file).toBe(file);
    expect(error.message).toContain(file);
    expect(error.message).toContain(error.rule);
    expect(error.message).toContain(tensor ?? '');
    expect(error.message.length).toBeLessThan(file.length + 500);
  },
);

test('reading refuses metadata when it has over 100000 entries', async () => {
  const entries = Array.from({ length: 100_001 }, (_, i) => `"${i}":""`);
  const metadata = (count: number) => fileBytes(`{"__metadata__":{${entries.slice(0, count)}}}`);
  expect(Object.keys((await readBytes(metadata(100_000))).metadata).length).toBe(100_000);
  expect((await errorOf(metadata(100_001))).rule).toContain('must not have over 100000 entries');
});

test('reading refuses a file when its length and its header disagree', async () => {
  const withLength = (length: bigint, rest = '{}') => {
    const bytes = Buffer.alloc(8 + rest.length, rest);
    bytes.writeBigUInt64LE(length);
    bytes.write(rest, 8);
    return bytes;
  };
  expect((await errorOf(new Uint8Array())).rule).toContain('at least 8 bytes, got 0');
  expect((await errorOf(new Uint8Array(7))).rule).toContain('at least 8 bytes, got 7');
  expect((await errorOf(withLength(3n))).rule).toContain('must end inside the file');
  expect((await errorOf(withLength(2n ** 64n - 1n))).rule).toContain('must have at most');
  expect((await errorOf(withLength(BigInt(HEADER_SIZE_LIMIT) + 1n))).rule).toContain('must have at most');
});

test('reading refuses what is not a regular file', async () => {
  await expect(readSafetensorsHeader(folder)).rejects.toThrow(SafetensorsError);
  await expect(readSafetensorsHeader(join(folder, 'absent'))).rejects.toThrow('ENOENT');
});

test('values come back when tensors of every type to save are written in the order given', async () => {
  const values = Float32Array.of(1, -0.5, 65504, 1 / 3, 2 ** -24, 0);
  const rounded16 = Float32Array.of(1, -0.5, 65504, 0.333251953125, 2 ** -24, 0);
  const rounded = Float32Array.of(1, -0.5, 65536, 0.333984375, 2 ** -24, 0);
  const tensors = new Map<string, TensorToSave>([
    ['z.f16', { dtype: 'F16', shape: [6], values: () => values }],
    ['7', { dtype: 'BF16', shape: [3, 2], values: async () => values }],
    ['ids', { dtype: 'I64', shape: [1, 2], values: BigInt64Array.of(-1n, 2n ** 40n) }],
    ['__proto__', { dtype: 'F32', shape: [2, 3], values }],
    ['raw', { dtype: 'F16', shape: [], values: Uint8Array.of(0, 0x3c) }],
    ['empty', { dtype: 'F32', shape: [0, 4], values: new Float32Array() }],
  ]);
  await saveSafetensors(file, tensors, { format: 'pt', note: 'ü "x"' });
  const header = await readSafetensorsHeader(file);
  expect([...header.tensors.keys()]).toEqual([...tensors.keys()]);
  expect(header.metadata).toEqual({ format: 'pt', note: 'ü "x"' });
  expect(header.tensors.get('z.f16')!.offset % 8).toBe(0);
  const load = (name: string) => loadTensor(header.tensors.get(name)!);
  expect(await load('z.f16')).toEqual(rounded16);
  expect(await load('7')).toEqual(rounded);
  expect(await load('__proto__')).toEqual(values);
  expect(await load('raw')).toEqual(Float32Array.of(1));
  expect(await load('empty')).toEqual(new Float32Array());
  await expect(load('ids')).rejects.toThrow('a floating point type is needed, got I64');
  const ids = header.tensors.get('ids')!;
  const bytes = await readFile(file);
  expect(bytes.readBigInt64LE(ids.offset + 8)).toBe(2n ** 40n);
});

test('loadTensor narrows F64 and reads data at an odd offset', async () => {
  const header = `{"a":${entry('[1]', 0, 1, 'U8')},"b":${entry('[2]', 1, 17, 'F64')}}`;
  const bytes = fileBytes(header, 17);
  bytes.writeDoubleLE(1 / 3, bytes.length - 16);
  bytes.writeDoubleLE(-1e300, bytes.length - 8);
  const { tensors } = await readBytes(bytes);
  expect(await loadTensor(tensors.get('b')!)).toEqual(Float32Array.of(1 / 3, -Infinity));
});

test('loadTensor refuses the file when it was cut after its header was read', async () => {
  const { tensors } = await readBytes(fileBytes(`{"a":${F32}}`, 4));
  await truncate(file, (await stat(file)).size - 1);
  await expect(loadTensor(tensors.get('a')!)).rejects.toThrow('the file must not shrink');
});

test('header is read through a symbolic link', async () => {
  await saveSafetensors(file, [['a', { dtype: 'F32', shape: [1], values: Float32Array.of(3) }]]);
  const link = join(folder, 'link.safetensors');
  await symlink(file, link);
  const { tensors } = await readSafetensorsHeader(link);
  expect(await loadTensor(tensors.get('a')!)).toEqual(Float32Array.of(3));
});

test.each<[string, readonly [string, TensorToSave][]]>([
  ['names must differ', [...'aa'].map((name) => [name, { dtype: 'F32', shape: [0], values: new Float32Array() }])],
  ['names must differ', [['__metadata__', { dtype: 'F32', shape: [0], values: new Float32Array() }]]],
  ['shape must be whole numbers', [['a', { dtype: 'F32', shape: [1.5], values: new Float32Array(1) }]]],
  ['shape must be whole numbers', [['a', { dtype: 'F32', shape: [-1, -1], values: new Float32Array(1) }]]],
  ['values must fit F32 [2]', [['a', { dtype: 'F32', shape: [2], values: new Float32Array(1) }]]],
  ['values must fit F16 [2]', [['a', { dtype: 'F16', shape: [2], values: new BigInt64Array(2) }]]],
  ['values must fit I64 [2]', [['a', { dtype: 'I64', shape: [2], values: new Float32Array(2) }]]],
])('saving refuses with "%s" and leaves the older file alone', async (rule, tensors) => {
  await writeFile(file, 'older');
  const before = await readdir(folder);
  await expect(saveSafetensors(file, tensors)).rejects.toThrow(rule);
  expect(await readFile(file, 'utf8')).toBe('older');
  expect(await readdir(folder)).toEqual(before);
});

test('saving leaves the older file alone when values cannot be computed', async () => {
  await writeFile(file, 'older');
  const before = await readdir(folder);
  const values = () => Promise.reject(new Error('no memory'));
  await expect(saveSafetensors(file, [['a', { dtype: 'F32', shape: [1], values }]])).rejects.toThrow('no memory');
  expect(await readFile(file, 'utf8')).toBe('older');
  expect(await readdir(folder)).toEqual(before);
});

const FRAGMENTS = [
  '{',
  '}',
  '[',
  ']',
  ',',
  ':',
  '"',
  '\\',
  '\\u0000',
  '-1',
  '0',
  '1e9',
  'null',
  '"dtype":"F16",',
  '"shape":[]',
  '[0,0]',
  '"__proto__":',
  '"__metadata__":{}',
  '"__metadata__":{"a":1},',
  '9007199254740993',
  '[[[[[[[[',
  '\u0000',
  'ÿ',
  ' ',
];

/** Changes a file in one to three places; the kinds follow what hostile or damaged files look like. */
function mutate(original: Buffer, random: RandomGenerator): Buffer<ArrayBuffer> {
  let bytes = Buffer.from(original);
  for (let times = 1 + random.randint(3); times > 0; times--) {
    const at = random.randint(bytes.length + 1);
    const kind = random.randint(6);
    if (kind === 0 && at < bytes.length) bytes[at]! ^= 1 << random.randint(8);
    else if (kind === 1) bytes = bytes.subarray(0, at);
    else if (kind === 2) bytes = splice(bytes, at, { remove: 0, insert: FRAGMENTS[random.randint(FRAGMENTS.length)]! });
    else if (kind === 3) bytes = splice(bytes, at, { remove: random.randint(12), insert: '' });
    else if (kind === 4) bytes = replaceNumber(bytes, random);
    else if (bytes.length >= 8) bytes.writeUInt32LE(random.randint(2 * original.length), 0);
  }
  return random.randint(2) === 0 ? bytes : withTrueLength(bytes, original);
}

function splice(
  bytes: Buffer,
  at: number,
  { remove, insert }: { remove: number; insert: string },
): Buffer<ArrayBuffer> {
  return Buffer.concat([bytes.subarray(0, at), Buffer.from(insert), bytes.subarray(at + remove)]);
}

function replaceNumber(bytes: Buffer<ArrayBuffer>, random: RandomGenerator): Buffer<ArrayBuffer> {
  const numbers = [...bytes.toString('latin1').matchAll(/\d+/g)];
  const chosen = numbers[random.randint(Math.max(1, numbers.length))];
  if (chosen === undefined) return bytes;
  const value = String(random.randint(2) === 0 ? random.randint(100) : 2 ** random.randint(56));
  return splice(bytes, chosen.index, { remove: chosen[0].length, insert: value });
}

/** Corrects the length of the header, so that the mutation reaches the JSON. */
function withTrueLength(bytes: Buffer<ArrayBuffer>, original: Buffer): Buffer<ArrayBuffer> {
  if (bytes.length < 8) return bytes;
  const dataBytes = original.length - 8 - Number(original.readBigUInt64LE());
  const copy = Buffer.from(bytes);
  copy.writeBigUInt64LE(BigInt(Math.max(0, copy.length - 8 - dataBytes)));
  return copy;
}

test('reading gives tensors inside the file or a SafetensorsError when files are damaged at random', async () => {
  await saveSafetensors(
    file,
    [
      ['conv.weight', { dtype: 'F16', shape: [2, 3], values: new Float32Array(6) }],
      ['ids', { dtype: 'I64', shape: [1, 2], values: new BigInt64Array(2) }],
      ['scale', { dtype: 'F32', shape: [], values: new Float32Array(1) }],
      ['none', { dtype: 'BF16', shape: [0, 4], values: new Float32Array() }],
    ],
    { format: 'pt' },
  );
  const original = await readFile(file);
  const random = new RandomGenerator(2024);
  const counts = { read: 0, refused: 0 };
  for (let round = 0; round < 5000; round++) {
    const bytes = mutate(original, random);
    const result = await readBytes(bytes).catch((error: unknown) => error);
    if (result instanceof SafetensorsError) counts.refused++;
    else if (result instanceof Error) throw result;
    else {
      counts.read++;
      for (const { offset, sizeBytes } of (result as Awaited<ReturnType<typeof readBytes>>).tensors.values()) {
        if (!(offset >= 8 && sizeBytes >= 0 && offset + sizeBytes <= bytes.length)) throw new Error('outside the file');
      }
    }
  }
  // Changes of values, names and padding are harmless, so both kinds must occur.
  expect(counts.read).toBeGreaterThan(100);
  expect(counts.refused).toBeGreaterThan(2500);
}, 20_000);
