import { cp, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { loadTokenizer } from '../../../worker/diffusion/tokenizer.ts';
import { POCKET_FOLDER } from '../../../worker/pocket/folder.ts';
import { makePart, PART_NAMES } from '../../../worker/pocket/making/parts.ts';
import { rememberingTokenizer, repaintedCaption, trainingCaption } from '../../../worker/pocket/making/prompts.ts';
import { trainingScene } from '../../../worker/pocket/making/scenes.ts';
import { COLORS, PATTERNS } from '../../../worker/pocket/renderer/world.ts';
import { loadTensor, readSafetensorsHeader } from '../../../worker/runtime/safetensors.ts';
import { temporaryFolder } from '../../support/tiny-models.ts';

async function loadWeights(folder: string): Promise<Map<string, Float32Array>> {
  const { tensors } = await readSafetensorsHeader(join(folder, 'diffusion_pytorch_model.safetensors'));
  const values = await Promise.all(
    [...tensors.values()].map(async (stored) => [stored.name, await loadTensor(stored)] as const),
  );
  return new Map(values);
}

const readConfig = async (folder: string) => JSON.parse(await readFile(join(folder, 'config.json'), 'utf8'));

test('a part goes on from the float16 weights that are saved, and a second run from its checkpoint', async () => {
  const root = await temporaryFolder();
  const [folder, shipped] = [join(root, 'family'), join(POCKET_FOLDER, 'model', 'vae')];
  await cp(shipped, join(folder, 'model', 'vae'), { recursive: true });
  const losses: number[] = [];
  const options = {
    folder,
    workFolder: join(root, 'work'),
    seed: 1,
    minutes: undefined,
    // Moves no weight by more than a tenth of what float16 tells apart.
    learningRate: 1e-7,
    goesOn: true,
    session: { device: 'cpu', threads: 1 },
    onMessage: () => undefined,
    onProgress: ({ reports }: { reports: readonly { loss: number }[] }) => {
      losses.push(...reports.map(({ loss }) => loss));
    },
  } as const;
  expect(await makePart('vae', { ...options, steps: 1 })).toBe(1);
  // The shipped VAE's loss on crops, and not the 1.5 of fresh weights.
  expect(losses[0]).toBeLessThan(0.4);
  const [before, after] = await Promise.all([shipped, join(folder, 'model', 'vae')].map(loadWeights));
  expect([...after!.keys()].sort()).toEqual([...before!.keys()].sort());
  for (const [name, values] of before!) {
    const change = Math.max(...after!.get(name)!.map((value, i) => Math.abs(value - values[i]!)));
    expect(change, name).toBeLessThan(1e-3);
  }
  // What the shipped configuration says is measured again.
  const factors = await Promise.all([shipped, join(folder, 'model', 'vae')].map(readConfig));
  expect(factors[1].scaling_factor / factors[0].scaling_factor).toBeCloseTo(1, 1);
  expect(await makePart('vae', { ...options, steps: 2 })).toBe(2);
  expect(losses).toHaveLength(2);
});

test('the part of the decoder moves the decoder and leaves the encoder and its scaling factor bit for bit', async () => {
  const root = await temporaryFolder();
  const [folder, shipped] = [join(root, 'family'), join(POCKET_FOLDER, 'model', 'vae')];
  await cp(shipped, join(folder, 'model', 'vae'), { recursive: true });
  const losses: number[] = [];
  const steps = await makePart('vae-decoder', {
    folder,
    workFolder: join(root, 'work'),
    seed: 1,
    minutes: undefined,
    steps: 2,
    goesOn: false,
    session: { device: 'cpu', threads: 1 },
    onMessage: () => undefined,
    onProgress: ({ reports }) => losses.push(...reports.map(({ loss }) => loss)),
  });
  expect(steps).toBe(2);
  expect(losses[0]).toBeLessThan(0.4);
  const made = join(folder, 'model', 'vae');
  const [before, after] = await Promise.all([shipped, made].map(loadWeights));
  expect([...after!.keys()]).toEqual([...before!.keys()]);
  for (const [name, values] of before!) {
    if (/^(encoder|quant_conv)\./.test(name)) expect(after!.get(name), name).toEqual(values);
  }
  expect(after!.get('decoder.conv_in.weight')).not.toEqual(before!.get('decoder.conv_in.weight'));
  expect(await readConfig(made)).toEqual(await readConfig(shipped));
});

test('an unknown part is refused', () => {
  expect(() => makePart('none', {} as never)).toThrow(`must be one of ${PART_NAMES}, got none`);
});

test('captions are encoded word by word as the tokenizer encodes them whole, and fit into its length', async () => {
  const tokenizer = await loadTokenizer(join(POCKET_FOLDER, 'model', 'tokenizer'));
  const idsOf = rememberingTokenizer(tokenizer);
  for (let i = 0; i < 300; i++) {
    const caption = trainingCaption(i, 7 * i);
    const encoded = tokenizer.encode(caption);
    expect([...idsOf(caption)].map(Number), caption).toEqual(encoded.inputIds);
    expect(encoded.truncated).toBe('');
  }
});

test('captions of repainted pictures name neither a colour nor a pattern but their noun', () => {
  for (let i = 0; i < 300; i++) {
    const words = repaintedCaption(i, 7 * i).split(/[ ,]+/);
    // Plain backgrounds have colours of their own.
    const { noun, background } = trainingScene(i).described;
    expect(words).toContain(noun);
    // A template may call the photo plain.
    const named = [...COLORS, ...PATTERNS.slice(1)].filter((word) => words.includes(word));
    if (background !== 'plain') expect(named).toEqual([]);
  }
});
