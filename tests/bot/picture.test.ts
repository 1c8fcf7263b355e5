import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { readPngText } from '../../worker/diffusion/png-text.ts';
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
