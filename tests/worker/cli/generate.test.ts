import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { readPngText } from '../../../worker/diffusion/png-text.ts';
import { loadTensor, readSafetensorsHeader, saveSafetensors } from '../../../worker/runtime/safetensors.ts';

const root = join(import.meta.dirname, '..', '..', '..');
const golden = join(root, 'tests', 'golden');
let folder: string;
let model: string;

/** Runs a command of the repository as a person does, in a process of its own. */
async function run(command: string, ...args: string[]): Promise<{ stdout: string; stderr: string }> {
  const script = join(root, 'worker', 'cli', `${command}.ts`);
  return promisify(execFile)(join(root, 'node_modules', '.bin', 'tsx'), [script, ...args], { cwd: folder });
}

async function failure(command: string, ...args: string[]): Promise<string> {
  const outcome = await run(command, ...args).catch((error: { code: number; stderr: string }) => error);
  if (!('code' in outcome)) throw new Error('Cannot compare the error: the command succeeded');
  expect(outcome.code).toBe(1);
  return outcome.stderr;
}

const generate = (...args: string[]) => run('generate', '--model', model, '--device', 'cpu', '--steps', '2', ...args);

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'sketchbooth-cli-'));
  model = join(folder, 'model');
  const tokenizer = join(golden, 'small-vocabulary');
  await run('random-model', '--from', join(golden, 'tiny-pipeline'), '--tokenizer', tokenizer, '--out', model);
  const grey = { create: { width: 90, height: 70, channels: 3 as const, background: '#808080' } };
  await writeFile(join(folder, 'map.png'), await sharp(grey).png().toBuffer());
}, 60_000);

afterAll(() => rm(folder, { recursive: true }));

