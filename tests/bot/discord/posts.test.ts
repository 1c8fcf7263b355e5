import sharp from 'sharp';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { PermanentPostError, type Reply } from '../../../bot/platform.ts';
import type { ReplyTo } from '../../../shared/jobs.ts';
import { type DiscordBot, startDiscordBot } from '../../support/discord-bot.ts';
import { buttonsOf } from '../../support/discord-peer/peer.ts';
import { reply } from '../../support/memory-inbox.ts';
import { noisePng, plainPng } from '../../support/pictures.ts';

const MEBIBYTE = 2 ** 20;
const MINUTE_MS = 60_000;

let bot: DiscordBot;
beforeEach(async () => {
  bot = await startDiscordBot();
});
afterEach(async () => {
  await bot.stop();
  expect(bot.peer.violations).toEqual([]);
});

function replyTo(rest: Partial<ReplyTo> = {}): ReplyTo {
  const { peer } = bot;
  return {
    place: { platform: 'discord', serverId: peer.guildId, channelId: peer.channel.id },
    owner: { platform: 'discord', userId: peer.ada.id, displayName: 'ada' },
    uploadLimitBytes: 10 * MEBIBYTE,
    ...rest,
  };
}

async function result(count = 1): Promise<Reply> {
  const { inbox } = bot;
  const bytes = await plainPng('tomato');
  const pictures = Array.from({ length: count }, (_, index) => {
    return { blob: inbox.keep(bytes, 'image/png'), altText: `A tomato, number ${index + 1}` };
  });
  return reply('**a tomato** · seed 7', {
    pictures,
    mentions: [replyTo().owner],
    buttons: [
      { action: 'variants', jobId: 'abc', label: 'Variants', emoji: '🎲', style: 'primary' },
      ...[1, 2, 3, 4].map(
        (argument) => ({ action: 'vary', jobId: 'abc', argument, label: `Vary ${argument}` }) as const,
      ),
      { action: 'delete', jobId: 'abc', label: 'Delete', style: 'danger' },
    ],
  });
}

test('result names its owner alone and carries alt texts, pictures and buttons', async () => {
  const { peer, platform } = bot;
  const posted = await platform.post(replyTo(), await result(2), 'end-abc');
  const [message] = peer.messages();
  expect(posted).toMatchObject({ channelId: peer.channel.id, messageId: message!.api.id });
  expect(message!.notified).toEqual([peer.ada.id]);
  expect(peer.text(message!)).toBe(`<@${peer.ada.id}>\n**a tomato** · seed 7\n-# end-abc`);
  expect(peer.files(message!).map(({ name, description }) => [name, description])).toEqual([
    ['sketchbooth-1.png', 'A tomato, number 1'],
    ['sketchbooth-2.png', 'A tomato, number 2'],
  ]);
  expect(peer.files(message!)[0]!.bytes).toEqual(new Uint8Array(await plainPng('tomato')));
  expect(buttonsOf(message!).map((button) => button.custom_id)).toContain('vary:abc:4');
});

test('words of people neither format nor call anyone', async () => {
  const { peer, platform } = bot;
  const text = '**@everyone <@1> __x__ ||y||**\n# title\n- item *a*\n`code_with_underscores`\n> quote [a](https://b.c)';
  await platform.post(replyTo(), reply(text), 'end-words');
  const [message] = peer.messages();
  expect(message!.notified).toEqual([]);
  expect(peer.text(message!)).toBe(
    '**\\@everyone \\<\\@1\\> \\_\\_x\\_\\_ \\|\\|y\\|\\|**\n\\# title\n- item \\*a\\*\n`code_with_underscores`\n\\> quote \\[a\\]\\(https\\://b.c\\)\n-# end-words',
  );
});

test('post of one key appears once when the answer to the first was lost', async () => {
  const { peer, platform } = bot;
  peer.fail({ kind: 'lose-answer', method: 'POST', path: /messages$/ });
  const first = await platform.post(replyTo(), await result(), 'end-abc').catch((error: unknown) => error);
  expect(first).not.toBeInstanceOf(PermanentPostError);
  expect(peer.messages()).toHaveLength(1);
  const posted = await platform.post(replyTo(), await result(), 'end-abc');
  expect(peer.messages().map(({ api }) => api.id)).toEqual([posted.messageId]);
});

test('earlier post is found by its key long after its nonce is forgotten, and others are not', async () => {
  const { peer } = bot;
  const posted = await bot.platform.post(replyTo(), reply('It did not work'), 'end-abc');
  for (let count = 0; count < 150; count++) peer.say('chatter', []);
  peer.advance(60 * MINUTE_MS);
  await bot.restart();
  expect(await bot.platform.findPosted(replyTo(), 'end-abc')).toEqual(posted);
  expect(await bot.platform.findPosted(replyTo(), 'end-ab')).toBeUndefined();
});

test('progress and results come 16 minutes after the command', async () => {
  const { peer, inbox, platform } = bot;
  peer.slashCommand('imagine', { options: { prompt: 'a tomato' } });
  const { message } = await peer.until(() => inbox.acknowledgements[0], 'the acknowledgement');
  peer.advance(16 * MINUTE_MS);
  await platform.edit(message, reply('Drawing, 3 of 12', { progress: { done: 3, total: 12 } }));
  expect(peer.text(peer.messages()[0]!)).toBe('Drawing, 3 of 12\n▰▰▰▱▱▱▱▱▱▱▱▱');
  await platform.post(replyTo(), await result(), 'end-abc');
  expect(peer.messages()).toHaveLength(2);
});

