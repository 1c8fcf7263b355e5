import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { finishJob, jobsToEnqueue, markStarted, restartIdleLanes } from '../../bot/job-rows.ts';
import { JOB_KINDS } from '../../shared/queue.ts';
import { addPicture, type BotTables, openTables } from '../support/bot-tables.ts';

let tables: BotTables;

beforeAll(async () => {
  tables = await openTables();
});
afterAll(() => tables.close());
beforeEach(() => tables.clear());

/** Names of the users in the order in which their jobs are served. */
async function order(): Promise<string> {
  const rows = await tables.database
    .selectFrom('jobs')
    .select(['owner_id'])
    .where('state', '=', 'queued')
    .orderBy('tag')
    .orderBy('created_at')
    .execute();
  return rows.map(({ owner_id }) => owner_id).join('');
}

test('users take turns, however many jobs one of them has', async () => {
  const { database } = tables;
  for (let i = 0; i < 5; i++) await addPicture(database, { id: `a${i}`, userId: 'a' });
  for (let i = 0; i < 2; i++) await addPicture(database, { id: `b${i}`, userId: 'b' });
  expect(await order()).toBe('abab' + 'aaa');
});

test('a dear job counts for as many cheap ones as it costs', async () => {
  const { database } = tables;
  await addPicture(database, { id: 'a0', userId: 'a', costSeconds: 3 });
  await addPicture(database, { id: 'a1', userId: 'a' });
  for (let i = 0; i < 4; i++) await addPicture(database, { id: `b${i}`, userId: 'b' });
  expect(await order()).toBe('abbba' + 'b');
});

test('who comes late is served with those who run now, neither before nor after everyone', async () => {
  const { database } = tables;
  for (let i = 0; i < 6; i++) await addPicture(database, { id: `a${i}`, userId: 'a' });
  for (let i = 0; i < 3; i++) {
    await markStarted(database, `a${i}`);
    await finishJob(database, `a${i}`, { state: 'cancelled' });
  }
  const added = await addPicture(database, { id: 'c0', userId: 'c' });
  expect(added).toMatchObject({ kind: 'added', ahead: 0 });
  expect(await order()).toBe('caaa');
});

test('the order starts anew where nobody waits', async () => {
  const { database } = tables;
  await addPicture(database, { id: 'a0', userId: 'a', costSeconds: 1000 });
  await restartIdleLanes(database, JOB_KINDS);
  expect(await database.selectFrom('fair_shares').selectAll().execute()).toHaveLength(1);
  await finishJob(database, 'a0', { state: 'cancelled' });
  await restartIdleLanes(database, JOB_KINDS);
  expect(await database.selectFrom('fair_shares').selectAll().execute()).toHaveLength(0);
});

test('a delivery makes one job, and a job over the limit makes none and leaves no mark', async () => {
  const { database } = tables;
  const same = { userId: 'a', invocationId: 'same' };
  expect(await addPicture(database, { id: 'a0', ...same })).toMatchObject({ kind: 'added', ahead: 0 });
  expect(await addPicture(database, { id: 'a1', ...same })).toEqual({ kind: 'duplicate' });
  const limited = { id: 'a2', userId: 'a', maxJobsPerUser: 1 };
  expect(await addPicture(database, limited)).toEqual({ kind: 'too-many', whose: 'user' });
  expect(await addPicture(database, { id: 'b0', userId: 'b', maxJobsPerServer: 1 })).toEqual({
    kind: 'too-many',
    whose: 'server',
  });
  expect(await addPicture(database, { ...limited, maxJobsPerUser: 2 })).toMatchObject({ kind: 'added' });
  expect((await jobsToEnqueue(database, 10)).map(({ id }) => id)).toEqual(['a0', 'a2']);
});

test('a job ends once', async () => {
  const { database } = tables;
  await addPicture(database, { id: 'a0', userId: 'a' });
  expect(await finishJob(database, 'a0', { state: 'failed', error: 'no' })).toBe(true);
  expect(await finishJob(database, 'a0', { state: 'cancelled' })).toBe(false);
  const posts = await database.selectFrom('posts').select(['job_id', 'state']).execute();
  expect(posts).toEqual([{ job_id: 'a0', state: 'pending' }]);
});
