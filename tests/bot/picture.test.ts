import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { readPngText } from '../../worker/diffusion/png-text.ts';
import { POCKET_FOLDER } from '../../worker/pocket/folder.ts';
import { BOB } from '../support/chat-platform.ts';
import { type RunningBot, startTinyBot } from '../support/running-bot.ts';

let bot: RunningBot;

beforeAll(async () => {
  bot = await startTinyBot();
});
afterAll(() => bot.stop());

const IN_TIME = { timeout: 60_000, interval: 100 };

test('a command becomes one picture in the channel, with buttons, alt text and its owner called', async () => {
  const { chat } = bot;
  const answer = await chat.type('imagine', { prompt: 'a red car', size: '64x64', steps: 2, seed: 7 });
  if (answer.kind !== 'message') throw new Error('expected a message');
  expect(answer.reply.text).toMatch(/^Starting now, about \d/);
  expect(answer.reply.buttons.map(({ action }) => action)).toEqual(['cancel']);
  await vi.waitFor(() => expect(chat.ends()).toHaveLength(1), IN_TIME);
  const [end] = chat.ends();
  const reply = end!.shown[0]!;
  expect(reply.text).toContain('seed 7');
  expect(reply.mentions.map(({ userId }) => userId)).toEqual(['alice']);
  expect(reply.pictures[0]!.altText).toBe('Generated picture: a red car');
  expect(reply.buttons.map(({ action }) => action)).toContain('variants');
  const png = await bot.services.store.get(reply.pictures[0]!.blob);
  expect(JSON.parse(readPngText(png)['sketchbooth']!)).toMatchObject({ prompt: 'a red car', seed: 7 });
  const acknowledgement = chat.messages.find(({ key }) => key === undefined)!;
  await vi.waitFor(() => expect(acknowledgement.shown.at(-1)!.text).toMatch(/^Done, /), IN_TIME);
  expect(acknowledgement.shown.at(-1)!.buttons).toEqual([]);
});

test('a reaction makes variants after a restart, for the person who reacted', async () => {
  const { chat } = bot;
  const [end] = chat.ends();
  await bot.restart();
  const answer = await chat.press({ action: 'variants', target: { message: end!.ref }, actor: BOB });
  expect(answer.kind).toBe('message');
  await vi.waitFor(() => expect(chat.ends()).toHaveLength(2), IN_TIME);
  const reply = chat.ends()[1]!.shown[0]!;
  expect(reply.mentions.map(({ userId }) => userId)).toEqual(['bob']);
  expect(reply.pictures[0]!.blob.hash).not.toBe(end!.shown[0]!.pictures[0]!.blob.hash);
});

test('what a person can fix is said to them alone', async () => {
  const answer = await bot.chat.type('imagine', { prompt: 'x', size: '7x7' });
  expect(answer).toMatchObject({ kind: 'message', reply: { isPrivate: true } });
  const unknown = await bot.chat.type('imagine', { prompt: 'x', model: 'missing' });
  expect(unknown).toMatchObject({ reply: { text: expect.stringContaining('tiny') } });
});

