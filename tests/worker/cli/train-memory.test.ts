import { spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { saveLargerStudent, savePhotos } from '../../support/tiny-lesson.ts';

const root = join(import.meta.dirname, '..', '..', '..');
const PHOTO_SIDE = 256;

let folder: string;
const inFolder = (...names: string[]) => join(folder, ...names);

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'sketchbooth-'));
  await saveLargerStudent(inFolder('model'));
  await savePhotos(inFolder('photos'), ['#c03020', '#20a040', '#3040c0', '#d0c020'], PHOTO_SIDE);
});

afterAll(() => rm(folder, { recursive: true }));

interface Ended {
  readonly code: number | null;
  readonly errors: string;
  /** GiB that were resident at most. */
  readonly peak: number;
}

/** Runs the command in a process of its own and watches its memory, as the system counts it, until it ends. */
function learn(out: string, ...further: string[]): Promise<Ended> {
  const places = ['--model', inFolder('model'), '--instance-images', inFolder('photos'), '--out', inFolder(out)];
  const lesson = ['--instance-prompt', 'a car', '--max-train-steps', '3', '--validation-steps', '0', '--device', 'cpu'];
  const args = ['--import', 'tsx', join('worker', 'cli', 'train.ts'), ...places, ...lesson, ...further];
  const child = spawn(process.execPath, args, { cwd: root, stdio: ['ignore', 'ignore', 'pipe'] });
  let [errors, peak] = ['', 0];
  child.stderr.on('data', (chunk) => {
    errors += chunk;
  });
  const watch = setInterval(() => {
    peak = Math.max(peak, residentPeak(child.pid!));
  }, 50);
  return new Promise((resolve) => {
    child.once('close', (code) => {
      clearInterval(watch);
      resolve({ code, errors, peak });
    });
  });
}

function residentPeak(pid: number): number {
  const file = `/proc/${pid}/status`;
  const line = existsSync(file) ? /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync(file, 'utf8')) : undefined;
  return line ? Number(line[1]) / 2 ** 20 : 0;
}

function estimateIn(errors: string): number {
  return Number(/Needs about ([\d.]+) GiB/.exec(errors)?.[1]);
}

test.each([
  ['all weights', ['--method', 'fine-tune', '--resolution', '64']],
  ['a LoRA of large activations', ['--method', 'dreambooth-lora', '--resolution', '256', '--train-batch-size', '2']],
])('the estimate for %s is within 20 % of the peak of the process', async (name, lesson) => {
  const { code, errors, peak } = await learn(name, ...lesson);
  expect(errors).toMatch(/Needs about .* GiB free/);
  expect(code).toBe(0);
  expect(Math.abs(estimateIn(errors) / peak - 1), `${estimateIn(errors)} GiB estimated, ${peak} measured`).toBeLessThan(
    0.2,
  );
});

test('a lesson that does not fit is refused with settings that do', async () => {
  const tight = ['--method', 'fine-tune', '--resolution', '128', '--memory-limit', '0.5'];
  const refused = await learn('refused', ...tight);
  expect(refused.code).toBe(1);
  expect(refused.errors).toMatch(/must fit in 0\.50 GiB of memory, got one of about [\d.]+ GiB; what would fit: /);
  const [, flags = ''] = /what would fit: (.*?) \([\d.]+ GiB\)/.exec(refused.errors) ?? [];
  expect(flags).toContain('--');
  const { code, errors } = await learn('fitting', ...tight, ...flags.split(' '));
  expect(estimateIn(errors)).toBeLessThanOrEqual(0.5);
  expect(code).toBe(0);
});
