import { createHmac } from 'node:crypto';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { readTypedText } from '../../../bot/slack/typed-text.ts';
import { imagine } from '../../../commands/imagine.ts';
import { UserError } from '../../../shared/errors.ts';
import { reply } from '../../support/memory-inbox.ts';
import { plainPng } from '../../support/pictures.ts';
import { type SlackBot, startSlackBot } from '../../support/slack-bot.ts';
import { SIGNING_SECRET } from '../../support/slack-peer/signed-delivery.ts';
import { wordsOf } from '../../support/slack-peer/words.ts';

let bot: SlackBot;
beforeEach(async () => {
  bot = await startSlackBot();
});
afterEach(async () => {
  await bot.stop();
  expect(bot.peer.violations).toEqual([]);
});

test('typed text becomes the prompt and its options', () => {
  expect(readTypedText(imagine, 'a &lt;red&gt; car -- fast --seed 7 --negative "no wheels"')).toEqual({
    prompt: 'a <red> car -- fast',
    seed: '7',
    negative: 'no wheels',
  });
  expect(readTypedText(imagine, '')).toEqual({});
});

test('slash command is invoked as its sender and acknowledged in the channel', async () => {
  const { peer, inbox } = bot;
  await peer.slash('/imagine', 'a red car --count 2');
  await peer.until(() => inbox.acknowledgements.length > 0, 'the acknowledgement');
  expect(inbox.invocations[0]).toMatchObject({
    command: 'imagine',
    options: { prompt: 'a red car', count: '2' },
    actor: { platform: 'slack', userId: 'U0ADA', displayName: 'ada' },
    isAdministrator: true,
    place: { platform: 'slack', serverId: 'T0BOOTH', channelId: 'C0STUDIO' },
  });
  const [message] = peer.world.messages;
  expect(wordsOf(message!)).toBe('Queued, #1');
  expect(inbox.acknowledgements[0]).toMatchObject({ jobId: 'job1', message: { messageId: message!.ts } });
});

test('command that needs pictures asks in a form, and its files reach the store', async () => {
  const { peer, inbox } = bot;
  await peer.slash('/teach', 'rex');
  const form = await peer.until(() => peer.world.views.at(-1), 'the form');
  expect(form.view.blocks.find(({ block_id }) => block_id === 'name')!.element).toMatchObject({ initial_value: 'rex' });
  const photos = await Promise.all(['tomato', 'gold', 'navy'].map((color) => plainPng(color)));
  await peer.submit(form, { class: 'dog', photos, keep_photos: true, method: 'dreambooth-lora' });
  const invocation = await peer.until(() => inbox.invocations[0], 'the invocation');
  expect(invocation).toMatchObject({
    command: 'teach',
    options: { name: 'rex', class: 'dog', keep_photos: true, method: 'dreambooth-lora' },
  });
  const kept = await Promise.all(invocation.images['photos']!.map((blob) => inbox.readBlob(blob)));
  expect(kept.map((bytes) => new Uint8Array(bytes))).toEqual(photos.map((bytes) => new Uint8Array(bytes)));
});

test('several maps go in one form, each with its own kind and strength', async () => {
  const { peer, inbox } = bot;
  await peer.slash('/sketch', 'a house');
  const form = await peer.until(() => peer.world.views.at(-1), 'the form');
  await peer.submit(form, {
    image: [await plainPng('white')],
    kind: 'sketch',
    strength: '0.8',
    image2: [await plainPng('black')],
    kind2: 'depth',
  });
  const invocation = await peer.until(() => inbox.invocations[0], 'the invocation');
  expect(invocation.options).toMatchObject({ prompt: 'a house', kind: 'sketch', strength: '0.8', kind2: 'depth' });
  expect([invocation.images['image']?.length, invocation.images['image2']?.length]).toEqual([1, 1]);
});

test('lists of a form are completed while the person types', async () => {
  const { peer, inbox } = bot;
  inbox.words = ['pocket', 'stable-diffusion-v1-5'];
  await peer.slash('/imagine', '');
  const form = await peer.until(() => peer.world.views.at(-1), 'the form');
  expect(await peer.suggest(form, 'model', 'po')).toEqual(['pocket', 'stable-diffusion-v1-5']);
  expect(inbox.completions).toEqual([{ source: 'models', typed: 'po' }]);
});