describe('npm run generate', () => {
  test('gives the same bytes twice for a seed, and others for another seed', async () => {
    for (const [name, seed] of [
      ['a', 5],
      ['b', 5],
      ['c', 6],
    ] as const) {
      await generate('--prompt', 'a red car', '--seed', String(seed), '--out', `${name}.png`);
    }
    const [a, b, c] = await Promise.all(['a', 'b', 'c'].map((name) => readFile(join(folder, `${name}.png`))));
    expect(a!.equals(b!)).toBe(true);
    expect(a!.equals(c!)).toBe(false);
    expect(await sharp(a!).metadata()).toMatchObject({ width: 128, height: 128, channels: 3 });
  });

  test('writes a recipe into the picture from which it can be made again', async () => {
    await generate('--prompt', 'a café – 東京', '--seed', '3', '--count', '2', '--clip-skip', '1', '--out', 'pair.png');
    const text = readPngText(await readFile(join(folder, 'pair-2.png')));
    const recipe = JSON.parse(text['sketchbooth']!);
    expect(recipe).toMatchObject({
      prompt: 'a café – 東京',
      seed: 4,
      width: 128,
      height: 128,
      numInferenceSteps: 2,
      clipSkip: 1,
      model,
    });
    await generate('--prompt', recipe.prompt, '--seed', String(recipe.seed), '--clip-skip', '1', '--out', 'again.png');
    const [first, again] = await Promise.all(['pair-2.png', 'again.png'].map((name) => readFile(join(folder, name))));
    expect(again!.equals(first!)).toBe(true);
  });

  test('starts from the noise of --latents and writes --out-latents', async () => {
    const noise = Float32Array.from({ length: 4 * 16 * 16 }, (_, i) => Math.sin(i * i));
    await saveSafetensors(join(folder, 'noise.safetensors'), [
      ['latents', { dtype: 'F32', shape: [1, 4, 16, 16], values: noise }],
    ]);
    const common = ['--prompt', 'a car', '--latents', 'noise.safetensors', '--guidance-scale', '1'];
    await generate(...common, '--seed', '1', '--out', 'x.png', '--out-latents', 'x.safetensors');
    await generate(...common, '--seed', '2', '--out', 'y.png', '--out-latents', 'y.safetensors');
    const [x, y] = await Promise.all(
      ['x', 'y'].map(async (name) => {
        const { tensors } = await readSafetensorsHeader(join(folder, `${name}.safetensors`));
        return tensors.get('latents')!;
      }),
    );
    expect(x!.shape).toEqual([1, 4, 16, 16]);
    expect(await loadTensor(x!)).toEqual(await loadTensor(y!));
  });

  test('steers by a ControlNet and an adapter together, and a scale of 0 changes nothing', async () => {
    const controls = (scale: number) => [
      ['--controlnet', `${join(model, 'controlnet')}=map.png,scale=${scale},start=0.1`],
      ['--adapter', `${join(model, 't2i_adapter')}=map.png,scale=${scale}`],
    ];
    const common = ['--prompt', 'a car', '--seed', '1'];
    await generate(...common, '--out', 'free.png');
    await generate(...common, ...controls(0).flat(), '--out', 'zero.png');
    await generate(...common, ...controls(1).flat(), '--out', 'held.png');
    const pixels = await Promise.all(
      ['free', 'zero', 'held'].map((name) =>
        sharp(join(folder, `${name}.png`))
          .raw()
          .toBuffer(),
      ),
    );
    expect(pixels[1]!.equals(pixels[0]!)).toBe(true);
    expect(pixels[2]!.equals(pixels[0]!)).toBe(false);
  });

  test('repaints only where the mask is white', async () => {
    const black = { create: { width: 128, height: 128, channels: 3 as const, background: '#000000' } };
    await writeFile(join(folder, 'mask.png'), await sharp(black).png().toBuffer());
    const common = ['--prompt', 'a car', '--image', 'map.png', '--strength', '0.9'];
    // With nothing to repaint, every seed must leave the latents of the image; only the encoder's noise differs.
    await generate(
      ...common,
      '--mask',
      'mask.png',
      '--seed',
      '1',
      '--out',
      'kept.png',
      '--out-latents',
      'kept.safetensors',
    );
    await generate(...common, '--seed', '1', '--out', 'changed.png', '--out-latents', 'changed.safetensors');
    const read = async (name: string) =>
      loadTensor((await readSafetensorsHeader(join(folder, name))).tensors.get('latents')!);
    const [kept, changed] = [await read('kept.safetensors'), await read('changed.safetensors')];
    const spread = (values: Float32Array) =>
      Math.sqrt(values.reduce((sum, value) => sum + value ** 2, 0) / values.length);
    expect(spread(kept)).toBeGreaterThan(0);
    expect(spread(changed.map((value, i) => value - kept[i]!))).toBeGreaterThan(0.1 * spread(kept));
  });

  test.each([
    [['--prompt', 'a'], /--out is missing/],
    [['--prompt', 'a', '--out', 'a.jpg'], /--out must be a file name that ends in \.png, got "a\.jpg"/],
    [['--prompt', 'a', '--out', 'a.png', '--width', '100'], /multiples of 8, got 100 x 128/],
    [['--prompt', 'a', '--out', 'a.png', '--scheduler', 'best'], /--scheduler must be one of ddim, .*got "best"/],
    [
      ['--prompt', 'a', '--out', 'a.png', '--controlnet', 'nothing'],
      /--controlnet must be FOLDER=IMAGE, got "nothing"/,
    ],
    [
      ['--prompt', 'a', '--out', 'a.png', '--strength', '0', '--image', 'map.png'],
      /strength must be above 0 and at most 1, got 0/,
    ],
    [['--prompt', 'a', '--out', 'a.png', '--mask', 'map.png'], /a mask needs an image/],
    [['--prompt', 'a', '--out', 'a.png', '--image', 'none.png'], /Cannot load .*none\.png/],
    [['--prompt', 'a', '--out', 'a.png', '--lora', 'none.safetensors'], /none\.safetensors/],
  ])('refuses %j in one line that says why', async (args, message) => {
    const error = await failure('generate', '--model', model, '--device', 'cpu', ...args);
    expect(error).toMatch(message);
    expect(error).not.toContain('    at ');
  });
});

describe('npm run models -- check', () => {
  test('tells family, parameters and memory of a whole model', async () => {
    const { stdout } = await run('models', 'check', model);
    expect(stdout).toContain('SD 1.x');
    expect(stdout).toContain('Every tensor is there');
    expect(stdout).toMatch(/A picture on cpu in float32 needs about \d/);
  });
});
