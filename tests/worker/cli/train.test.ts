import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { beforeEach, expect, test } from 'vitest';
import { readRecords } from '../../../worker/training/lesson-journal.ts';
import { savePhotos, saveTinyStudent } from '../../support/tiny-lesson.ts';
import { temporaryFolder } from '../../support/tiny-models.ts';

const root = join(import.meta.dirname, '..', '..', '..');
const script = join(root, 'worker', 'cli', 'train.ts');
const WEIGHTS = 'pytorch_lora_weights.safetensors';
const STEPS = 24;

let folder: string;
const inFolder = (...names: string[]) => join(folder, ...names);

beforeEach(async () => {
  folder = await temporaryFolder();
  await saveTinyStudent(inFolder('model'));
  await savePhotos(inFolder('photos'), ['#c03020', '#20a040', '#3040c0', '#d0c020']);
});

interface Started {
  readonly child: ChildProcess;
  readonly ended: Promise<number | null>;
  readonly errors: () => string;
}

/** Starts the command of the repository in one process, so that a signal reaches the lesson itself. */
function start(args: readonly string[]): Started {
  const child = spawn(process.execPath, ['--import', 'tsx', script, ...args], {
    cwd: root,
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let errors = '';
  child.stderr.on('data', (chunk) => {
    errors += chunk;
  });
  return { child, ended: new Promise((resolve) => child.once('close', resolve)), errors: () => errors };
}

function learn(name: string, ...further: string[]): Started {
  const lesson = ['--method', 'dreambooth-lora', '--class-noun', 'car', '--learning-rate', '1e-2'];
  const length = ['--max-train-steps', `${STEPS}`, '--checkpointing-steps', '5', '--validation-steps', '8'];
  const places = ['--model', inFolder('model'), '--instance-images', inFolder('photos'), '--out', inFolder(name)];
  return start([
    ...lesson,
    ...length,
    ...places,
    '--resolution',
    '64',
    '--device',
    'cpu',
    '--threads',
    '1',
    ...further,
  ]);
}

async function until(isTrue: () => boolean, { child, errors }: Started): Promise<void> {
  while (!isTrue()) {
    if (child.exitCode !== null) throw new Error(`Cannot wait for the lesson: it ended before, ${errors()}`);
    await sleep(4);
  }
}

const linesOf = (name: string) =>
  existsSync(inFolder(name, 'lesson.jsonl')) ? readFileSync(inFolder(name, 'lesson.jsonl'), 'utf8') : '';

/** What a lesson left that must not depend on whether it was killed. */
async function traces(name: string) {
  const records = await readRecords(inFolder(name, 'lesson.jsonl'));
  const pictures = await readdir(inFolder(name, 'samples'));
  return {
    weights: (await readFile(inFolder(name, WEIGHTS))).toString('base64'),
    records: records.map(({ seconds: _, ...record }) => record),
    pictures: await Promise.all(
      pictures.map(async (picture) => [
        picture,
        (await readFile(inFolder(name, 'samples', picture))).toString('base64'),
      ]),
    ),
    files: (await readdir(inFolder(name))).sort(),
  };
}

// Seven starts of the command, most of which is loading TypeScript.
test('npm run train leaves the same weights, records and pictures however often it is killed', {
  timeout: 900_000,
}, async () => {
  const moments: ReadonlyMap<string, () => boolean> = new Map([
    ['in the first look', () => existsSync(inFolder('killed.checkpoints', 'learned-000000000.safetensors'))],
    ['between checkpoint and look', () => linesOf('killed').includes('"step":6,')],
    ['in the second look', () => existsSync(inFolder('killed.checkpoints', 'learned-000000008.safetensors'))],
    ['after a sample picture', () => existsSync(inFolder('killed', 'samples', 'step-000016-0.png'))],
    ['at the end', () => existsSync(inFolder('killed', WEIGHTS))],
  ]);
  const whole = learn('whole', '--seed', '3');
  for (const [i, isReached] of [...moments.values()].entries()) {
    const lesson = learn('killed', '--seed', '3', ...(i === 0 ? [] : ['--resume-from-checkpoint', 'latest']));
    await until(isReached, lesson);
    await sleep(Math.random() * 30);
    lesson.child.kill('SIGKILL');
    await lesson.ended;
  }
  if (!existsSync(inFolder('killed', 'lesson.json'))) {
    const last = learn('killed', '--resume-from-checkpoint', 'latest');
    expect(await last.ended, last.errors()).toBe(0);
  }
  expect(await whole.ended, whole.errors()).toBe(0);
  const [expected, got] = [await traces('whole'), await traces('killed')];
  expect(got).toEqual(expected);
  const steps = got.records.filter(({ kind }) => kind === 'step').map(({ step }) => step);
  expect(steps).toEqual(Array.from({ length: STEPS }, (_, i) => i + 1));
  expect(got.files).toEqual(['lesson.json', 'lesson.jsonl', 'loss.svg', WEIGHTS, 'samples']);
});

test('Ctrl-C ends npm run train with a checkpoint and says how to go on and how to take what was learned', {
  timeout: 600_000,
}, async () => {
  const lesson = learn('paused');
  await until(() => linesOf('paused').includes('"step":2,'), lesson);
  lesson.child.kill('SIGINT');
  expect(await lesson.ended, lesson.errors()).toBe(130);
  const step = (await readRecords(inFolder('paused', 'lesson.jsonl'))).at(-1)!.step;
  expect(lesson.errors()).toContain(`Stopped after ${step} of ${STEPS} steps. To go on, give the same command with`);
  expect(existsSync(inFolder('paused', WEIGHTS))).toBe(false);
  const taken = start(['--from-checkpoint', 'latest', '--out', inFolder('paused')]);
  const resumed = learn('paused', '--resume-from-checkpoint', 'latest');
  expect(await taken.ended, taken.errors()).toBe(0);
  expect(await resumed.ended, resumed.errors()).toBe(0);
  expect(existsSync(inFolder('paused', `step-${String(step).padStart(6, '0')}`, WEIGHTS))).toBe(true);
  expect(existsSync(inFolder('paused', WEIGHTS))).toBe(true);
});