test('error of the person is said to them alone', async () => {
  const { peer, inbox } = bot;
  inbox.answerInvoke = () => {
    throw new UserError('Cannot draw: count must be 1 to 4, got 9');
  };
  await peer.slash('/imagine', 'a car --count 9', peer.world.ben);
  const told = await peer.until(() => peer.world.ephemerals[0], 'the error');
  expect(told).toMatchObject({ user: 'U0BEN', channel: 'C0STUDIO' });
  expect(wordsOf(told)).toBe('Cannot draw: count must be 1 to 4, got 9');
  expect(peer.world.messages).toEqual([]);
});

test('command in a channel without the bot is answered in a direct message that says what to do', async () => {
  const { peer } = bot;
  await peer.slash('/imagine', 'a car', peer.world.ada, 'C0ELSEWHERE');
  const told = await peer.until(() => peer.world.messages.find(({ channel }) => channel === 'D0ADA'), 'the advice');
  expect(wordsOf(told)).toMatch(/invite/);
});

test('file that is no picture, too large, or behind a missing scope is refused in words', async () => {
  const { peer } = bot;
  const said = async (files: Uint8Array[]) => {
    const before = peer.world.ephemerals.length;
    await peer.say('a house', { files });
    return wordsOf(await peer.until(() => peer.world.ephemerals[before], 'the refusal'));
  };
  expect(await said([Buffer.from('not a picture')])).toMatch(/must be a PNG, JPEG or WebP/);
  expect(await said([new Uint8Array(2 ** 20 + 1)])).toMatch(/at most 1 MiB/);
  peer.scopes = new Set([...peer.scopes].filter((scope) => scope !== 'files:read'));
  expect(await said([await plainPng('gold')])).toMatch(/Something went wrong/);
});

test('mention with a picture is a sketch, answered in its thread', async () => {
  const { peer, inbox } = bot;
  await peer.say('a house', { files: [await plainPng('white')] });
  await peer.say('teach rex --class dog', { files: [await plainPng('white')], threadTs: '1.000001' });
  await peer.say('help', { channel: peer.world.directChannel('U0BEN'), user: peer.world.ben });
  await peer.until(() => inbox.invocations.length === 3, 'three invocations');
  const byCommand = new Map(inbox.invocations.map((one) => [one.command, one]));
  expect(byCommand.get('sketch')).toMatchObject({ options: { prompt: 'a house' } });
  expect(byCommand.get('sketch')!.place.threadId).toBeDefined();
  expect(byCommand.get('teach')).toMatchObject({
    options: { name: 'rex', class: 'dog' },
    place: { threadId: '1.000001' },
  });
  expect(byCommand.get('help')!.place).toEqual({ platform: 'slack', channelId: 'D0BEN' });
});

test('pictures of a message go into a form by its shortcut', async () => {
  const { peer, inbox } = bot;
  await peer.shortcut('use_as_control', [await plainPng('white')]);
  const form = await peer.until(() => peer.world.views.at(-1), 'the form');
  expect(form.view.blocks.find(({ block_id }) => block_id === 'image')!.optional).toBe(true);
  await peer.submit(form, { prompt: 'a house' });
  const invocation = await peer.until(() => inbox.invocations[0], 'the invocation');
  expect(invocation).toMatchObject({ command: 'sketch', options: { prompt: 'a house' } });
  expect(invocation.images['image']).toHaveLength(1);
});

