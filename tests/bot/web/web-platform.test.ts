import { mkdtemp, rm } from 'node:fs/promises';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import type { BotInbox, Press, Reply } from '../../../bot/platform.ts';
import { WebPlatform } from '../../../bot/web/web-platform.ts';
import type { WireMessage } from '../../../bot/web/wire.ts';
import type { Invocation } from '../../../commands/command.ts';
import { type Database, openDatabase } from '../../../shared/database.ts';
import { EmbeddedPostgres } from '../../../shared/embedded-postgres.ts';
import type { ReplyTo } from '../../../shared/jobs.ts';
import { createLog } from '../../../shared/log.ts';
import { enterPage, PageVisitor } from '../../support/page-visitor.ts';

const PASSWORD = 'correct horse';
const WEIGHTS = 'a'.repeat(64);
const PICTURE = 'b'.repeat(64);
const PNG = Buffer.from('89504e470d0a1a0a00000000', 'hex');

let folder: string;
let embedded: EmbeddedPostgres;
let database: Database;
const opened: WebPlatform[] = [];

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'sketchbooth-web-'));
  embedded = await EmbeddedPostgres.open(folder);
  database = await openDatabase(embedded);
});
afterEach(async () => {
  await Promise.all(opened.splice(0).map((platform) => platform.stop()));
  const tables = ['web_reactions', 'web_messages', 'web_sessions', 'web_people'];
  for (const table of tables) await embedded.query(`delete from ${table}`);
});
afterAll(async () => {
  await embedded.end();
  await rm(folder, { recursive: true });
});

function say(text: string, rest: Partial<Reply> = {}): Reply {
  return { text, pictures: [], buttons: [], isPrivate: false, mentions: [], ...rest };
}

interface Heard {
  readonly invocations: Invocation[];
  readonly presses: Press[];
  readonly acknowledged: string[];
}

/** A page and the other end of its inbox, which answers every command with a job and every press in private. */
async function openPage(password?: string): Promise<{ platform: WebPlatform; heard: Heard }> {
  const log = createLog({ logLevel: 'silent' }, 'test');
  const config = { host: '127.0.0.1', port: 0, password };
  const platform = new WebPlatform({ config, database, maxUploadBytes: 1000, log });
  const heard: Heard = { invocations: [], presses: [], acknowledged: [] };
  const inbox: BotInbox = {
    invoke: async (invocation) => {
      heard.invocations.push(invocation);
      if (invocation.command === 'refused') return { kind: 'message', reply: say('Cannot do that'), isRefusal: true };
      return { kind: 'message', reply: say('Queued', { jobId: 'job-1' }), jobId: 'job-1' };
    },
    press: async (press) => {
      heard.presses.push(press);
      return { kind: 'message', reply: say('Pressed', { isPrivate: true }) };
    },
    complete: async () => ['pocket'],
    keepUpload: async (bytes, name) => ({ hash: PICTURE, type: 'image/png', sizeBytes: bytes.length, name }),
    readBlob: async ({ hash }) => (hash === PICTURE ? PNG : Buffer.from('{"not": "a picture"}')),
    acknowledged: async (jobId, { messageId }) => void heard.acknowledged.push(`${jobId} ${messageId}`),
  };
  await platform.start(inbox);
  opened.push(platform);
  return { platform, heard };
}

const enter = ({ address }: WebPlatform, name: string, password = '') => enterPage(address, { name, password });

const imagine = { id: 'invocation-1', command: 'imagine', options: { prompt: 'a car' }, images: {} };

function replyTo(userId: string, channelId = 'studio'): ReplyTo {
  const owner = { platform: 'web', userId, displayName: 'Ada' } as const;
  return { place: { platform: 'web', serverId: 'local', channelId }, owner, uploadLimitBytes: 1e6 };
}

