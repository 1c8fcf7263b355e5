import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { symbol } from '../../../worker/graph/dim.ts';
import { lowerGraph } from '../../../worker/graph/lowering.ts';
import { add, cast, constant, input, linear, mul, reshape } from '../../../worker/graph/operators.ts';
import { portableRules } from '../../../worker/graph/portable-rules.ts';
import { Scope } from '../../../worker/graph/scope.ts';
import { type Dtype, parametersOf, type Value } from '../../../worker/graph/value.ts';
import { type Checkpoint, openCheckpoint } from '../../../worker/runtime/checkpoint.ts';
import { compile } from '../../../worker/runtime/compile.ts';
import { float32ToFloat16 } from '../../../worker/runtime/float16.ts';
import { saveSafetensors, type TensorToSave } from '../../../worker/runtime/safetensors.ts';
import { float32Tensor } from '../../../worker/runtime/session.ts';
import { findComponentWeights } from '../../../worker/runtime/weight-files.ts';
import { goldenTensor } from '../../support/golden.ts';
import { floats, temporaryFolder } from '../../support/tiny-models.ts';

const n = symbol('n');

function lowerWithoutParameters(outputs: Readonly<Record<string, Value>>) {
  const findParameter = () => {
    throw new Error('Cannot find a parameter: the graph must have none');
  };
  return lowerGraph(outputs, portableRules, { findParameter });
}

/** Opens what the value reads from a folder, and computes it for x = [0]. */
async function compute(value: Value, checkpoints: Readonly<Record<string, Checkpoint>>): Promise<number[]> {
  const session = await compile({ out: value }, { device: 'cpu', threads: 1, checkpoints });
  onTestFinished(() => session.dispose());
  const { out } = await session.run({ x: float32Tensor(new Float32Array(1), [1]) });
  return [...floats(out)];
}

async function openFolder(folder: string, value: Value, component = 'network'): Promise<Checkpoint> {
  const expected = parametersOf([value]).get(component) ?? new Map();
  return openCheckpoint(await findComponentWeights(folder), { expected });
}

/** The parameter itself, by way of x = 0: a graph must compute something. */
function shown(
  dtype: Dtype,
  { shape, name = 'weight', component = 'network' }: { shape: number[]; name?: string; component?: string },
) {
  const x = cast(input('x', { shape: [1], dtype: 'float32' }), dtype);
  const parameter = new Scope({ name: component, dtype }).parameter(name, shape);
  return add(reshape(parameter, [shape.reduce((a, b) => a * b, 1)]), x);
}

// Values with the nearest number of bfloat16 (8 significant bits) and of binary16 (11 bits, from 2^-24 to 65504),
// ties going to the even one.
const ROUNDED = [
  { value: 1, BF16: 1, F16: 1 },
  { value: Math.fround(Math.PI), BF16: 3.140625, F16: 3.140625 },
  { value: Math.fround(-Math.E), BF16: -2.71875, F16: -2.71875 },
  { value: Math.fround(1 / 3), BF16: 0.333984375, F16: 0.333251953125 },
  { value: 1 + 2 ** -8, BF16: 1, F16: 1 + 2 ** -8 },
  { value: 1 + 3 * 2 ** -8, BF16: 1 + 2 ** -6, F16: 1 + 3 * 2 ** -8 },
  { value: 2049, BF16: 2048, F16: 2048 },
  { value: 40000, BF16: 39936, F16: 40000 },
  { value: 3 * 2 ** -25, BF16: 3 * 2 ** -25, F16: 2 ** -23 },
] as const;
const VALUES = Float32Array.from(ROUNDED, ({ value }) => value);
const expectedOf = (dtype: 'F32' | 'F16' | 'BF16') => ROUNDED.map((row) => (dtype === 'F32' ? row.value : row[dtype]));

