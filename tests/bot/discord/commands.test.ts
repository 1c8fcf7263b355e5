import { afterEach, expect, test } from 'vitest';
import { UserError } from '../../../shared/errors.ts';
import { type DiscordBot, startDiscordBot } from '../../support/discord-bot.ts';
import type { GivenFile } from '../../support/discord-peer/peer.ts';
import { reply } from '../../support/memory-inbox.ts';
import { plainPng } from '../../support/pictures.ts';

let bot: DiscordBot;
afterEach(async () => {
  await bot.stop();
  expect(bot.peer.violations).toEqual([]);
});

const png = async (name: string, color = 'teal'): Promise<GivenFile> => {
  return { name, type: 'image/png', bytes: await plainPng(color) };
};

test('commands are registered once, and again only when they changed', async () => {
  bot = await startDiscordBot();
  expect(bot.peer.registrations()).toBe(1);
  expect(bot.peer.commands().map(({ name }) => name)).toContain('sketch');
  await bot.restart();
  expect(bot.peer.registrations()).toBe(1);
  const { COMMANDS } = await import('../../../commands/index.ts');
  await bot.restart({ commands: COMMANDS.slice(1) });
  expect(bot.peer.registrations()).toBe(2);
});

test('commands go to one server when the configuration names it', async () => {
  bot = await startDiscordBot();
  const { peer } = bot;
  await bot.restart({ config: { token: peer.token, api: peer.api, serverId: peer.guildId } });
  expect(peer.commands(peer.guildId).map(({ name }) => name)).toContain('sketch');
  expect(peer.commands()).toEqual([]);
});

test('settings are for administrators, and nobody is asked for privileged intents', async () => {
  bot = await startDiscordBot();
  const settings = bot.peer.commands().find(({ name }) => name === 'settings');
  expect(settings?.default_member_permissions).toBe(String(1 << 5));
  expect(bot.peer.gateway.intents).toBe((1 << 0) | (1 << 10) | (1 << 13));
});

test('slash command is acknowledged, its attachment copied, and its message remembered', async () => {
  bot = await startDiscordBot();
  const { peer, inbox } = bot;
  const sketch = await png('cat.png');
  const interaction = peer.slashCommand('sketch', {
    options: { prompt: 'a cat', strength: 0.8, kind: 'sketch' },
    attachments: { image: sketch },
  });
  const { message } = await peer.until(() => inbox.acknowledgements[0], 'the acknowledgement');
  expect(interaction.answeredAfterMs).toBeLessThan(3000);
  expect(message).toMatchObject({ platform: 'discord', channelId: peer.channel.id });
  expect(peer.messages().map((one) => [one.api.id, peer.text(one)])).toEqual([[message.messageId, 'Queued, \\#1']]);
  const [invocation] = inbox.invocations;
  expect(invocation).toMatchObject({
    id: interaction.id,
    command: 'sketch',
    options: { prompt: 'a cat', strength: 0.8, kind: 'sketch' },
    actor: { platform: 'discord', userId: peer.ada.id, displayName: 'ada' },
    isAdministrator: false,
    place: { platform: 'discord', serverId: peer.guildId, channelId: peer.channel.id },
    uploadLimitBytes: 10 * 2 ** 20,
  });
  expect(await inbox.readBlob(invocation!.images['image']![0]!)).toEqual(Buffer.from(sketch.bytes));
});

test('command in a thread belongs to its channel and answers in the thread', async () => {
  bot = await startDiscordBot();
  const { peer, inbox } = bot;
  const thread = peer.thread('cats');
  await bot.restart();
  peer.slashCommand('imagine', { options: { prompt: 'a cat' }, channel: thread });
  const { message } = await peer.until(() => inbox.acknowledgements[0], 'the acknowledgement');
  expect(message).toMatchObject({ channelId: peer.channel.id, threadId: thread.id });
  expect(inbox.invocations[0]?.place).toMatchObject({ channelId: peer.channel.id, threadId: thread.id });
  expect(peer.messages(thread)).toHaveLength(1);
});

test('command in direct messages has no server', async () => {
  bot = await startDiscordBot();
  const { peer, inbox } = bot;
  const channel = peer.directChannel(peer.ada);
  peer.slashCommand('imagine', { options: { prompt: 'a cat' }, channel });
  await peer.until(() => inbox.acknowledgements[0], 'the acknowledgement');
  expect(inbox.invocations[0]?.place).toEqual({ platform: 'discord', channelId: channel.id });
  expect(peer.messages(channel)).toHaveLength(1);
});

test('error after a public deferral is said to the person alone', async () => {
  bot = await startDiscordBot();
  const { peer, inbox } = bot;
  inbox.answerInvoke = () => {
    throw new UserError('Cannot draw: steps must be at most 50, got 150');
  };
  peer.slashCommand('imagine', { options: { prompt: 'a cat' } });
  const message = await peer.until(() => peer.privateMessages(peer.ada)[0], 'the private answer');
  expect(peer.text(message)).toBe('Cannot draw: steps must be at most 50, got 150'.replace(':', '\\:'));
  expect(peer.messages()).toEqual([]);
});

