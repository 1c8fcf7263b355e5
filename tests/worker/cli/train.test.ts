import { type ChildProcess, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { join, relative } from 'node:path';
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

/** Files that say how long things took. */
const TIMED: readonly string[] = ['lesson.json', 'lesson.jsonl'];

/** What a lesson left that must not depend on whether it was killed: records, and weights and pictures by their hashes. */
async function traces(name: string) {
  const records = await readRecords(inFolder(name, 'lesson.jsonl'));
  const entries = await readdir(inFolder(name), { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile()).map(({ parentPath, name: file }) => join(parentPath, file));
  const hashes = new Map<string, string>();
  for (const file of files.sort()) {
    const path = relative(inFolder(name), file);
    const hash = createHash('sha256').update(await readFile(file));
    hashes.set(path, TIMED.includes(path) ? 'timed' : hash.digest('hex'));
  }
  return { records: records.map(({ seconds: _, ...record }) => record), hashes };
}

type Moments = ReadonlyMap<string, () => boolean>;
const AFTER_CHECKPOINT = ['between checkpoint and look', () => linesOf('killed').includes('"step":6,')] as const;
const AFTER_PICTURE = [
  'after a sample picture',
  () => existsSync(inFolder('killed', 'samples', 'step-000016-0.png')),
] as const;
const EVERY_MOMENT: Moments = new Map([
  ['in the first look', () => existsSync(inFolder('killed.checkpoints', 'learned-000000000.safetensors'))],
  AFTER_CHECKPOINT,
  ['in the second look', () => existsSync(inFolder('killed.checkpoints', 'learned-000000008.safetensors'))],
  AFTER_PICTURE,
  ['at the end', () => existsSync(inFolder('killed', WEIGHTS))],
]);
const TWO_MOMENTS: Moments = new Map([AFTER_CHECKPOINT, AFTER_PICTURE]);
const OF_ALL_WEIGHTS = [
  '--method',
  'dreambooth',
  '--no-with-prior-preservation',
  '--train-text-encoder',
  '--threads',
  '2',
];

// Four to seven starts of the command, most of which is loading TypeScript.
test.each<[of: string, moments: Moments, flags: readonly string[], result: string]>([
  ['a LoRA', EVERY_MOMENT, [], WEIGHTS],
  ['all weights and the text encoder on two threads', TWO_MOMENTS, OF_ALL_WEIGHTS, 'text_encoder/model.safetensors'],
])(
  'npm run train of %s leaves the same weights, records and pictures however often it is killed',
  {
    timeout: 900_000,
  },
  async (_, moments, flags, result) => {
    const whole = learn('whole', '--seed', '3', ...flags);
    for (const [i, isReached] of [...moments.values()].entries()) {
      const resumed = i === 0 ? [] : ['--resume-from-checkpoint', 'latest'];
      const lesson = learn('killed', '--seed', '3', ...flags, ...resumed);
      await until(isReached, lesson);
      await sleep(Math.random() * 30);
      lesson.child.kill('SIGKILL');
      await lesson.ended;
    }
    if (!existsSync(inFolder('killed', 'lesson.json'))) {
      const last = learn('killed', ...flags, '--resume-from-checkpoint', 'latest');
      expect(await last.ended, last.errors()).toBe(0);
    }
    expect(await whole.ended, whole.errors()).toBe(0);
    const [expected, got] = [await traces('whole'), await traces('killed')];
    expect(got).toEqual(expected);
    const steps = got.records.filter(({ kind }) => kind === 'step').map(({ step }) => step);
    expect(steps).toEqual(Array.from({ length: STEPS }, (_, i) => i + 1));
    const files = [...got.hashes.keys()];
    expect(files).toEqual(expect.arrayContaining(['lesson.json', 'lesson.jsonl', 'loss.svg', result]));
    expect(files.filter((file) => file.includes('partial'))).toEqual([]);
  },
);

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
