import { afterAll, afterEach, beforeAll, beforeEach, expect, test, vi } from 'vitest';
import { type Delivery, postKey, releaseClaims, startDelivery } from '../../bot/delivery.ts';
import { finishJob, markStarted, saveAcknowledgements } from '../../bot/job-rows.ts';
import { createLog } from '../../shared/log.ts';
import { addPicture, type BotTables, openTables } from '../support/bot-tables.ts';
import { ALICE, ChatPlatform } from '../support/chat-platform.ts';

const log = createLog({ logLevel: 'silent' }, 'test');
const IN_TIME = { timeout: 30_000, interval: 50 };

let tables: BotTables;
let chat: ChatPlatform;
let deliveries: Delivery[];

beforeAll(async () => {
  tables = await openTables();
});
afterAll(() => tables.close());

beforeEach(async () => {
  await tables.clear();
  chat = new ChatPlatform();
  // Only posting is looked at here.
  await chat.start({} as never);
  deliveries = [];
});
afterEach(async () => {
  for (const delivery of deliveries) await delivery.stop();
});

function deliver(processName = 'test'): Delivery {
  const delivery = startDelivery({ database: tables.database, log, platforms: [chat], processName });
  deliveries.push(delivery);
  return delivery;
}

async function endedJob(id: string, channelId?: string): Promise<void> {
  await addPicture(tables.database, { id, userId: ALICE.userId, ...(channelId !== undefined && { channelId }) });
  await finishJob(tables.database, id, { state: 'failed', error: 'It rained' });
}

function stateOf(id: string) {
  return tables.database.selectFrom('posts').select(['state', 'attempts']).where('job_id', '=', id).executeTakeFirst();
}

test('a post that fails is tried again, and is there once', async () => {
  let failures = 1;
  chat.onPost = () => {
    if (failures-- > 0) throw new Error('503');
  };
  await endedJob('j1');
  deliver();
  await vi.waitFor(async () => expect(await stateOf('j1')).toEqual({ state: 'posted', attempts: 2 }), IN_TIME);
  expect(chat.ends().map(({ shown }) => shown[0]!.text)).toEqual(['It rained']);
});

test('a message that a dead process posted is found and not posted again', async () => {
  await endedJob('j2');
  const row = await tables.database.selectFrom('jobs').selectAll().where('id', '=', 'j2').executeTakeFirstOrThrow();
  // What a process leaves that dies between its post and the note of it.
  await chat.post(
    row.reply_to,
    { text: 'It rained', pictures: [], buttons: [], isPrivate: false, mentions: [] },
    postKey('j2'),
  );
  await tables.database.updateTable('posts').set({ state: 'posting', attempts: 1, claimed_by: 'dead' }).execute();
  await tables.database
    .updateTable('posts')
    .set({ claimed_until: new Date(Date.now() + 60_000) })
    .execute();
  await releaseClaims(tables.database);
  deliver();
  await vi.waitFor(async () => expect(await stateOf('j2')).toMatchObject({ state: 'posted' }), IN_TIME);
  expect(chat.ends()).toHaveLength(1);
});

test('two processes post one end once', async () => {
  for (let i = 0; i < 10; i++) await endedJob(`k${i}`);
  deliver('one');
  deliver('two');
  await vi.waitFor(() => expect(chat.ends()).toHaveLength(10), IN_TIME);
  await new Promise((resolve) => setTimeout(resolve, 300));
  expect(new Set(chat.ends().map(({ key }) => key)).size).toBe(10);
  expect(chat.ends()).toHaveLength(10);
});

test('an end that no retry can post is given up', async () => {
  await endedJob('j3', 'gone');
  deliver();
  await vi.waitFor(async () => expect(await stateOf('j3')).toEqual({ state: 'failed', attempts: 1 }), IN_TIME);
});

test('progress is shown at most every three seconds, and never after the end', async () => {
  const { database } = tables;
  await addPicture(database, { id: 'j4', userId: ALICE.userId });
  const replyTo = { place: { platform: 'web', channelId: 'studio' }, owner: ALICE, uploadLimitBytes: 1 } as const;
  const said = { text: 'Queued', pictures: [], buttons: [], isPrivate: false, mentions: [] };
  const ref = await chat.post(replyTo, said, 'acknowledgement');
  await saveAcknowledgements(database, [{ jobId: 'j4', message: ref }]);
  await markStarted(database, 'j4');
  const editedAt: number[] = [];
  const edit = chat.edit.bind(chat);
  chat.edit = async (message, reply) => {
    editedAt.push(performance.now());
    await edit(message, reply);
  };
  const delivery = deliver();
  for (let step = 1; step <= 40; step++) {
    delivery.showProgress('j4', { stage: 'Drawing', step, stepCount: 40 });
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  await vi.waitFor(() => expect(editedAt.length).toBeGreaterThan(1), IN_TIME);
  for (const [i, at] of editedAt.slice(1).entries()) expect(at - editedAt[i]!).toBeGreaterThan(2500);
  await finishJob(database, 'j4', { state: 'failed', error: 'It rained' });
  delivery.showProgress('j4', { stage: 'Drawing', step: 40, stepCount: 40 });
  delivery.wake();
  const { shown } = chat.messages[0]!;
  await vi.waitFor(() => expect(shown.at(-1)!.text).toBe('This did not work'), IN_TIME);
  const { length } = shown;
  await new Promise((resolve) => setTimeout(resolve, 3500));
  expect(shown).toHaveLength(length);
});