test('fault of the program tells a number and not its cause', async () => {
  bot = await startDiscordBot();
  const { peer, inbox } = bot;
  inbox.answerInvoke = () => {
    throw new Error('password=hunter2');
  };
  const interaction = peer.slashCommand('imagine', { options: { prompt: 'a cat' } });
  const message = await peer.until(() => peer.privateMessages(peer.ada)[0], 'the private answer');
  expect(peer.text(message)).toContain(interaction.id);
  expect(peer.text(message)).not.toContain('hunter2');
});

test('answers to status are for the person who asked', async () => {
  bot = await startDiscordBot();
  const { peer, inbox } = bot;
  inbox.answerInvoke = () => ({ kind: 'message', reply: reply('No jobs', { isPrivate: true }) });
  peer.slashCommand('status');
  const message = await peer.until(
    () => peer.privateMessages(peer.ada).find(({ isDeferred }) => !isDeferred),
    'the private answer',
  );
  expect(peer.text(message)).toBe('No jobs');
  expect(peer.messages()).toEqual([]);
});

test('interaction that is delivered twice is carried out once', async () => {
  bot = await startDiscordBot();
  const { peer, inbox } = bot;
  peer.slashCommand('imagine', { options: { prompt: 'a cat' }, isTwice: true });
  await peer.until(() => inbox.acknowledgements[0], 'the acknowledgement');
  await peer.until(() => peer.requests.find(({ code }) => code === 40060), 'the second answer');
  expect(inbox.invocations).toHaveLength(1);
  expect(peer.messages()).toHaveLength(1);
});

test.each([
  ['text that calls itself a picture', 'not a picture at all', /must be a PNG/],
  ['a file above the limit', Buffer.alloc(6 * 2 ** 20), /at most 5 MiB/],
])('%s is refused privately', async (_, content, expected) => {
  bot = await startDiscordBot();
  const { peer, inbox } = bot;
  const file = { name: 'a.png', type: 'image/png', bytes: Buffer.from(content as string) };
  peer.slashCommand('sketch', { options: { prompt: 'a cat' }, attachments: { image: file } });
  const message = await peer.until(() => peer.privateMessages(peer.ada)[0], 'the refusal');
  expect(peer.text(message)).toMatch(expected);
  expect(inbox.invocations).toEqual([]);
});

test.each(['AttachFiles', 'SendMessages', 'ViewChannel'] as const)(
  'missing permission %s is named before work starts',
  async (permission) => {
    bot = await startDiscordBot();
    const { peer, inbox } = bot;
    peer.deny(permission);
    peer.slashCommand('imagine', { options: { prompt: 'a cat' } });
    const message = await peer.until(() => peer.privateMessages(peer.ada)[0], 'the refusal');
    expect(peer.text(message)).toContain(`**${permission.replace(/(?<=[a-z])(?=[A-Z])/g, ' ')}**`);
    expect(inbox.invocations).toEqual([]);
  },
);

test('models complete while they are typed, at most 25', async () => {
  bot = await startDiscordBot();
  const { peer, inbox } = bot;
  inbox.words = Array.from({ length: 40 }, (_, index) => `model-${index}`);
  const interaction = peer.autocomplete('imagine', 'model', 'mod');
  const choices = await peer.until(() => interaction.choices, 'choices');
  expect(choices).toHaveLength(25);
  expect(inbox.completions).toEqual([{ source: 'models', typed: 'mod' }]);
});

test('commands are answered after the connection was closed, without a new session', async () => {
  bot = await startDiscordBot();
  const { peer, inbox } = bot;
  peer.gateway.disconnect(4000);
  const interaction = peer.slashCommand('imagine', { options: { prompt: 'a cat' } });
  await peer.until(() => inbox.acknowledgements[0], 'the acknowledgement');
  expect(interaction.state).toBe('answered');
  expect(peer.gateway).toMatchObject({ identifies: 1, resumes: 1 });
});

test('connection of its own for each share of the servers', async () => {
  bot = await startDiscordBot();
  const { peer, inbox } = bot;
  const config = { token: peer.token, api: peer.api, serverId: undefined };
  const ofGuild = Number((BigInt(peer.guildId) >> 22n) % 2n);
  await bot.restart({ config: { ...config, shards: { ids: [1 - ofGuild], count: 2 } } });
  const place = { platform: 'discord' as const, channelId: peer.channel.id };
  const owner = { platform: 'discord' as const, userId: peer.ada.id, displayName: 'ada' };
  await bot.platform.post({ place, owner, uploadLimitBytes: 1e7 }, reply('a cat'), 'end-abc');
  peer.react(peer.messages()[0]!, '🎲');
  await bot.restart({ config: { ...config, shards: { ids: [0, 1], count: 2 } } });
  peer.react(peer.messages()[0]!, '✉️');
  await peer.until(() => inbox.presses[0], 'the press');
  expect(inbox.presses.map(({ action }) => action)).toEqual(['send-to-me']);
});
