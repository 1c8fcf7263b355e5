import { afterEach, beforeEach, expect, test } from 'vitest';
import { UserError } from '../../../shared/errors.ts';
import { type DiscordBot, startDiscordBot } from '../../support/discord-bot.ts';
import type { StoredMessage } from '../../support/discord-peer/peer.ts';
import { reply } from '../../support/memory-inbox.ts';

let bot: DiscordBot;
let result: StoredMessage;
beforeEach(async () => {
  bot = await startDiscordBot();
  const { peer, platform } = bot;
  const owner = { platform: 'discord' as const, userId: peer.ada.id, displayName: 'ada' };
  const place = { platform: 'discord' as const, serverId: peer.guildId, channelId: peer.channel.id };
  const buttons = (['variants', 'details', 'delete'] as const).map((action) => ({
    action,
    jobId: 'abc',
    label: action,
  }));
  await platform.post({ place, owner, uploadLimitBytes: 1e7 }, reply('a cat', { buttons }), 'end-abc');
  result = peer.messages()[0]!;
});
afterEach(async () => {
  await bot.stop();
  expect(bot.peer.violations).toEqual([]);
});

test.each([
  ['🔄', 'variants', undefined],
  ['🎲', 'variants', undefined],
  ['3️⃣', 'vary', 3],
  ['⬆️', 'more-control', undefined],
  ['✉️', 'send-to-me', undefined],
])('reaction %s asks for %s', async (emoji, action, argument) => {
  const { peer, inbox } = bot;
  peer.react(result, emoji);
  const press = await peer.until(() => inbox.presses[0], 'the press');
  expect(press).toMatchObject({
    action,
    target: { message: { platform: 'discord', channelId: peer.channel.id, messageId: result.api.id } },
    actor: { userId: peer.ada.id, displayName: 'ada' },
    place: { serverId: peer.guildId, channelId: peer.channel.id },
    isModerator: false,
  });
  expect(press.argument).toBe(argument);
});

test('reaction makes variants of a result from before a restart, answered in the channel', async () => {
  const { peer, inbox } = bot;
  await bot.restart();
  peer.react(result, '🔄', { user: peer.ben, isBurst: true });
  const { jobId, message } = await peer.until(() => inbox.acknowledgements[0], 'the acknowledgement');
  expect(jobId).toBe('job2');
  const answer = peer.messages().at(-1)!;
  expect(answer.api.id).toBe(message.messageId);
  expect(answer.notified).toEqual([peer.ben.id]);
});

test('emoji without meaning and reactions of bots do nothing', async () => {
  const { peer, inbox } = bot;
  for (const emoji of ['❤️', '👍🏽', 'constructor']) peer.react(result, emoji);
  peer.react(result, '🔄', { user: peer.bot });
  peer.react(peer.say('not a result', []), '🔄');
  peer.react(result, '❌');
  await peer.until(() => inbox.presses[0], 'the press');
  expect(inbox.presses.map(({ action }) => action)).toEqual(['delete']);
});

test('delete knows who moderates', async () => {
  const { peer, inbox } = bot;
  peer.react(result, '🗑️', { user: peer.moderator });
  const press = await peer.until(() => inbox.presses[0], 'the press');
  expect(press).toMatchObject({ action: 'delete', isModerator: true });
});

test('refusal of a reaction is written to the person, or to nobody', async () => {
  const { peer, inbox } = bot;
  inbox.answerPress = () => {
    throw new UserError('Cannot delete: only its owner can');
  };
  peer.react(result, '❌', { user: peer.ben });
  const direct = peer.directChannel(peer.ben);
  const message = await peer.until(() => peer.messages(direct)[0], 'the message');
  expect(peer.text(message)).toContain('only its owner can');
  peer.closeDirect(peer.ben);
  peer.react(result, '❌', { user: peer.ben });
  await peer.until(() => peer.requests.find(({ code }) => code === 50007), 'the refusal');
  expect(peer.messages()).toHaveLength(1);
});

test('button for everybody is answered in public, one for the person in private', async () => {
  const { peer, inbox } = bot;
  peer.press(result, 'variants', { user: peer.ben });
  const { message } = await peer.until(() => inbox.acknowledgements[0], 'the acknowledgement');
  expect(peer.messages().map(({ api }) => api.id)).toEqual([result.api.id, message.messageId]);
  inbox.answerPress = () => ({ kind: 'message', reply: reply('seed 7', { isPrivate: true }) });
  peer.press(result, 'details');
  const details = await peer.until(
    () => peer.privateMessages(peer.ada).find(({ isDeferred }) => !isDeferred),
    'the details',
  );
  expect(peer.text(details)).toBe('seed 7');
});

test('delete button leaves nothing behind when it worked, and says why when not', async () => {
  const { peer, inbox, platform } = bot;
  inbox.answerPress = async () => {
    throw new UserError('Cannot delete: only its owner can');
  };
  peer.press(result, 'delete', { user: peer.ben });
  const refusal = await peer.until(() => peer.privateMessages(peer.ben)[0], 'the refusal');
  expect(peer.text(refusal)).toContain('only its owner can');
  inbox.answerPress = async () => {
    await platform.remove({ platform: 'discord', channelId: peer.channel.id, messageId: result.api.id });
    return { kind: 'silence' };
  };
  peer.press(result, 'delete', { user: peer.moderator });
  await peer.until(() => peer.messages().length === 0, 'the deletion');
  expect(inbox.presses.at(-1)).toMatchObject({ action: 'delete', target: { jobId: 'abc' }, isModerator: true });
  expect(peer.privateMessages(peer.moderator)).toEqual([]);
});
