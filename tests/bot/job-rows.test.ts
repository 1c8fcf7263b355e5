import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { finishJob, jobsToEnqueue, markStarted, restartIdleLanes } from '../../bot/job-rows.ts';
import { openLines } from '../../bot/lines.ts';
import { commandStatements } from '../../bot/statements.ts';
import { JOB_KINDS } from '../../shared/queue.ts';
import { addPicture, type BotTables, newPicture, openTables } from '../support/bot-tables.ts';

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

test('jobs that come at the same moment are limited and ordered as if they came one by one', async () => {
  const { addJob } = commandStatements(tables.database);
  const asked = [...Array(13)].map((_, i) =>
    newPicture({ id: `a${i}`, userId: i % 4 === 3 ? 'b' : 'a', maxJobsPerUser: 8 }),
  );
  const added = await Promise.all(asked.map(addJob));
  expect(added.map(({ kind }) => kind)).toEqual([...Array(10).fill('added'), 'too-many', 'added', 'too-many']);
  expect(added[2]).toMatchObject({ tag: 2, ahead: 2, aheadSeconds: 2 });
  expect(added[3]).toMatchObject({ tag: 0, ahead: 1, aheadSeconds: 1 });
  expect((await order()).slice(6)).toBe('aaaaa');
});

test('what cannot be written fails alone, however many come with it', async () => {
  const { addJob } = commandStatements(tables.database);
  const asked = [...Array(20)].map((_, i) =>
    newPicture({ id: `a${i}`, userId: `user ${i}`, ...(i === 7 && { note: '\0' }) }),
  );
  const ends = await Promise.allSettled(asked.map(addJob));
  expect(ends.flatMap(({ status }, i) => (status === 'rejected' ? [i] : []))).toEqual([7]);
  expect(await jobsToEnqueue(tables.database, 100)).toHaveLength(19);
});

test('near places are counted, far ones told to the hundred', async () => {
  const { database } = tables;
  const { addJob } = commandStatements(database);
  const lines = openLines(database);
  const asked = [...Array(350)].map((_, i) => newPicture({ id: `a${i}`, userId: `user ${i}`, maxJobsPerServer: 1000 }));
  const added = await Promise.all(asked.map(addJob));
  const placeOf = async (i: number) => {
    const one = added[i]!;
    if (one.kind !== 'added') throw new Error(`Not added: ${i}`);
    return lines.placeOfAdded('picture', one);
  };
  expect(await placeOf(99)).toEqual({ ahead: 99, aheadSeconds: 99, isAbout: false });
  const late = await addPicture(database, { id: 'late', userId: 'user 0', costSeconds: 2, maxJobsPerServer: 1000 });
  expect(late).toMatchObject({ tag: 1, ahead: 100 });
  const row = { id: 'late', kind: 'picture', tag: 1 } as const;
  expect(await openLines(database).placeOf(row)).toEqual({ ahead: 300, aheadSeconds: 300, isAbout: true });
});
