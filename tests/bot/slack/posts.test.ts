import { afterEach, beforeEach, expect, test } from 'vitest';
import { PermanentPostError, type Reply } from '../../../bot/platform.ts';
import type { ReplyTo } from '../../../shared/jobs.ts';
import { reply } from '../../support/memory-inbox.ts';
import { plainPng } from '../../support/pictures.ts';
import { type SlackBot, startSlackBot } from '../../support/slack-bot.ts';
import { wordsOf } from '../../support/slack-peer/words.ts';

let bot: SlackBot;
beforeEach(async () => {
  bot = await startSlackBot();
});
afterEach(async () => {
  await bot.stop();
  expect(bot.peer.violations).toEqual([]);
});

function replyTo(place: Partial<ReplyTo['place']> = {}): ReplyTo {
  const { ada, teamId } = bot.peer.world;
  return {
    place: { platform: 'slack', serverId: teamId, channelId: 'C0STUDIO', ...place },
    owner: { platform: 'slack', userId: ada.id, displayName: 'ada' },
    uploadLimitBytes: 2 ** 20,
  };
}

async function result(count = 1): Promise<Reply> {
  const bytes = await plainPng('tomato');
  const pictures = Array.from({ length: count }, (_, index) => {
    return { blob: bot.inbox.keep(bytes, 'image/png'), altText: `A tomato, number ${index + 1}` };
  });
  return reply('**a tomato** · seed 7', {
    pictures,
    mentions: [replyTo().owner],
    buttons: [
      { action: 'variants', jobId: 'abc', label: 'Variants', emoji: '🎲', style: 'primary' },
      { action: 'vary', jobId: 'abc', argument: 1, label: 'Vary 1' },
      { action: 'delete', jobId: 'abc', label: 'Delete', style: 'danger' },
    ],
  });
}

/** Messages that people see, without those that only carry files. */
function spoken() {
  return bot.peer.world.messages.filter(({ files, isDeleted }) => files.length === 0 && !isDeleted);
}

test('result names its owner and shows its pictures in the message and its thread', async () => {
  const { peer, platform } = bot;
  const posted = await platform.post(replyTo(), await result(2), 'end-abc');
  const [message] = spoken();
  expect(posted).toMatchObject({ channelId: 'C0STUDIO', messageId: message!.ts });
  expect(wordsOf(message!)).toBe(`@${peer.world.ada.id} a tomato · seed 7`);
  const shown = message!.blocks.flatMap((block) => (block.type === 'image' ? [block] : []));
  expect(shown.map(({ alt_text }) => alt_text)).toEqual(['A tomato, number 1', 'A tomato, number 2']);
  const files = shown.map(({ slack_file }) => peer.world.files.get(slack_file.id)!);
  expect(files.map(({ altText }) => altText)).toEqual(['A tomato, number 1', 'A tomato, number 2']);
  expect(new Uint8Array(files[0]!.bytes)).toEqual(new Uint8Array(await plainPng('tomato')));
  const inThread = peer.world.messages.filter(({ threadTs }) => threadTs === message!.ts);
  expect(inThread.flatMap((one) => one.files)).toEqual(files.map(({ id }) => id));
});

test('maps that were followed stand small below the picture, each with its words', async () => {
  const { peer, platform, inbox } = bot;
  const maps = [];
  for (const colour of ['white', 'navy']) {
    maps.push({ blob: inbox.keep(await plainPng(colour), 'image/png'), altText: `The ${colour} map` });
  }
  await platform.post(replyTo(), { ...(await result()), maps }, 'end-maps');
  const [message] = spoken();
  expect(message!.blocks.map(({ type }) => type)).toEqual(['rich_text', 'image', 'section', 'section', 'actions']);
  const sections = message!.blocks.flatMap((block) => (block.type === 'section' ? [block] : []));
  expect(sections.map(({ text }) => text.text)).toEqual(['The white map', 'The navy map']);
  const bytes = sections.map(({ accessory }) => peer.world.files.get(accessory.slack_file.id)!.bytes);
  expect(new Uint8Array(bytes[1]!)).toEqual(new Uint8Array(await plainPng('navy')));
  const ids = peer.world.messages.filter(({ threadTs }) => threadTs === message!.ts).flatMap(({ files }) => files);
  expect(ids).toHaveLength(3);
  await platform.remove({ platform: 'slack', channelId: 'C0STUDIO', messageId: message!.ts });
  expect(ids.every((id) => peer.world.files.get(id)!.isDeleted)).toBe(true);
});

test('words of people neither format nor call anyone', async () => {
  await bot.platform.post(replyTo(), reply('**<!channel>** *x* & `<@U0BEN>`\n- _item_\nafter'), 'end-words');
  const [message] = spoken();
  expect(wordsOf(message!)).toBe('<!channel> *x* & <@U0BEN>\n_item_\nafter');
  const users = JSON.stringify(message!.blocks).match(/"type":"user"/g);
  expect(users).toBeNull();
  expect(message!.text).toContain('&lt;!channel&gt;');
});

