/** A worker is killed in the middle of a lesson, and another one ends it: the photos that lie with the first must go. */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, readdir, readFile, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { POCKET_FOLDER } from '../../worker/pocket/folder.ts';
import type { ToLedgerBot } from '../support/ledger-messages.ts';
import { type RedisServer, startRedisServer } from '../support/redis-server.ts';
import { type RunningBot, startTinyBot } from '../support/running-bot.ts';

const IN_TIME = { timeout: 150_000, interval: 100 };

let redis: RedisServer;
let bot: RunningBot;
let machines: string[];
const processes: ChildProcess[] = [];

beforeAll(async () => {
  redis = await startRedisServer();
  bot = await startTinyBot({ withStudent: true, withWorker: false, environment: { REDIS_URL: redis.url } });
  machines = await Promise.all([1, 2].map(() => mkdtemp(join(tmpdir(), 'sketchbooth-machine-'))));
  for (const machine of machines) {
    for (const shared of ['blobs', 'models']) await symlink(join(bot.config.dataDir, shared), join(machine, shared));
  }
}, 120_000);
afterAll(async () => {
  for (const worker of processes) worker.kill('SIGKILL');
  await bot.stop();
  await redis.stop();
  for (const machine of machines) await rm(machine, { recursive: true });
});

function startWorkerOn(machine: string): ChildProcess {
  const worker = fork(join(import.meta.dirname, '../support/ledger-process.ts'), ['worker'], {
    execArgv: ['--import', 'tsx'],
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  });
  processes.push(worker);
  const variables = { DATA_DIR: machine, REDIS_URL: redis.url, DEVICE: 'cpu', THREADS: '1', LOG_LEVEL: 'silent' };
  worker.send({ kind: 'start', variables } satisfies ToLedgerBot);
  return worker;
}

test('photos of a lesson whose worker was killed go when that worker is back', async () => {
  const [one, two] = machines as [string, string];
  const worker = startWorkerOn(one);
  await vi.waitFor(async () => {
    const workers = await bot.services.database.selectFrom('workers').select('name').execute();
    expect(workers).toHaveLength(1);
  }, IN_TIME);
  const names = ['1.png', '2.png', '3.png', '4.png'];
  const files = await Promise.all(names.map((name) => readFile(join(POCKET_FOLDER, 'examples', 'dog', name))));
  const photos = await Promise.all(files.map((file, i) => bot.chat.inbox.keepUpload(file, names[i]!)));
  const lesson = { name: 'Rex', class: 'dog', steps: 60, model: 'student' };
  const { jobId } = (await bot.chat.type('teach', lesson, { images: { photos } })) as { jobId: string };
  const folder = join(one, 'lessons', jobId);
  const pngs = async () => (await readdir(folder, { recursive: true })).filter((name) => name.endsWith('.png'));
  await vi.waitFor(async () => expect((await pngs()).length).toBeGreaterThanOrEqual(4), IN_TIME);
  worker.kill('SIGKILL');
  await once(worker, 'exit');
  expect(bot.chat.ends()).toHaveLength(0);

  startWorkerOn(two);
  await vi.waitFor(() => expect(bot.chat.ends()).toHaveLength(1), IN_TIME);
  expect(bot.chat.ends()[0]!.shown[0]!.text).toContain('is learned');
  expect(existsSync(join(two, 'lessons', jobId))).toBe(false);
  expect((await pngs()).length).toBeGreaterThanOrEqual(4);

  startWorkerOn(one);
  await vi.waitFor(() => expect(existsSync(folder)).toBe(false), IN_TIME);
}, 600_000);
