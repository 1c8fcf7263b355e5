import { spawn } from 'node:child_process';
import { copyFile, readdir, readFile, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { UserError } from '../../../shared/errors.ts';
import { saveSafetensors } from '../../../worker/runtime/safetensors.ts';
import {
  loadLatestCheckpoint,
  removeCheckpoints,
  saveCheckpoint,
  type TrainingCheckpoint,
} from '../../../worker/training/checkpoint-file.ts';
import type { TrainedTensors } from '../../../worker/training/trained-tensors.ts';
import { temporaryFolder } from '../../support/tiny-models.ts';
import { checkpointAt } from './checkpoint-steps.ts';

function smallCheckpoint(step: number): TrainingCheckpoint {
  const weights = (...values: number[]) => ({ shape: [values.length], values: Float32Array.from(values) });
  return {
    step,
    groups: {
      trained: new Map([
        ['conv_in.weight', weights(step, -1.5, 1e-30)],
        ['lora:odd:name', weights(0.1)],
      ]),
      m: new Map([['conv_in.weight', { shape: [], values: Float32Array.of(Number.NaN) }]]),
    },
    state: { rng: [step, 4294967295], losses: [0.1, 1 / 3], note: 'café' },
  };
}

const fileOf = (folder: string, step: number) =>
  join(folder, `checkpoint-${String(step).padStart(9, '0')}.safetensors`);

test('a checkpoint loads as it was saved', async () => {
  const folder = join(await temporaryFolder(), 'new', 'checkpoints');
  expect(await loadLatestCheckpoint(folder)).toBeUndefined();
  await saveCheckpoint(folder, smallCheckpoint(7));
  expect(await loadLatestCheckpoint(folder)).toEqual({ ...smallCheckpoint(7), broken: [] });
});

test('the two newest checkpoints are kept, and what a killed process left is removed', async () => {
  const folder = await temporaryFolder();
  await writeFile(`${fileOf(folder, 1)}.0f8a-77.partial`, 'torn');
  await writeFile(join(folder, 'notes.txt'), 'kept');
  for (const step of [500, 1000, 9, 1500, 2000]) await saveCheckpoint(folder, smallCheckpoint(step));
  expect((await readdir(folder)).sort()).toEqual([
    'checkpoint-000001500.safetensors',
    'checkpoint-000002000.safetensors',
    'notes.txt',
  ]);
  expect((await loadLatestCheckpoint(folder))?.step).toBe(2000);
  await removeCheckpoints(folder);
  expect(await readdir(folder)).toEqual(['notes.txt']);
});

async function flipByte(file: string, at: number): Promise<void> {
  const bytes = await readFile(file);
  const place = at < 0 ? bytes.length + at : at;
  bytes[place] = bytes[place]! ^ 1;
  await writeFile(file, bytes);
}

const DAMAGES: Record<string, (file: string) => Promise<void>> = {
  'is cut short': (file) => truncate(file, 600),
  'is empty': (file) => truncate(file, 0),
  'has a changed value': (file) => flipByte(file, -40),
  'has a changed checksum': (file) => flipByte(file, -1),
  'has a changed state': async (file) => {
    const bytes = await readFile(file);
    await flipByte(file, bytes.indexOf('4294967295'));
  },
  'has zeros where the disk lost its end': async (file) => {
    const bytes = await readFile(file);
    await writeFile(file, bytes.fill(0, bytes.length - 30));
  },
  'is another file': (file) => saveSafetensors(file, [['a', { dtype: 'F32', shape: [0], values: new Float32Array() }]]),
};

test.each(Object.entries(DAMAGES))('a newest checkpoint that %s gives way to the one before', async (_, damage) => {
  const folder = await temporaryFolder();
  await saveCheckpoint(folder, smallCheckpoint(1));
  await saveCheckpoint(folder, smallCheckpoint(2));
  await damage(fileOf(folder, 2));
  const loaded = await loadLatestCheckpoint(folder);
  expect(loaded).toMatchObject(smallCheckpoint(1));
  expect(loaded?.broken).toEqual([expect.stringContaining(`Cannot read ${fileOf(folder, 2)}: `)]);
  // The training goes on from the older one, whose copy must outlive the broken file.
  await saveCheckpoint(folder, smallCheckpoint(2));
  expect((await loadLatestCheckpoint(folder))?.broken).toEqual([]);
  expect(await readdir(folder)).toHaveLength(2);
});

test('checkpoints that are all broken are refused instead of starting anew', async () => {
  const folder = await temporaryFolder();
  await saveCheckpoint(folder, smallCheckpoint(1));
  await copyFile(fileOf(folder, 1), fileOf(folder, 2));
  for (const step of [1, 2]) await truncate(fileOf(folder, step), 100);
  await expect(loadLatestCheckpoint(folder)).rejects.toThrow(UserError);
  await expect(loadLatestCheckpoint(folder)).rejects.toThrow(/a checkpoint must be whole; .*2\.safetensors.*1\.safet/s);
});

test('a state that JSON cannot hold is refused, and the older checkpoint stays', async () => {
  const folder = await temporaryFolder();
  await saveCheckpoint(folder, smallCheckpoint(1));
  const state = { losses: { last: Number.NaN } };
  await expect(saveCheckpoint(folder, { ...smallCheckpoint(2), state })).rejects.toThrow('last of the state');
  expect((await loadLatestCheckpoint(folder))?.step).toBe(1);
});

test('a whole checkpoint always loads after the process was killed while saving', async () => {
  const folder = await temporaryFolder();
  const script = join(import.meta.dirname, 'checkpoint-writer.ts');
  let said = 0;
  for (let round = 0; round < 6; round++) {
    const child = spawn(process.execPath, ['--import', 'tsx', script, folder], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const lines = createInterface({ input: child.stdout });
    const ended = new Promise((resolve) => lines.once('close', resolve));
    lines.on('line', (line) => {
      said = Number(line);
    });
    await new Promise((resolve) => lines.once('line', resolve));
    await sleep(Math.random() * 120);
    child.kill('SIGKILL');
    await ended;
    const loaded = await loadLatestCheckpoint(folder);
    // What was said to be saved is there; the kill may fall between the rename and the saying.
    expect([said, said + 1]).toContain(loaded?.step);
    expect(loaded?.broken).toEqual([]);
    expect(loaded).toMatchObject({ state: checkpointAt(loaded!.step).state });
    const bytesOf = (tensors: TrainedTensors | undefined) =>
      Buffer.from(tensors!.get('mid_block.weight')!.values.buffer);
    for (const [group, tensors] of Object.entries(checkpointAt(loaded!.step).groups)) {
      expect(bytesOf(loaded?.groups[group]).equals(bytesOf(tensors))).toBe(true);
    }
    expect((await readdir(folder)).filter((file) => !file.endsWith('.partial')).length).toBeLessThanOrEqual(3);
  }
});