test('page asks for a name, keeps it in a cookie that scripts and other sites cannot use, and knows it again', async () => {
  const { platform } = await openPage();
  const visitor = new PageVisitor(platform.address);
  expect(await visitor.get('/api/state')).toEqual({ needs: 'name' });
  const answer = await visitor.send('POST', '/api/session', { password: '' });
  expect(answer.headers.get('set-cookie')).toMatch(/HttpOnly/);
  expect(answer.headers.get('set-cookie')).toMatch(/SameSite=Strict/);
  await visitor.send('POST', '/api/me', { name: '  Ada ' });
  expect(await visitor.person()).toMatchObject({ name: 'Ada', isAdministrator: true });
  const again = await enter(platform, 'ADA');
  expect((await again.person()).id).toBe((await visitor.person()).id);
});

test('with a password two people are two, the first of them administrator, and names are not shared', async () => {
  const { platform } = await openPage(PASSWORD);
  const ada = await enter(platform, 'Ada', PASSWORD);
  const bob = await enter(platform, 'Bob', PASSWORD);
  expect([(await ada.person()).isAdministrator, (await bob.person()).isAdministrator]).toEqual([true, false]);
  const thief = new PageVisitor(platform.address);
  await thief.send('POST', '/api/session', { password: PASSWORD });
  const answer = await thief.send('POST', '/api/me', { name: 'ada' });
  expect([answer.status, await answer.text()]).toEqual([400, expect.stringContaining('has that name already')]);
});

test('nothing is answered without the password', async () => {
  const { platform } = await openPage(PASSWORD);
  const visitor = new PageVisitor(platform.address);
  expect(await visitor.get('/api/state')).toEqual({ needs: 'password' });
  const paths = ['/api/channels/studio/messages', '/api/events', '/api/completions?source=models', `/blobs/${PICTURE}`];
  for (const path of paths) expect((await visitor.send('GET', path)).status, path).toBe(401);
  expect((await visitor.send('POST', '/api/me', { name: 'Eve' })).status).toBe(401);
  expect((await visitor.send('POST', '/api/channels/studio/invocations', imagine)).status).toBe(401);
});

test('after too many wrong passwords even the right one has to wait', async () => {
  const { platform } = await openPage(PASSWORD);
  const visitor = new PageVisitor(platform.address);
  for (let i = 0; i < 8; i++) {
    expect((await visitor.send('POST', '/api/session', { password: `guess ${i}` })).status).toBe(400);
  }
  const answer = await visitor.send('POST', '/api/session', { password: PASSWORD });
  expect(await answer.text()).toContain('too many wrong passwords');
});

test('requests from other sites, and names that point here, are refused', async () => {
  const { platform } = await openPage();
  const ada = await enter(platform, 'Ada');
  const origin = 'https://elsewhere.example';
  expect((await ada.send('POST', '/api/channels/studio/invocations', imagine, { origin })).status).toBe(403);
  expect((await fetch(`${platform.address}/api/session`, { method: 'POST', body: '{}' })).status).toBe(403);
  // fetch chooses the Host itself.
  const status = await new Promise((resolve) => {
    const asElsewhere = { headers: { host: 'elsewhere.example' } };
    request(platform.address, asElsewhere, ({ statusCode }) => resolve(statusCode)).end();
  });
  expect(status).toBe(421);
});

test('page has a policy that allows nothing but its own files', async () => {
  const { platform } = await openPage();
  const page = await fetch(platform.address);
  expect(page.headers.get('content-security-policy')).toContain("default-src 'none'; script-src 'self'");
  expect(await page.text()).not.toMatch(/https?:/);
  const script = await fetch(`${platform.address}/page.js`);
  expect(script.headers.get('content-type')).toContain('javascript');
  const etag = script.headers.get('etag') ?? '';
  const again = await fetch(`${platform.address}/page.js`, { headers: { 'if-none-match': etag } });
  expect(again.status).toBe(304);
});

test('a command sent twice is written once, and its acknowledgement is told to the bot', async () => {
  const { platform, heard } = await openPage();
  const ada = await enter(platform, 'Ada');
  await ada.send('POST', '/api/channels/studio/invocations', imagine);
  await ada.send('POST', '/api/channels/studio/invocations', imagine);
  const messages = await ada.messages();
  expect(messages.map(({ said, reply }) => said?.command ?? reply?.text)).toEqual(['imagine', 'Queued']);
  expect(new Set(heard.acknowledged)).toEqual(new Set([`job-1 ${messages[1]?.id}`]));
  const place = { platform: 'web', serverId: 'local', channelId: 'studio' };
  expect(heard.invocations[0]).toMatchObject({ options: { prompt: 'a car' }, isAdministrator: true, place });
  expect(new Set(heard.invocations.map(({ id }) => id)).size).toBe(1);
});

