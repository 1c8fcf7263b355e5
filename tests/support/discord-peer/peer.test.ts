/** The peer itself: it refuses what Discord refuses, and what it answers fits Discord's published description. */
import { MessageResponseSchema } from 'discord-api-spec/zod';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { WebSocket } from 'ws';
import { type DiscordPeer, type PeerInteraction, startDiscordPeer } from './peer.ts';

let peer: DiscordPeer;
beforeEach(async () => {
  peer = await startDiscordPeer({ attachmentSizeLimit: 1000, answerLimitMs: 300 });
});
afterEach(() => peer.close());

const MENTIONS = { allowed_mentions: { parse: [] } };

async function call(method: string, path: string, body?: unknown, token = peer.token) {
  const response = await fetch(`${peer.api}/v10${path}`, {
    method,
    headers: { authorization: `Bot ${token}`, 'content-type': 'application/json' },
    ...(body !== undefined && { body: JSON.stringify(body) }),
  });
  const text = await response.text();
  return { status: response.status, ...(text === '' ? {} : (JSON.parse(text) as { code?: number; id?: string })) };
}

const post = (body: object) => call('POST', `/channels/${peer.channel.id}/messages`, { ...MENTIONS, ...body });

async function command(name = 'draw'): Promise<PeerInteraction> {
  const application = (await call('GET', '/applications/@me')) as { id: string };
  await call('PUT', `/applications/${application.id}/commands`, [{ name, description: 'Draws' }]);
  return peer.slashCommand(name);
}

const answerTo = ({ id, token }: PeerInteraction, body: object) =>
  call('POST', `/interactions/${id}/${token}/callback`, body);

async function original(interaction: PeerInteraction, method: string, body?: object) {
  const { id } = (await call('GET', '/applications/@me')) as { id: string };
  return call(method, `/webhooks/${id}/${interaction.token}/messages/%40original`, body);
}

test.each([
  ['a content that is too long', { content: 'x'.repeat(2001) }],
  ['a field that Discord does not know', { content: 'x', colour: 'red' }],
  ['a nonce that is too long', { content: 'x', nonce: 'x'.repeat(26) }],
  ['text beside components of version 2', { content: 'x', flags: 1 << 15, components: [{ type: 10, content: 'y' }] }],
  ['an attachment that is not there', { flags: 1 << 15, components: [gallery('attachment://a.png')] }],
  ['six buttons in a row', { content: 'x', components: [row(6)] }],
  ['two buttons of one id', { content: 'x', components: [row(1), row(1)] }],
])('message with %s is refused and noted', async (_, body) => {
  expect(await post(body)).toMatchObject({ status: 400, code: 50035 });
  expect(peer.violations).toHaveLength(1);
  expect(peer.messages()).toEqual([]);
});

function gallery(url: string) {
  return { type: 12, items: [{ media: { url } }] };
}

function row(count: number) {
  return {
    type: 1,
    components: Array.from({ length: count }, (_, index) => ({
      type: 2,
      style: 1,
      label: 'x',
      custom_id: `id${index}`,
    })),
  };
}

test('empty message, wrong token and mentions that anybody can make are noted or refused', async () => {
  expect(await post({})).toMatchObject({ code: 50006 });
  expect(await call('GET', '/users/@me', undefined, 'wrong')).toMatchObject({ status: 401 });
  await call('POST', `/channels/${peer.channel.id}/messages`, { content: '@everyone' });
  expect(peer.violations.at(-1)).toContain('mentions are not restricted');
  expect(peer.messages()[0]?.notified).toEqual(['everyone']);
});

test('messages fit the published description', async () => {
  await post({ flags: 1 << 15, components: [{ type: 10, content: 'Hello' }, row(2)] });
  const [message] = peer.messages();
  // Numbers of components, which Discord counts out, are the one thing that the peer leaves away.
  const components = JSON.parse(JSON.stringify(message!.api.components), (_, value) =>
    typeof value === 'object' && value !== null && 'type' in value ? { id: 1, ...value } : value,
  );
  const parsed = MessageResponseSchema.safeParse({ ...message!.api, components });
  expect(parsed.error?.issues).toBeUndefined();
});

