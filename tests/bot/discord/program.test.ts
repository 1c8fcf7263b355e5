/** The whole program with the real engine on a tiny model, through discord.js, on the peer. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import sharp from 'sharp';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { POCKET_FOLDER } from '../../../worker/pocket/folder.ts';
import { badUploads } from '../../support/bad-uploads.ts';
import {
  type DiscordPeer,
  type GivenFile,
  type StoredMessage,
  startDiscordPeer,
} from '../../support/discord-peer/peer.ts';
import { type RunningBot, startTinyBot } from '../../support/running-bot.ts';

const IN_TIME_MS = 90_000;
const MINUTE_MS = 60_000;

let peer: DiscordPeer;
let bot: RunningBot;
beforeAll(async () => {
  peer = await startDiscordPeer();
  bot = await startTinyBot({
    withPlatforms: true,
    environment: { DISCORD_TOKEN: peer.token, DISCORD_API: peer.api },
  });
}, 300_000);
afterEach(() => expect(peer.violations).toEqual([]));
afterAll(async () => {
  await bot.stop();
  await peer.close();
});

const SMALL = { size: '64x64', steps: 2 };
const isEnd = (message: StoredMessage) => /-# end-\w+$/.test(peer.text(message));
const ends = () => peer.messages().filter(isEnd);

/** The end that comes after those that are there. */
async function nextEnd(doing: () => unknown): Promise<StoredMessage> {
  const known = new Set(ends());
  await doing();
  return peer.until(() => ends().find((message) => !known.has(message)), 'an end', IN_TIME_MS);
}

async function example(name: string): Promise<GivenFile> {
  return { name, type: 'image/png', bytes: await readFile(join(POCKET_FOLDER, 'examples', name)) };
}

const privately = (user = peer.ada) =>
  peer.until(() => peer.privateMessages(user).find(({ isDeferred }) => !isDeferred), 'a private answer', IN_TIME_MS);

let first: StoredMessage;

test('command becomes a picture in the channel', async () => {
  const options = { prompt: 'a *red* car', ...SMALL, seed: 7 };
  let original: StoredMessage | undefined;
  first = await nextEnd(async () => {
    const asked = peer.slashCommand('imagine', { options });
    original = await peer.until(() => asked.original, 'the answer');
    expect(asked.answeredAfterMs).toBeLessThan(3000);
  });
  expect(first.notified).toEqual([peer.ada.id]);
  expect(peer.text(first)).toContain('**a \\*red\\* car**');
  const [file] = peer.files(first);
  expect(await sharp(file!.bytes).metadata()).toMatchObject({ format: 'png', width: 64, height: 64 });
  expect(file!.description).toContain('red');
  await peer.until(() => peer.text(original!).startsWith('Done'), 'the end of the acknowledgement');
});

test('reaction makes a variant for the person who reacted, after a restart', async () => {
  await bot.restart();
  const variant = await nextEnd(() => peer.react(first, '🔄', { user: peer.ben }));
  expect(variant.notified).toEqual([peer.ben.id]);
  expect(peer.files(variant)[0]!.bytes).not.toEqual(peer.files(first)[0]!.bytes);
});

test('details are told to the person who asks', async () => {
  peer.press(first, 'Details', { user: peer.ben });
  expect(peer.text(await privately(peer.ben))).toMatch(/seed.*7/is);
  peer.press(ends().at(-1)!, 'Details', { user: peer.ben });
  const ofVariant = () => peer.privateMessages(peer.ben).find((message) => peer.text(message).includes('made from'));
  expect(peer.text(await peer.until(ofVariant, 'the details'))).toMatch(/- made from `\w+`\\?: seed 7 → \d+/);
});

test('edit asks in a form that is filled in, and draws what was changed', async () => {
  const edited = await nextEnd(async () => {
    const pressed = peer.press(first, 'Edit', { user: peer.ben });
    await peer.until(() => pressed.modal, 'the form');
    peer.submitModal(pressed, { prompt: 'a blue car' });
  });
  expect(peer.text(edited)).toContain('a blue car');
  expect(peer.text(edited)).toContain('seed 7');
  expect(peer.files(edited)[0]!.bytes).not.toEqual(peer.files(first)[0]!.bytes);
});

