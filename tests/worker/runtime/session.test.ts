import { execFile } from 'node:child_process';
import { mkdir, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, onTestFinished, test } from 'vitest';
import { UserError } from '../../../shared/errors.ts';
import { symbol } from '../../../worker/graph/dim.ts';
import { add, input, mul } from '../../../worker/graph/operators.ts';
import type { Value } from '../../../worker/graph/value.ts';
import { describeDenoiser } from '../../../worker/networks/denoiser.ts';
import { parseUnetConfig } from '../../../worker/networks/unet-config.ts';
import { compile } from '../../../worker/runtime/compile.ts';
import {
  createSession,
  type Device,
  float32Tensor,
  int64Tensor,
  type Session,
} from '../../../worker/runtime/session.ts';
import { compileTiny, floats, goldenInput, temporaryFolder, tinyConfigs } from '../../support/tiny-models.ts';

const [a, b] = ['a', 'b'].map((name) => input(name, { shape: [symbol('n')], dtype: 'float32' })) as [Value, Value];
const outputs = { sum: add(a, b), product: mul(a, b) };
const vector = (...values: number[]) => float32Tensor(Float32Array.from(values), [values.length]);

async function open(device: Device = 'cpu'): Promise<Session> {
  const session = await compile(outputs, { device, threads: 1, checkpoints: {} });
  onTestFinished(() => session.dispose());
  return session;
}

/** Why the device cannot be used, or undefined where it can. */
async function whyMissing(device: Device): Promise<unknown> {
  try {
    await (await compile(outputs, { device, threads: 1, checkpoints: {} })).dispose();
    return undefined;
  } catch (error) {
    return error;
  }
}

describe.each([
  ['cuda', /^Cannot use device cuda: it needs an NVIDIA driver .*libonnxruntime_providers_cuda\.so.*, got ".+"$/s],
  ['webgpu', /^Cannot use device webgpu: it needs libvulkan\.so\.1 .*libvulkan1.*, got ".+"$/s],
] as const)('device %s', async (device, advice) => {
  const error = await whyMissing(device);
  test.skipIf(error === undefined)('is refused with what to install when it is not there (skipped where it is)', () => {
    expect(error).toBeInstanceOf(UserError);
    expect(error).toHaveProperty('message', expect.stringMatching(advice));
    expect(error).toHaveProperty('cause');
  });

  test.skipIf(error !== undefined)('computes when it is there (skipped where it is not)', async () => {
    const session = await open(device);
    const { sum } = await session.run({ a: vector(1, 2), b: vector(3, 5) });
    expect([...floats(sum)]).toEqual([4, 7]);
  });
});

test('model that is none is a fault and not a missing device', async () => {
  const broken = createSession(Uint8Array.of(1, 2, 3), { device: 'cpu' });
  await expect(broken).rejects.toThrow(Error);
  await expect(broken).rejects.not.toBeInstanceOf(UserError);
});

describe('session refuses to run', () => {
  test.each([
    ['an input is missing', { a: vector(1) }, 'got none for [b] and unknown []'],
    ['an input is unknown', { a: vector(1), b: vector(1), c: vector(1) }, 'got none for [] and unknown [c]'],
    ['an input is misspelled', { a: vector(1), B: vector(1) }, 'got none for [b] and unknown [B]'],
  ])('when %s', async (_, feeds, message) => {
    const session = await open();
    await expect(session.run(feeds)).rejects.toThrow(
      `Cannot run the session: its inputs must be fed exactly, ${message}`,
    );
  });

  test('when a shape or dtype does not fit', async () => {
    const session = await open();
    await expect(session.run({ a: vector(1, 2), b: vector(1, 2, 3) })).rejects.toThrow();
    await expect(session.run({ a: int64Tensor([1], [1]), b: vector(1) })).rejects.toThrow();
    const { sum } = await session.run({ a: vector(1), b: vector(2) });
    expect([...floats(sum)]).toEqual([3]);
  });

  test('after it has been disposed of, which may happen twice', async () => {
    const session = await open();
    await session.dispose();
    await session.dispose();
    await expect(session.run({ a: vector(1), b: vector(1) })).rejects.toThrow('it has been disposed of');
  });
});

test('results and inputs stay as they are when the session runs again', async () => {
  const session = await open();
  const feeds = { a: vector(1, 2, 3), b: vector(4, 5, 6) };
  const first = await session.run(feeds);
  const second = await session.run({ a: vector(10, 20, 30), b: vector(1, 1, 1) });
  await session.dispose();
  expect([...floats(first['sum'])]).toEqual([5, 7, 9]);
  expect([...floats(first['product'])]).toEqual([4, 10, 18]);
  expect([...floats(second['sum'])]).toEqual([11, 21, 31]);
  expect([...floats(feeds.a)]).toEqual([1, 2, 3]);
  expect(floats(first['sum']).buffer).not.toBe(floats(second['sum']).buffer);
});

test('an output is written into the array of the caller when it brings one', async () => {
  const session = await open();
  const whole = new Float32Array(4);
  const into = { product: float32Tensor(whole.subarray(1, 3), [2]) };
  const results = await session.run({ a: vector(1, 2), b: vector(3, 5) }, into);
  expect([...whole]).toEqual([0, 3, 10, 0]);
  expect(Object.keys(results)).toEqual(['sum']);
  expect([...floats(results['sum'])]).toEqual([4, 7]);
});

test('same inputs give the same bytes', async () => {
  const unet = parseUnetConfig(tinyConfigs['unet-sd1']);
  const options = { isGuided: false, dtype: 'float32', vaeScaleFactor: 8, takesLora: false } as const;
  const { noisePred } = describeDenoiser({ unet, ...options });
  const session = await compileTiny({ noisePred });
  const feeds = {
    sample: goldenInput('sample', [1, 4, 8, 8]),
    timestep: vector(701),
    encoder_hidden_states: goldenInput('ctx', [1, 77, 12]),
  };
  const [first, second] = [await session.run(feeds), await session.run(feeds)];
  expect(second).toEqual(first);
});

test('nothing is written to the home and cache folders of the person', async () => {
  const folder = await temporaryFolder();
  const names = ['home', 'cache', 'config', 'data', 'state', 'work'];
  for (const name of names) await mkdir(join(folder, name));
  const [home, cache, config, data, state, work] = names.map((name) => join(folder, name));
  const root = join(import.meta.dirname, '..', '..', '..');
  const program = `
    import { input, add } from '${root}/worker/graph/operators.ts';
    import { compile } from '${root}/worker/runtime/compile.ts';
    import { float32Tensor } from '${root}/worker/runtime/session.ts';
    const x = input('x', { shape: [1], dtype: 'float32' });
    const session = await compile({ y: add(x, x) }, { device: 'cpu', threads: 1, checkpoints: {} });
    const { y } = await session.run({ x: float32Tensor(Float32Array.of(21), [1]) });
    await session.dispose();
    console.log(y.data[0]);
  `;
  const loader = import.meta.resolve('tsx');
  const { stdout } = await promisify(execFile)(
    process.execPath,
    ['--import', loader, '--input-type=module', '--eval', program],
    {
      cwd: work,
      env: { HOME: home, XDG_CACHE_HOME: cache, XDG_CONFIG_HOME: config, XDG_DATA_HOME: data, XDG_STATE_HOME: state },
    },
  );
  expect(stdout.trim()).toBe('42');
  // The program's own folder, where a trace would be written, must stay empty as well.
  expect(await readdir(folder, { recursive: true })).toEqual(expect.arrayContaining(names));
  expect(await readdir(folder, { recursive: true })).toHaveLength(names.length);
});