/** Saves the values between two others, and shifts the data by bytes of header: offsets are then odd. */
async function saveShifted(folder: string, dtype: TensorToSave['dtype'], shift: number): Promise<void> {
  const file = join(folder, 'model.safetensors');
  const other: TensorToSave = { dtype: 'F16', shape: [1], values: Float32Array.of(7) };
  await saveSafetensors(file, [
    ['before', other],
    ['weight', { dtype, shape: [3, 3], values: VALUES }],
    ['after', other],
  ]);
  const bytes = await readFile(file);
  const length = Number(bytes.readBigUInt64LE());
  const shifted = Buffer.concat([bytes.subarray(0, 8 + length), Buffer.alloc(shift, ' '), bytes.subarray(8 + length)]);
  shifted.writeBigUInt64LE(BigInt(length + shift));
  await writeFile(file, shifted);
}

describe('stored parameter has its rounded values', () => {
  test.each([
    ['F32', 0],
    ['F32', 1],
    ['F32', 2],
    ['F16', 0],
    ['F16', 3],
    ['BF16', 0],
    ['BF16', 5],
  ] as const)('when it lies as %s behind %i more bytes', async (dtype, shift) => {
    const folder = await temporaryFolder();
    await saveShifted(folder, dtype, shift);
    const value = shown('float32', { shape: [3, 3] });
    const { tensors } = await findComponentWeights(folder);
    const checkpoint = openCheckpoint(
      { folder, variant: undefined, tensors: new Map([['weight', tensors.get('weight')!]]) },
      { expected: new Map([['weight', [3, 3]]]) },
    );
    expect(checkpoint.parameters.get('weight')!.offset % 2).toBe(shift % 2);
    expect(await compute(value, { network: checkpoint })).toEqual(expectedOf(dtype));
  });

  test.each(['F32', 'F16', 'BF16'] as const)(
    'when it lies as %s and the network computes in half precision',
    async (dtype) => {
      const folder = await temporaryFolder();
      await saveSafetensors(join(folder, 'model.safetensors'), [['weight', { dtype, shape: [9], values: VALUES }]]);
      const value = shown('float16', { shape: [9] });
      const stored = Float32Array.from(expectedOf(dtype));
      const result = await compute(value, { network: await openFolder(folder, value) });
      expect(Array.from(float32ToFloat16(Float32Array.from(result)))).toEqual(Array.from(float32ToFloat16(stored)));
    },
  );

  test('when one initializer is used in two dtypes', async () => {
    const folder = await temporaryFolder();
    await saveSafetensors(join(folder, 'model.safetensors'), [
      ['weight', { dtype: 'BF16', shape: [9], values: VALUES }],
    ]);
    const value = add(shown('float32', { shape: [9] }), cast(shown('float16', { shape: [9] }), 'float32'));
    const result = await compute(value, { network: await openFolder(folder, value) });
    // The 3·2⁻²⁵ becomes 2⁻²³ in half precision, where it may also be kept as it is.
    expect(result.slice(0, 8)).toEqual(
      expectedOf('BF16')
        .slice(0, 8)
        .map((number) => 2 * number),
    );
  });
});

test('parameters come from the shards that hold them', async () => {
  const folder = await temporaryFolder();
  const shards = ['model-00001-of-00002.safetensors', 'model-00002-of-00002.safetensors'] as const;
  const weight = goldenTensor('weight', [4, 3]);
  const bias = goldenTensor('bias', [4]);
  await saveSafetensors(join(folder, shards[0]), [['layer.bias', { dtype: 'F32', shape: [4], values: bias }]]);
  await saveSafetensors(join(folder, shards[1]), [['layer.weight', { dtype: 'F32', shape: [4, 3], values: weight }]]);
  const index = { weight_map: { 'layer.bias': shards[0], 'layer.weight': shards[1] } };
  await writeFile(join(folder, 'model.safetensors.index.json'), JSON.stringify(index));
  const layer = new Scope({ name: 'network', dtype: 'float32' }).at('layer');
  const ones = add(
    constant([1, 1, 1], [1, 3], 'float32'),
    reshape(input('x', { shape: [1], dtype: 'float32' }), [1, 1]),
  );
  const value = linear(ones, layer.parameter('weight', [4, 3]), layer.parameter('bias', [4]));
  const result = await compute(value, { network: await openFolder(folder, value) });
  const expected = Array.from(bias, (offset, i) => offset + weight[3 * i]! + weight[3 * i + 1]! + weight[3 * i + 2]!);
  expect(result.map((number, i) => Math.abs(number - expected[i]!) < 1e-6)).toEqual([true, true, true, true]);
});