test('edit replaces the preview', async () => {
  const { peer, inbox, platform } = bot;
  const preview = async (color: string) => {
    const blob = inbox.keep(await plainPng(color), 'image/png');
    return reply('Drawing', { pictures: [{ blob, altText: 'Preview' }] });
  };
  const posted = await platform.post(replyTo(), await preview('red'), 'end-abc');
  await platform.edit(posted, await preview('blue'));
  const files = peer.files(peer.messages()[0]!);
  expect(files).toHaveLength(1);
  expect(files[0]!.bytes).toEqual(new Uint8Array(await plainPng('blue')));
  await platform.edit(posted, reply('Done'));
  expect(peer.files(peer.messages()[0]!)).toEqual([]);
});

test('pictures above the limit get smaller until they fit', async () => {
  const { peer, inbox, platform } = bot;
  const large = await noisePng(1024);
  expect(large.byteLength).toBeGreaterThan(2 * MEBIBYTE);
  const pictures = [{ blob: inbox.keep(large, 'image/png'), altText: 'Noise' }];
  await platform.post(replyTo({ uploadLimitBytes: MEBIBYTE }), reply('Noise', { pictures }), 'end-abc');
  const [file] = peer.files(peer.messages()[0]!);
  expect(file!.bytes.byteLength).toBeLessThanOrEqual(MEBIBYTE);
  const { format, width } = await sharp(file!.bytes).metadata();
  expect(format).toBe('webp');
  expect(width).toBeGreaterThan(500);
});

test('four large pictures fit into one request', async () => {
  const { peer, inbox, platform } = bot;
  const large = await noisePng(1620);
  expect(4 * large.byteLength).toBeGreaterThan(25 * MEBIBYTE);
  const pictures = [1, 2, 3, 4].map(() => ({ blob: inbox.keep(large, 'image/png'), altText: 'Noise' }));
  await platform.post(replyTo(), reply('Noise', { pictures }), 'end-abc');
  expect(peer.files(peer.messages()[0]!)).toHaveLength(4);
});

test('longest text and all buttons fit', async () => {
  const { peer, platform } = bot;
  const buttons = Array.from({ length: 25 }, (_, argument) => {
    return { action: 'vary', jobId: 'x'.repeat(21), argument, label: 'Vary' } as const;
  });
  await platform.post(replyTo(), reply('_'.repeat(6000), { buttons, mentions: [replyTo().owner] }), 'end-abc');
  expect(peer.text(peer.messages()[0]!).length).toBeLessThanOrEqual(4000);
  expect(buttonsOf(peer.messages()[0]!)).toHaveLength(25);
});

test('waits as long as Discord says when it is limited', async () => {
  const { peer, platform } = bot;
  peer.fail({ kind: 'rate-limit', retryAfterSeconds: 0.4, times: 2, method: 'POST', path: /messages$/ });
  const begin = performance.now();
  await platform.post(replyTo(), await result(), 'end-abc');
  expect(performance.now() - begin).toBeGreaterThan(780);
  expect(peer.messages()).toHaveLength(1);
});

test('missing permission is permanent and named', async () => {
  const { peer } = bot;
  peer.deny('AttachFiles');
  await bot.restart();
  const failure = await bot.platform.post(replyTo(), await result(), 'end-abc').catch((error: unknown) => error);
  expect(failure).toBeInstanceOf(PermanentPostError);
  expect((failure as Error).message).toContain('Attach Files');
  await expect(bot.platform.post(replyTo(), reply('It did not work'), 'end-def')).resolves.toBeDefined();
});

test('channel that is gone is permanent, a fault of the server is not', async () => {
  const { peer, platform } = bot;
  const place = { platform: 'discord' as const, channelId: '123' };
  await expect(platform.post(replyTo({ place }), reply('x'), 'end-abc')).rejects.toThrow(PermanentPostError);
  peer.fail({ kind: 'status', status: 503, times: 4, method: 'POST', path: /messages$/ });
  await expect(platform.post(replyTo(), reply('x'), 'end-def')).rejects.not.toThrow(PermanentPostError);
  expect(peer.messages()).toEqual([]);
});

test('message that is deleted may be deleted again', async () => {
  const { peer, platform } = bot;
  const posted = await platform.post(replyTo(), reply('x'), 'end-abc');
  await platform.remove(posted);
  await platform.remove(posted);
  expect(peer.messages()).toEqual([]);
  await expect(platform.edit(posted, reply('y'))).rejects.toThrow(PermanentPostError);
});

test('result is sent to a person alone, unless they take no messages', async () => {
  const { peer, platform } = bot;
  const { owner } = replyTo();
  await platform.sendDirect(owner, await result());
  expect(peer.messages(peer.directChannel(peer.ada))).toHaveLength(1);
  peer.closeDirect(peer.ada);
  await expect(platform.sendDirect(owner, reply('x'))).rejects.toThrow(PermanentPostError);
});
