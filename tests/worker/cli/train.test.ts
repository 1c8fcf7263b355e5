import { type ChildProcess, spawn } from 'node:child_process';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { readRecords } from '../../../worker/training/lesson-journal.ts';
import { savePhotos, saveTinyStudent } from '../../support/tiny-lesson.ts';
import { temporaryFolder } from '../../support/tiny-models.ts';

const root = join(import.meta.dirname, '..', '..', '..');
const script = join(root, 'worker', 'cli', 'train.ts');

/** Starts the command of the repository in one process, so that a signal reaches the lesson itself. */
function start(args: readonly string[]): { child: ChildProcess; ended: Promise<number | null> } {
  const child = spawn(process.execPath, ['--import', 'tsx', script, ...args], { cwd: root, stdio: 'ignore' });
  return { child, ended: new Promise((resolve) => child.once('exit', resolve)) };
}

async function hasCheckpoint(folder: string): Promise<boolean> {
  const names = await readdir(folder).catch(() => []);
  return names.some((name) => name.endsWith('.safetensors'));
}

test('npm run train gives the same bytes when it is killed after a checkpoint and resumed', async () => {
  const folder = await temporaryFolder();
  const [model, photos] = [join(folder, 'model'), join(folder, 'photos')];
  await saveTinyStudent(model);
  await savePhotos(photos, ['#c03020', '#20a040', '#3040c0', '#d0c020']);
  const lesson = ['--method', 'dreambooth-lora', '--class-noun', 'car', '--seed', '3', '--learning-rate', '1e-3'];
  const length = ['--max-train-steps', '400', '--checkpointing-steps', '40', '--resolution', '64'];
  const places = ['--model', model, '--instance-images', photos, '--device', 'cpu', '--threads', '1'];
  const into = (name: string, ...further: string[]) =>
    start([...lesson, ...length, ...places, '--out', join(folder, name), ...further]);
  const whole = into('whole');
  const { child, ended } = into('killed');
  while (!(await hasCheckpoint(join(folder, 'killed.checkpoints')))) {
    if (child.exitCode !== null) throw new Error('Cannot kill the lesson: it ended before its first checkpoint');
    await sleep(10);
  }
  await sleep(Math.random() * 200);
  child.kill('SIGKILL');
  await ended;
  expect(child.signalCode).toBe('SIGKILL');
  expect(await readdir(join(folder, 'killed'))).toEqual(['lesson.jsonl']);
  const resumed = into('killed', '--resume-from-checkpoint', 'latest');
  expect(await Promise.all([whole.ended, resumed.ended])).toEqual([0, 0]);
  const [expected, got] = await Promise.all(
    ['whole', 'killed'].map((name) => readFile(join(folder, name, 'pytorch_lora_weights.safetensors'))),
  );
  expect(got!.equals(expected!)).toBe(true);
  const steps = (await readRecords(join(folder, 'killed', 'lesson.jsonl'))).map(({ step }) => step);
  expect(steps).toEqual(Array.from({ length: 400 }, (_, i) => i + 1));
  expect(await readdir(join(folder, 'killed'))).toEqual(expect.arrayContaining(['lesson.json', 'loss.svg']));
});