test('nonce makes one message for some minutes, and two later', async () => {
  const body = { content: 'x', nonce: 'abc', enforce_nonce: true };
  const first = await post(body);
  expect((await post(body)).id).toBe(first.id);
  peer.advance(10 * 60_000);
  expect((await post(body)).id).not.toBe(first.id);
});

test('file above the limit is refused', async () => {
  const form = new FormData();
  form.set('payload_json', JSON.stringify({ content: 'x', ...MENTIONS }));
  form.set('files[0]', new Blob([new Uint8Array(1001)], { type: 'image/png' }), 'a.png');
  const response = await fetch(`${peer.api}/v10/channels/${peer.channel.id}/messages`, {
    method: 'POST',
    headers: { authorization: `Bot ${peer.token}` },
    body: form,
  });
  expect(response.status).toBe(413);
  expect(await response.json()).toMatchObject({ code: 40005 });
});

test('address of a file is good for a day, and only as it was signed', async () => {
  const message = peer.say('x', [{ name: 'a.png', type: 'image/png', bytes: new Uint8Array([1, 2, 3]) }]);
  const { url } = message.api.attachments[0]!;
  expect((await fetch(url)).status).toBe(200);
  expect((await fetch(url.replace(/hm=\d+/, 'hm=1'))).status).toBe(404);
  peer.advance(25 * 3_600_000);
  expect((await fetch(url)).status).toBe(404);
});

test('interaction is answered once', async () => {
  const interaction = await command();
  expect(await answerTo(interaction, { type: 5 })).toMatchObject({ status: 204 });
  expect(await answerTo(interaction, { type: 5 })).toMatchObject({ code: 40060 });
  expect(peer.violations).toEqual([]);
});

test('interaction is answered in time or not at all', async () => {
  const interaction = await command();
  await peer.until(() => interaction.state === 'missed', 'the end of its time');
  expect(await answerTo(interaction, { type: 5 })).toMatchObject({ code: 10062 });
  expect(peer.violations).toEqual(['interaction command was not answered within 300 ms']);
});

test('token of an interaction runs out after 15 minutes', async () => {
  const interaction = await command();
  await answerTo(interaction, { type: 5 });
  const body = { content: 'x', ...MENTIONS };
  expect(await original(interaction, 'PATCH', body)).toMatchObject({ status: 200 });
  peer.advance(15 * 60_000 + 1);
  expect(await original(interaction, 'PATCH', body)).toMatchObject({ status: 401, code: 50027 });
});

test('deferral is not undone by a form, and carries no other flag than private', async () => {
  const interaction = await command();
  expect(await answerTo(interaction, { type: 5, data: { flags: 1 << 15 } })).toMatchObject({ code: 50035 });
  await answerTo(interaction, { type: 5 });
  const modal = { custom_id: 'x', title: 'x', components: [{ type: 10, content: 'x' }] };
  expect(await answerTo(interaction, { type: 9, data: modal })).toMatchObject({ code: 40060 });
});

test('permissions are those of the channel', async () => {
  peer.deny('SendMessages');
  expect(await post({ content: 'x' })).toMatchObject({ status: 403, code: 50013 });
  peer.deny('ViewChannel');
  expect(await post({ content: 'x' })).toMatchObject({ status: 403, code: 50001 });
});

test('request that comes before Retry-After is noted', async () => {
  peer.fail({ kind: 'rate-limit', retryAfterSeconds: 5, method: 'POST', path: /messages$/ });
  expect(await post({ content: 'x' })).toMatchObject({ status: 429 });
  await post({ content: 'x' });
  expect(peer.violations[0]).toMatch(/asked again \d+ ms before Retry-After/);
});

test('privileged intents close the connection', async () => {
  const socket = new WebSocket(`${peer.api.replace('http', 'ws').replace('/api', '/gateway')}`);
  socket.on('open', () => socket.send(JSON.stringify({ op: 2, d: { token: peer.token, intents: 1 << 15 } })));
  const code = await new Promise((resolve) => socket.on('close', resolve));
  expect(code).toBe(4014);
});
