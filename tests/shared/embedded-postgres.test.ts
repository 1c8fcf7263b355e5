import { fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { openDatabase } from '../../shared/database.ts';
import { EmbeddedPostgres } from '../../shared/embedded-postgres.ts';
import { lockFolder } from '../../shared/process-lock.ts';

let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'sketchbooth-pg-'));
});
afterEach(() => rm(folder, { recursive: true }));

test('statements of others wait while a transaction is open, and a failed one leaves nothing', async () => {
  const embedded = await EmbeddedPostgres.open(folder);
  const database = await openDatabase(embedded);
  const row = { platform: 'web', scope: 'channel', scope_id: 'a', changes: '{}' } as const;
  const inTransaction = database.transaction().execute(async (transaction) => {
    await transaction.insertInto('settings').values(row).execute();
    await new Promise((resolve) => setTimeout(resolve, 50));
    throw new Error('changed my mind');
  });
  const outside = database
    .insertInto('settings')
    .values({ ...row, scope_id: 'b' })
    .execute();
  await expect(inTransaction).rejects.toThrow('changed my mind');
  await outside;
  const rows = await database.selectFrom('settings').select('scope_id').execute();
  expect(rows).toEqual([{ scope_id: 'b' }]);
  await embedded.end();
});

test('tables are there after they were closed, and opening them again changes nothing', async () => {
  for (const count of [1, 2]) {
    const embedded = await EmbeddedPostgres.open(folder);
    const database = await openDatabase(embedded);
    await database.insertInto('timings').values({ kind: 'picture', model: 'm', units: 1, seconds: 2 }).execute();
    expect(await database.selectFrom('timings').selectAll().execute()).toHaveLength(count);
    await embedded.end();
  }
});

test('a folder belongs to one process, and is taken over from one that was killed', async () => {
  const script = join(folder, 'hold.mjs');
  const lock = join(import.meta.dirname, '../../shared/process-lock.ts');
  await writeFile(
    script,
    `const { lockFolder } = await import(${JSON.stringify(lock)});
    await lockFolder(${JSON.stringify(folder)}); process.send('held'); setInterval(() => {}, 1000);`,
  );
  const holder = fork(script, { execArgv: ['--import', 'tsx'] });
  await once(holder, 'message');
  await expect(lockFolder(folder)).rejects.toThrow(/one process at a time may use it/);
  holder.kill('SIGKILL');
  await once(holder, 'exit');
  await (await lockFolder(folder)).release();
});