test('post that lost its answer after the message goes on with that message and its pictures', async () => {
  const { peer, platform } = bot;
  for (const method of ['chat.postMessage', 'files.completeUploadExternal', 'chat.update']) {
    const key = `end-${method.split('.')[1]}`;
    peer.fail({ kind: 'lose-answer', method });
    await expect(platform.post(replyTo(), await result(), key)).rejects.toThrow();
    const found = await platform.findPosted(replyTo(), key);
    const posted = found ?? (await platform.post(replyTo(), await result(), key));
    const own = spoken().filter(({ metadata }) => JSON.stringify(metadata).includes(key));
    expect(
      own.map(({ ts }) => ts),
      method,
    ).toEqual([posted.messageId]);
    expect(
      own[0]!.blocks.filter(({ type }) => type === 'image'),
      method,
    ).toHaveLength(1);
    const inThread = peer.world.messages.filter(({ threadTs }) => threadTs === own[0]!.ts);
    expect(
      inThread.flatMap((one) => one.files),
      method,
    ).toHaveLength(1);
  }
});

test('whole post is found by its key, in a channel and in a thread', async () => {
  const { platform } = bot;
  const first = await platform.post(replyTo(), await result(), 'end-one');
  const second = await platform.post(replyTo({ threadId: first.messageId }), reply('again'), 'end-two');
  expect(await platform.findPosted(replyTo(), 'end-one')).toMatchObject({ messageId: first.messageId });
  expect(await platform.findPosted(replyTo({ threadId: first.messageId }), 'end-two')).toMatchObject({
    messageId: second.messageId,
  });
  expect(await platform.findPosted(replyTo(), 'end-three')).toBeUndefined();
});

test('pictures stay in the thread when Slack does not take them into the message', async () => {
  const { peer, platform } = bot;
  peer.takesPictures = false;
  const posted = await platform.post(replyTo(), await result(), 'end-thread');
  const message = peer.world.message('C0STUDIO', posted.messageId)!;
  expect(message.blocks.some(({ type }) => type === 'image')).toBe(false);
  expect(
    peer.world.messages.filter(({ threadTs }) => threadTs === message.ts).flatMap((one) => one.files),
  ).toHaveLength(1);
  expect(await platform.findPosted(replyTo(), 'end-thread')).toMatchObject({ messageId: message.ts });
});

test('call is made again after the time that Slack names', async () => {
  const { peer, platform } = bot;
  peer.fail({ kind: 'rate-limited', method: 'chat.postMessage' });
  await platform.post(replyTo(), reply('later'), 'end-later');
  expect(spoken()).toHaveLength(1);
});

test('post in a channel without the bot says what to do and is not tried again', async () => {
  const failure = bot.platform.post(replyTo({ channelId: 'C0ELSEWHERE' }), reply('hello'), 'end-away');
  await expect(failure).rejects.toThrow(PermanentPostError);
  await expect(failure).rejects.toThrow(/invite/);
});

test('progress edits the message as text, and samples of a lesson come into its thread once', async () => {
  const { peer, platform, inbox } = bot;
  const posted = await platform.post(replyTo(), reply('Queued, #1'), 'end-lesson');
  const picture = { blob: inbox.keep(await plainPng('gold'), 'image/png'), altText: 'Sample at step 100' };
  const progress = reply('Learning, 100 of 400', {
    progress: { done: 100, total: 400 },
    pictures: [picture],
    lesson: { step: 100, loss: 0.1, samples: [{ step: 100, picture }] },
  });
  await platform.edit(posted, progress);
  await platform.edit(posted, progress);
  const message = peer.world.message('C0STUDIO', posted.messageId)!;
  expect(wordsOf(message)).toBe('Learning, 100 of 400\n▰▰▰▱▱▱▱▱▱▱▱▱');
  const shared = () =>
    peer.world.messages.filter(({ threadTs }) => threadTs === message.ts).flatMap((one) => one.files);
  await peer.until(() => shared().length > 0, 'the sample');
  expect(shared()).toHaveLength(1);
});

test('deleted result takes its pictures with it and leaves what people shared', async () => {
  const { peer, platform } = bot;
  const posted = await platform.post(replyTo(), await result(2), 'end-gone');
  const theirs = peer.world.addFile(await plainPng('gold'), peer.world.ben);
  await platform.remove(posted);
  await platform.remove(posted);
  expect(peer.world.message('C0STUDIO', posted.messageId)).toBeUndefined();
  const files = [...peer.world.files.values()];
  expect(files.filter(({ owner }) => owner === peer.world.bot.id).map(({ isDeleted }) => isDeleted)).toEqual([
    true,
    true,
  ]);
  expect(peer.world.files.get(theirs)!.isDeleted).toBe(false);
});

test('person alone gets pictures in a conversation of their own', async () => {
  const { peer, platform } = bot;
  await platform.sendDirect(replyTo().owner, await result());
  const message = spoken().find(({ channel }) => channel === 'D0ADA')!;
  expect(message.blocks.filter(({ type }) => type === 'image')).toHaveLength(1);
  expect(peer.world.ephemerals).toEqual([]);
});