test('a command that breaks a rule is given back with the reason, and nothing is written', async () => {
  const { platform } = await openPage();
  const ada = await enter(platform, 'Ada');
  const answer = await ada.send('POST', '/api/channels/studio/invocations', { ...imagine, command: 'refused' });
  expect([answer.status, await answer.json()]).toEqual([400, { error: 'Cannot do that' }]);
  expect(await ada.messages()).toEqual([]);
});

test('a result is posted once per key, found again, edited and removed, also after a restart', async () => {
  const first = await openPage();
  const { id } = await (await enter(first.platform, 'Ada')).person();
  const message = await first.platform.post(replyTo(id), say('A car'), 'end-1');
  expect(await first.platform.post(replyTo(id), say('A car again'), 'end-1')).toEqual(message);
  await first.platform.stop();
  const { platform } = await openPage();
  expect(await platform.findPosted(replyTo(id), 'end-1')).toEqual(message);
  expect(await platform.findPosted(replyTo(id), 'end-2')).toBeUndefined();
  const ada = await enter(platform, 'Ada');
  await platform.edit(message, say('A better car'));
  expect((await ada.messages()).map(({ reply }) => reply?.text)).toEqual(['A better car']);
  await platform.remove(message);
  await platform.edit(message, say('A ghost'));
  expect(await ada.messages()).toEqual([]);
  expect(await platform.post(replyTo(id), say('A car again'), 'end-1')).toEqual(message);
});

test('posting fails for good where there is no such channel', async () => {
  const { platform } = await openPage();
  await expect(platform.post(replyTo('ada', 'gone'), say('A car'), 'end-1')).rejects.toThrow(/channel must exist/);
});

test('what is private and what is direct reach their reader only', async () => {
  const { platform } = await openPage(PASSWORD);
  const ada = await enter(platform, 'Ada', PASSWORD);
  const bob = await enter(platform, 'Bob', PASSWORD);
  const { id } = await ada.person();
  const live = await bob.listen();
  await platform.post(replyTo(id), say('for Ada alone', { isPrivate: true }), 'end-1');
  await platform.sendDirect({ platform: 'web', userId: id, displayName: 'Ada' }, say('sent to Ada'));
  await platform.post(replyTo(id), say('for everyone'), 'end-2');
  expect((await ada.messages()).map(({ reply }) => reply?.text)).toEqual(['for Ada alone', 'for everyone']);
  expect((await ada.messages(`dm:${id}`)).map(({ reply }) => reply?.text)).toEqual(['sent to Ada']);
  expect((await bob.messages()).map(({ reply }) => reply?.text)).toEqual(['for everyone']);
  expect((await bob.send('GET', `/api/channels/dm:${id}/messages`)).status).toBe(400);
  expect((await live.next()).reply?.text).toBe('for everyone');
  live.close();
});

test('a page that was away is told what changed meanwhile, removals too', async () => {
  const { platform } = await openPage();
  const ada = await enter(platform, 'Ada');
  const { id } = await ada.person();
  const message = await platform.post(replyTo(id), say('one'), 'end-1');
  const { revision } = await ada.get<{ revision: number }>('/api/channels/studio/messages');
  await platform.remove(message);
  await platform.post(replyTo(id), say('two'), 'end-2');
  const live = await ada.listen(revision);
  const seen = [await live.next(), await live.next()];
  expect(seen.map(({ reply, isRemoved }) => [reply?.text, isRemoved])).toEqual([
    [undefined, true],
    ['two', false],
  ]);
  live.close();
});