test('result comes 16 minutes after its command, though Discord limits, fails and hangs up', async () => {
  peer.fail({ kind: 'rate-limit', retryAfterSeconds: 0.3, times: 3, method: 'POST', path: /^\/channels/ });
  peer.fail({ kind: 'status', status: 502, times: 2, method: 'POST', path: /^\/channels/ });
  peer.fail({ kind: 'rate-limit', retryAfterSeconds: 0.3, times: 2, method: 'PATCH', path: /^\/channels/ });
  const late = await nextEnd(async () => {
    const asked = peer.slashCommand('imagine', { options: { prompt: 'a late car', ...SMALL }, isTwice: true });
    await peer.until(() => asked.original?.isDeferred === false, 'the acknowledgement');
    peer.advance(16 * MINUTE_MS);
    peer.gateway.disconnect(4000);
  });
  expect(peer.text(late)).toContain('a late car');
  expect(ends().filter((message) => peer.text(message).includes('a late car'))).toHaveLength(1);
});

test('sketch becomes a picture, and how it was read is said', async () => {
  const drawn = await nextEnd(async () => {
    const attachments = { image: await example('car-sketch.png') };
    peer.slashCommand('sketch', { options: { prompt: 'a car', ...SMALL }, attachments });
  });
  expect(peer.text(drawn)).toMatch(/- sketch 1, followed \d+ %\\: looks like a line drawing/);
  expect(peer.files(drawn).map(({ description }) => description)).toEqual([
    expect.stringMatching(/^Generated picture: a car/),
    'The sketch map that was followed',
  ]);
});

test('two maps at once come from two options or from one form', async () => {
  const [sketch, depth] = await Promise.all([example('car-sketch.png'), example('teapot-depth.png')]);
  const options = { prompt: 'a car', ...SMALL, seed: 1, method2: 't2i-adapter' };
  const byOptions = await nextEnd(() =>
    peer.slashCommand('sketch', { options, attachments: { image: sketch, image2: depth } }),
  );
  const byForm = await nextEnd(async () => {
    const asked = peer.slashCommand('sketch', { options });
    await peer.until(() => asked.modal, 'the form');
    peer.submitModal(asked, { images: [sketch, depth] });
  });
  for (const end of [byOptions, byForm]) {
    expect(peer.text(end)).toMatch(/- sketch 1, .*\n- depth 1/);
  }
  expect(peer.files(byForm)[0]!.bytes).toEqual(peer.files(byOptions)[0]!.bytes);
});

test('control that cannot be applied is told, and no picture is made without it', async () => {
  const refused = await nextEnd(async () => {
    const attachments = { image: await example('boat-segmentation.png') };
    peer.slashCommand('sketch', { options: { prompt: 'a boat', ...SMALL }, attachments });
  });
  expect(peer.text(refused)).toContain('Cannot apply the control');
  expect(peer.files(refused)).toEqual([]);
});

test('job that runs is cancelled by its owner and by no stranger', async () => {
  const before = ends().length;
  const asked = peer.slashCommand('imagine', {
    options: { prompt: 'a long way', size: '256x256', steps: 50, count: 4 },
  });
  await peer.until(
    () => asked.original && /Drawing .*, \d+ of 200/.test(peer.text(asked.original)),
    'progress',
    IN_TIME_MS,
  );
  const refused = peer.press(asked.original!, 'Cancel', { user: peer.ben });
  const refusal = await peer.until(() => refused.followUps[0], 'the refusal');
  expect(peer.text(refusal)).toContain('only the person who asked');
  peer.press(asked.original!, 'Cancel');
  await peer.until(() => peer.text(asked.original!) === 'Cancelled', 'the end', IN_TIME_MS);
  expect(ends()).toHaveLength(before);
});

test('result is sent to a person, and deleted by its owner and by no stranger', async () => {
  peer.react(first, '✉️', { user: peer.ben });
  const direct = peer.directChannel(peer.ben);
  const sent = await peer.until(() => peer.messages(direct)[0], 'the message');
  expect(peer.files(sent)[0]!.bytes).toEqual(peer.files(first)[0]!.bytes);
  peer.react(first, '❌', { user: peer.ben });
  const refusal = await peer.until(() => peer.messages(direct)[1], 'the refusal');
  expect(peer.text(refusal)).toContain('only the person who asked');
  expect(peer.messages()).toContain(first);
  peer.press(first, 'Delete');
  await peer.until(() => !peer.messages().includes(first), 'the deletion');
});

test('wrong uploads are refused with what is wrong before anything is queued', async () => {
  const before = peer.messages().length;
  for (const [bytes, reason] of await badUploads()) {
    const attachments = { image: { name: 'cat.png', type: 'image/png', bytes } };
    const asked = peer.slashCommand('sketch', { options: { prompt: 'a cat' }, attachments, user: peer.ben });
    const refusal = await peer.until(() => asked.followUps[0], 'the refusal');
    expect(refusal.onlyFor).toBe(peer.ben.id);
    expect(peer.text(refusal)).toMatch(reason);
  }
  expect(peer.messages()).toHaveLength(before);
});