test('spans of a control are suggested, and any other is taken as it is typed', async () => {
  const who = { actor: BOB, place: { platform: 'web', channelId: 'studio' } } as const;
  const { inbox } = bot.chat;
  expect((await inbox.complete('spans', '', who))[0]).toBe('0-1 (throughout)');
  expect(await inbox.complete('spans', '0-0.5', who)).toEqual([expect.stringMatching(/^0-0.5 \(/)]);
  expect(await inbox.complete('spans', '0.1-0.9', who)).toEqual(['0.1-0.9']);
});

test('two maps of different kinds steer one picture, and it is said how they were read', async () => {
  const { chat } = bot;
  const before = chat.ends().length;
  const sketch = await chat.inbox.keepUpload(await readFile(join(POCKET_FOLDER, 'examples/car-sketch.png')), 'car.png');
  const depth = await chat.inbox.keepUpload(
    await readFile(join(POCKET_FOLDER, 'examples/teapot-depth.png')),
    'pot.png',
  );
  const options = { prompt: 'a car', size: '64x64', steps: 2, method2: 't2i-adapter' };
  await chat.type('sketch', options, { images: { image: [sketch], image2: [depth] } });
  await vi.waitFor(() => expect(chat.ends()).toHaveLength(before + 1), IN_TIME);
  const { text, buttons } = chat.ends().at(-1)!.shown[0]!;
  expect(text).toMatch(/- sketch 1, followed \d+ %: looks like a line drawing/);
  expect(text).toMatch(/- depth 1: looks like a depth map/);
  expect(buttons.map(({ action }) => action)).toEqual(expect.arrayContaining(['more-control', 'less-control']));
});

test('a control that cannot be applied is an error, never a picture without it', async () => {
  const { chat } = bot;
  const before = chat.ends().length;
  const file = await readFile(join(POCKET_FOLDER, 'examples/boat-segmentation.png'));
  const segmentation = await chat.inbox.keepUpload(file, 'boat.png');
  await chat.type('sketch', { prompt: 'a boat', size: '64x64', steps: 1 }, { images: { image: [segmentation] } });
  await vi.waitFor(() => expect(chat.ends()).toHaveLength(before + 1), IN_TIME);
  const answer = chat.ends().at(-1)!.shown[0]!;
  expect(answer.text).toMatch(/^Cannot apply the control: it looks like a segmentation map, and the model takes/);
  expect(answer.pictures).toEqual([]);
});

test('a running job is cancelled within a second, by its owner alone', async () => {
  const { chat } = bot;
  const ends = chat.ends().length;
  const answer = await chat.type('imagine', { prompt: 'slow', size: '512x512', steps: 50 });
  if (answer.kind !== 'message' || answer.jobId === undefined) throw new Error('expected a job');
  const { jobId } = answer;
  const acknowledgement = chat.messages.at(-1)!;
  await vi.waitFor(() => expect(acknowledgement.shown.at(-1)!.text).toMatch(/Drawing, \d+ of 50/), IN_TIME);
  const stranger = await chat.press({ action: 'cancel', target: { jobId }, actor: BOB });
  expect(stranger).toMatchObject({ reply: { text: expect.stringContaining('only the person who asked') } });
  await chat.press({ action: 'cancel', target: { jobId } });
  await vi.waitFor(() => expect(acknowledgement.shown.at(-1)!.text).toBe('Cancelled'), IN_TIME);
  expect(chat.ends()).toHaveLength(ends);
});

test('deleting takes the owner or a moderator, details and the edit form are for everyone', async () => {
  const { chat } = bot;
  const end = chat.ends()[0]!;
  const target = { message: end.ref };
  expect(await chat.press({ action: 'details', target, actor: BOB })).toMatchObject({
    reply: { isPrivate: true, text: expect.stringContaining('- seeds: 7') },
  });
  const form = await chat.press({ action: 'edit', target, actor: BOB });
  expect(form).toMatchObject({ kind: 'form', form: { command: 'imagine' } });
  await chat.press({ action: 'delete', target, actor: BOB });
  expect(end.isRemoved).toBe(false);
  await chat.press({ action: 'send-to-me', target, actor: BOB });
  expect(chat.direct.at(-1)).toMatchObject({ to: { userId: 'bob' }, reply: { pictures: [{}] } });
  await chat.press({ action: 'delete', target, actor: BOB, isModerator: true });
  expect(end.isRemoved).toBe(true);
});

test('a delivery that comes twice is carried out once', async () => {
  const { chat } = bot;
  const delivery = { id: 'the same' };
  const first = await chat.type('imagine', { prompt: 'once', size: '64x64', steps: 1 }, delivery);
  const second = await chat.type('imagine', { prompt: 'once', size: '64x64', steps: 1 }, delivery);
  expect(first).toMatchObject({ jobId: expect.any(String) });
  expect(second).toMatchObject({ jobId: (first as { jobId: string }).jobId });
});