test('button presses for who pressed it, and edit opens a form filled in', async () => {
  const { peer, inbox, platform } = bot;
  const to = {
    place: { platform: 'slack', channelId: 'C0STUDIO' },
    owner: { platform: 'slack', userId: 'U0ADA', displayName: 'ada' },
    uploadLimitBytes: 2 ** 20,
  } as const;
  const buttons = [
    { action: 'vary', jobId: 'abc', argument: 3, label: 'Vary 3' },
    { action: 'edit', jobId: 'abc', label: 'Edit' },
  ] as const;
  const { messageId } = await platform.post(to, reply('done', { buttons }), 'end-abc');
  const message = peer.world.message('C0STUDIO', messageId)!;
  await peer.press(message, 'Vary 3', peer.world.ben);
  await peer.until(() => inbox.acknowledgements.length > 0, 'the acknowledgement');
  expect(inbox.presses[0]).toMatchObject({
    action: 'vary',
    argument: 3,
    target: { jobId: 'abc' },
    actor: { userId: 'U0BEN' },
    isModerator: false,
  });
  const prompt = imagine.options.find(({ name }) => name === 'prompt')!;
  inbox.answerPress = () => ({
    kind: 'form',
    form: {
      command: 'imagine',
      title: 'Edit',
      fields: [{ option: prompt, value: 'a red car' }],
      hidden: { seed: 7 },
      images: {},
      parentJobId: 'abc',
    },
  });
  await peer.press(message, 'Edit');
  const form = await peer.until(() => peer.world.views.at(-1), 'the form');
  await peer.submit(form, { prompt: 'a blue car' });
  const invocation = await peer.until(() => inbox.invocations[0], 'the invocation');
  expect(invocation).toMatchObject({ options: { prompt: 'a blue car', seed: 7 }, parentJobId: 'abc' });
});

test('reaction on a message of the bot is a press, whatever its skin tone, and others are nothing', async () => {
  const { peer, inbox } = bot;
  await peer.slash('/imagine', 'a car');
  const message = await peer.until(() => peer.world.messages[0], 'the message');
  await peer.react(message, 'thumbsup');
  await peer.react({ ...message, user: 'U0BEN' }, 'game_die');
  await peer.react(message, 'two::skin-tone-3', peer.world.ben);
  await peer.react(message, 'arrows_counterclockwise');
  await peer.until(() => inbox.presses.length === 2, 'two presses');
  const meanings = inbox.presses.map(({ action, argument }) => ({ action, argument }));
  expect(meanings).toContainEqual({ action: 'variants', argument: undefined });
  expect(meanings).toContainEqual({ action: 'vary', argument: 2 });
  expect(inbox.presses[0]!.target).toEqual({
    message: { platform: 'slack', channelId: 'C0STUDIO', messageId: message.ts },
  });
});

test('bot connects again after Slack moved it, and a delivery that comes twice has one number', async () => {
  const { peer, inbox } = bot;
  peer.disconnect();
  await peer.until(() => peer.connections === 2, 'a new connection');
  const payload = {
    type: 'event_callback',
    team_id: 'T0BOOTH',
    event_id: 'Ev1',
    event: { type: 'app_mention', user: 'U0ADA', text: 'a car', channel: 'C0STUDIO', ts: '1.1' },
  };
  await peer.deliver({ type: 'events_api', payload });
  await peer.deliver({ type: 'events_api', payload });
  await peer.until(() => inbox.invocations.length === 2, 'both deliveries');
  expect(inbox.invocations.map(({ id }) => id)).toEqual(['Ev1', 'Ev1']);
});

test('signed deliveries come by HTTP, and a wrong signature is refused', async () => {
  await bot.stop();
  const port = 20_000 + (process.pid % 20_000);
  bot = await startSlackBot({ appToken: undefined, signingSecret: SIGNING_SECRET, port });
  const { peer, inbox } = bot;
  peer.httpTarget = `http://127.0.0.1:${port}/slack/events`;
  await peer.slash('/imagine', 'a red car');
  await peer.until(() => inbox.acknowledgements.length > 0, 'the acknowledgement');
  const timestamp = String(Math.floor(Date.now() / 1000));
  const forged = createHmac('sha256', 'another secret').update(`v0:${timestamp}:text=x`).digest('hex');
  const response = await fetch(peer.httpTarget, {
    method: 'POST',
    body: 'text=x',
    headers: { 'x-slack-request-timestamp': timestamp, 'x-slack-signature': `v0=${forged}` },
  });
  expect(response.status).toBe(401);
});