test('parameters of equal names stay apart when two components have them', async () => {
  const [first, second] = [await temporaryFolder(), await temporaryFolder()];
  await saveSafetensors(join(first, 'model.safetensors'), [
    ['weight', { dtype: 'F32', shape: [2], values: Float32Array.of(1, 2) }],
  ]);
  await saveSafetensors(join(second, 'model.safetensors'), [
    ['weight', { dtype: 'F16', shape: [2], values: Float32Array.of(10, 20) }],
  ]);
  const value = add(shown('float32', { shape: [2], component: 'a' }), shown('float32', { shape: [2], component: 'b' }));
  const checkpoints = { a: await openFolder(first, value, 'a'), b: await openFolder(second, value, 'b') };
  expect(await compute(value, checkpoints)).toEqual([11, 22]);
});

test('graph cannot be compiled when no checkpoint holds a parameter', async () => {
  const value = shown('float32', { shape: [2], component: 'unet' });
  await expect(compile({ out: value }, { device: 'cpu', checkpoints: {} })).rejects.toThrow(
    'Cannot compile the graph: no checkpoint of unet holds weight',
  );
});

describe('half precision', () => {
  test('crosses the border as float32 in both directions', async () => {
    const [a, b] = ['a', 'b'].map((name) => input(name, { shape: [n], dtype: 'float16' })) as [Value, Value];
    const outputs = { sum: add(a, b), passed: a };
    const graph = lowerWithoutParameters(outputs);
    expect([...graph.inputs, ...graph.outputs].map(({ dtype }) => dtype)).toEqual(Array<Dtype>(4).fill('float32'));
    const session = await compile(outputs, { device: 'cpu', threads: 1, checkpoints: {} });
    onTestFinished(() => session.dispose());
    const feeds = { a: Float32Array.of(1 / 3, 2049, 1e-8), b: Float32Array.of(0, 1024, 0) };
    const { sum, passed } = await session.run({ a: float32Tensor(feeds.a, [3]), b: float32Tensor(feeds.b, [3]) });
    // 1e-8 is less than half of 2⁻²⁴, the smallest number of binary16.
    expect([...floats(passed)]).toEqual([0.333251953125, 2048, 0]);
    expect([...floats(sum)]).toEqual([0.333251953125, 3072, 0]);
  });

  test('rounds constants as the converter of weight files does', () => {
    const edges = [0, -0, 1, -1, 2 ** -14, 2 ** -15, 2 ** -24, 2 ** -25, 1.5 * 2 ** -25, 2049, 2051, 6.1e-5, 0.1];
    const largest = [65504, 65519, 65520, 1e9, -65520, Number.POSITIVE_INFINITY];
    const random = [...goldenTensor('in:half', [2000])].map((value, i) => value * 2 ** ((i % 48) - 30));
    const values = Float32Array.from([...edges, ...largest, ...random]);
    const x = input('x', { shape: [values.length], dtype: 'float16' });
    const { initializers } = lowerWithoutParameters({ out: mul(x, constant([...values], [values.length], 'float16')) });
    const stored = initializers.find(({ dtype }) => dtype === 'float16')!.data;
    if (!(stored instanceof Uint8Array)) throw new Error('Cannot read the constant: it must be inside the graph');
    expect(new Uint16Array(stored.buffer)).toEqual(float32ToFloat16(values));
  });
});