test('history comes in pages, each oldest first', async () => {
  const { platform } = await openPage();
  const ada = await enter(platform, 'Ada');
  const { id } = await ada.person();
  for (let i = 0; i < 45; i++) await platform.post(replyTo(id), say(`${i}`), `end-${i}`);
  type History = { messages: WireMessage[]; hasMore: boolean };
  const path = '/api/channels/studio/messages';
  const newest = await ada.get<History>(path);
  expect([newest.messages.length, newest.hasMore, newest.messages.at(-1)?.reply?.text]).toEqual([40, true, '44']);
  const older = await ada.get<History>(`${path}?before=${newest.messages[0]?.id}`);
  expect([older.messages.map(({ reply }) => reply?.text), older.hasMore]).toEqual([['0', '1', '2', '3', '4'], false]);
});

test('a lesson keeps the points of its loss curve', async () => {
  const { platform } = await openPage();
  const ada = await enter(platform, 'Ada');
  const { id } = await ada.person();
  const message = await platform.post(replyTo(id), say('Learning'), 'end-1');
  for (const [step, loss] of [
    [1, 0.5],
    [2, 0.4],
    [2, 0.3],
  ] as const) {
    await platform.edit(message, say('Learning', { lesson: { step, loss, samples: [] } }));
  }
  await platform.edit(message, say('Done', { lesson: { step: 3, loss: 0.2, samples: [] } }));
  await platform.edit(message, say('Done'));
  expect((await ada.messages())[0]?.losses).toEqual([
    [1, 0.5],
    [2, 0.3],
    [3, 0.2],
  ]);
});

test('reactions are counted per person, taken back, and pressed where they mean an action', async () => {
  const { platform, heard } = await openPage();
  const ada = await enter(platform, 'Ada');
  const bob = await enter(platform, 'Bob');
  const { id } = await ada.person();
  const { messageId } = await platform.post(replyTo(id), say('A car'), 'end-1');
  const path = `/api/messages/${messageId}/reactions`;
  await ada.send('POST', path, { id: 'reaction-1', emoji: '🔄' });
  await bob.send('POST', path, { id: 'reaction-2', emoji: '⭐' });
  await bob.send('POST', path, { id: 'reaction-3', emoji: '2️⃣' });
  await ada.send('POST', path, { id: 'reaction-4', emoji: '🔄' });
  const [message] = await ada.messages();
  const counted = message?.reactions.map(({ emoji, people }) => `${emoji} ${people.map(({ name }) => name)}`);
  expect(counted?.toSorted()).toEqual(['2️⃣ Bob', '⭐ Bob'].toSorted());
  expect(heard.presses.map(({ action, argument }) => [action, argument])).toEqual([
    ['variants', undefined],
    ['vary', 2],
  ]);
});

test('pictures are served as what they are, and nothing else is', async () => {
  const { platform } = await openPage();
  const ada = await enter(platform, 'Ada');
  const picture = await ada.send('GET', `/blobs/${PICTURE}`);
  expect([picture.status, picture.headers.get('content-type')]).toEqual([200, 'image/png']);
  expect((await ada.send('GET', `/blobs/${WEIGHTS}`)).status).toBe(404);
  expect((await ada.send('GET', '/blobs/..%2Fsecret')).status).toBe(400);
});

const invocations = '/api/channels/studio/invocations';
test.each<[string, string, unknown, number]>([
  ['an upload above the limit', '/api/uploads', new Uint8Array(2000), 413],
  ['a command in no channel', '/api/channels/nowhere/invocations', imagine, 400],
  ['an invocation without options', invocations, { id: 'invocation-1', command: 'imagine' }, 400],
  ['an unknown press', '/api/channels/studio/presses', { id: 'press-123', action: 'explode', jobId: 'x' }, 400],
  ['a channel named by signs', '/api/channels', { name: '../..' }, 400],
  ['a channel that exists', '/api/channels', { name: 'studio' }, 400],
  ['a reaction on nothing', '/api/messages/999999/reactions', { id: 'reaction-1', emoji: '⭐' }, 400],
  ['a reaction on nonsense', '/api/messages/x/reactions', { id: 'reaction-1', emoji: '⭐' }, 400],
])('%s is refused with a reason', async (_, path, body, status) => {
  const { platform } = await openPage();
  const ada = await enter(platform, 'Ada');
  const answer = await ada.send('POST', path, body);
  expect([answer.status, await answer.json()]).toEqual([status, { error: expect.stringMatching(/^Cannot/) }]);
});
