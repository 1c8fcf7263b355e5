/** A worker is killed in the middle of a lesson, which then ends without it: the photos that lie with it must go. */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { POCKET_FOLDER } from '../../worker/pocket/folder.ts';
import type { ToLedgerBot } from '../support/ledger-messages.ts';
import { type RedisServer, startRedisServer } from '../support/redis-server.ts';
import { type RunningBot, startTinyBot } from '../support/running-bot.ts';

const IN_TIME = { timeout: 150_000, interval: 100 };

let redis: RedisServer;
let bot: RunningBot;
const processes: ChildProcess[] = [];

beforeAll(async () => {
  redis = await startRedisServer();
  bot = await startTinyBot({ withStudent: true, withWorker: false, environment: { REDIS_URL: redis.url } });
}, 120_000);
afterAll(async () => {
  for (const worker of processes) worker.kill('SIGKILL');
  await bot.stop();
  await redis.stop();
});

function startWorker(): ChildProcess {
  const worker = fork(join(import.meta.dirname, '../support/ledger-process.ts'), ['worker'], {
    execArgv: ['--import', 'tsx'],
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  });
  processes.push(worker);
  const { dataDir } = bot.config;
  const variables = { DATA_DIR: dataDir, REDIS_URL: redis.url, DEVICE: 'cpu', THREADS: '1', LOG_LEVEL: 'silent' };
  worker.send({ kind: 'start', variables } satisfies ToLedgerBot);
  return worker;
}

test('photos of a lesson whose worker was killed go when that worker is back', async () => {
  const worker = startWorker();
  await vi.waitFor(async () => {
    const workers = await bot.services.database.selectFrom('workers').select('name').execute();
    expect(workers).toHaveLength(1);
  }, IN_TIME);
  const names = ['1.png', '2.png', '3.png', '4.png'];
  const files = await Promise.all(names.map((name) => readFile(join(POCKET_FOLDER, 'examples', 'dog', name))));
  const photos = await Promise.all(files.map((file, i) => bot.chat.inbox.keepUpload(file, names[i]!)));
  const lesson = { name: 'Rex', class: 'dog', steps: 600, model: 'student' };
  const { jobId } = (await bot.chat.type('teach', lesson, { images: { photos } })) as { jobId: string };
  const folder = join(bot.config.dataDir, 'lessons', jobId);
  const pngs = async () => (await readdir(folder, { recursive: true })).filter((name) => name.endsWith('.png'));
  await vi.waitFor(async () => expect((await pngs()).length).toBeGreaterThanOrEqual(4), IN_TIME);
  worker.kill('SIGKILL');
  await once(worker, 'exit');
  expect(bot.chat.ends()).toHaveLength(0);

  // Redis has lost the entry, as one without an append-only file does; the row ends all the same.
  await bot.services.queues.queue('lesson').obliterate({ force: true });
  await bot.chat.type('cancel', {});
  await vi.waitFor(async () => {
    const row = await bot.services.database.selectFrom('jobs').select('state').executeTakeFirstOrThrow();
    expect(row.state).toBe('cancelled');
  }, IN_TIME);
  for (const photo of photos) expect(await bot.services.store.has(photo)).toBe(false);
  expect((await pngs()).length).toBeGreaterThanOrEqual(4);

  startWorker();
  await vi.waitFor(() => expect(existsSync(folder)).toBe(false), IN_TIME);
}, 600_000);
