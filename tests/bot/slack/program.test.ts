/** The whole program with the real engine on a tiny model, through Bolt, on the peer. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import sharp from 'sharp';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { POCKET_FOLDER } from '../../../worker/pocket/folder.ts';
import { badUploads } from '../../support/bad-uploads.ts';
import { type RunningBot, startTinyBot } from '../../support/running-bot.ts';
import { APP_TOKEN, BOT_TOKEN, SlackPeer } from '../../support/slack-peer/peer.ts';
import { wordsOf } from '../../support/slack-peer/words.ts';
import type { OpenView, PeerMessage } from '../../support/slack-peer/world.ts';

const IN_TIME_MS = 90_000;

let peer: SlackPeer;
let bot: RunningBot;
beforeAll(async () => {
  peer = await SlackPeer.start();
  bot = await startTinyBot({
    withPlatforms: true,
    environment: { SLACK_BOT_TOKEN: BOT_TOKEN, SLACK_APP_TOKEN: APP_TOKEN, SLACK_API: peer.api },
  });
});
afterEach(() => expect(peer.violations).toEqual([]));
afterAll(async () => {
  await bot.stop();
  await peer.stop();
});

const SMALL = { size: '64x64', steps: '2' };
const SMALL_TEXT = '--size 64x64 --steps 2';
const isWhole = ({ metadata, isDeleted }: PeerMessage) =>
  JSON.stringify(metadata ?? '').includes('"whole"') && !isDeleted;
const ends = () => peer.world.messages.filter(isWhole);

/** The end that comes after those that are there. */
async function nextEnd(doing: () => unknown): Promise<PeerMessage> {
  const known = new Set(ends());
  await doing();
  return peer.until(() => ends().find((message) => !known.has(message)), 'an end', IN_TIME_MS);
}

function picturesOf(message: PeerMessage): Uint8Array[] {
  const ids = message.blocks.flatMap((block) => (block.type === 'image' ? [block.slack_file.id] : []));
  return ids.map((id) => peer.world.files.get(id)!.bytes);
}

async function nextForm(doing: () => unknown): Promise<OpenView> {
  const count = peer.world.views.length;
  await doing();
  return peer.until(() => peer.world.views[count], 'the form');
}

const example = (name: string) => readFile(join(POCKET_FOLDER, 'examples', name));

let first: PeerMessage;

test('command becomes a picture in the channel', async () => {
  first = await nextEnd(() => peer.slash('/imagine', `a *red* car ${SMALL_TEXT} --seed 7`));
  expect(wordsOf(first)).toContain(`@${peer.world.ada.id} a *red* car`);
  const [picture] = picturesOf(first);
  expect(await sharp(picture).metadata()).toMatchObject({ format: 'png', width: 64, height: 64 });
  const acknowledgement = peer.world.messages[0]!;
  await peer.until(() => wordsOf(acknowledgement).startsWith('Done'), 'the end of the acknowledgement');
});

test('reaction makes a variant for the person who reacted, after a restart', async () => {
  await bot.restart();
  const variant = await nextEnd(() => peer.react(first, 'game_die', peer.world.ben));
  expect(wordsOf(variant)).toContain(`@${peer.world.ben.id}`);
  expect(picturesOf(variant)[0]).not.toEqual(picturesOf(first)[0]);
});

test('edit asks in a form that is filled in, and draws what was changed', async () => {
  const form = await nextForm(() => peer.press(first, 'Edit', peer.world.ben));
  const edited = await nextEnd(() => peer.submit(form, { prompt: 'a blue car', ...SMALL }));
  expect(wordsOf(edited)).toMatch(/a blue car[\s\S]*seed 7/);
  expect(picturesOf(edited)[0]).not.toEqual(picturesOf(first)[0]);
});

test('sketch in a form becomes a picture, and how it was read is said', async () => {
  const form = await nextForm(() => peer.slash('/sketch', 'a car'));
  const drawn = await nextEnd(async () => peer.submit(form, { ...SMALL, image: [await example('car-sketch.png')] }));
  expect(wordsOf(drawn)).toMatch(/sketch 1, followed \d+ %: looks like a line drawing/);
  expect(picturesOf(drawn)).toHaveLength(1);
  const [map] = drawn.blocks.flatMap((block) => (block.type === 'section' ? [block] : []));
  expect(map!.text.text).toBe('The sketch map that was followed');
  const followed = peer.world.files.get(map!.accessory.slack_file.id)!.bytes;
  expect(await sharp(followed).metadata()).toMatchObject({ format: 'png', width: 64, height: 64 });
});

test('two maps at once come from one form or from one message', async () => {
  const [sketch, depth] = await Promise.all([example('car-sketch.png'), example('teapot-depth.png')]);
  const form = await nextForm(() => peer.slash('/sketch', 'a car --seed 1 --method2 t2i-adapter'));
  const byForm = await nextEnd(() => peer.submit(form, { ...SMALL, image: [sketch], image2: [depth] }));
  const byMention = await nextEnd(() => {
    return peer.say(`a car ${SMALL_TEXT} --seed 1 --method2 t2i-adapter`, { files: [sketch, depth] });
  });
  for (const end of [byForm, byMention]) expect(wordsOf(end)).toMatch(/sketch 1, .*\ndepth 1/);
  expect(byMention.threadTs).toBeDefined();
  expect(picturesOf(byMention)[0]).toEqual(picturesOf(byForm)[0]);
});

test('job that runs is cancelled by its owner and by no stranger', async () => {
  const before = ends().length;
  const count = peer.world.messages.length;
  await peer.slash('/imagine', 'a long way --size 256x256 --steps 50 --count 4');
  const asked = await peer.until(() => peer.world.messages[count], 'the acknowledgement');
  await peer.until(() => /Drawing .*, \d+ of 200/.test(wordsOf(asked)), 'progress', IN_TIME_MS);
  const told = peer.world.ephemerals.length;
  await peer.press(asked, 'Cancel', peer.world.ben);
  const refusal = await peer.until(() => peer.world.ephemerals[told], 'the refusal');
  expect(wordsOf(refusal)).toContain('only the person who asked');
  await peer.press(asked, 'Cancel');
  await peer.until(() => wordsOf(asked) === 'Cancelled', 'the end', IN_TIME_MS);
  expect(ends()).toHaveLength(before);
});

test('result is sent to a person, and deleted by its owner with its pictures', async () => {
  await peer.react(first, 'envelope', peer.world.ben);
  const sent = await peer.until(() => peer.world.messages.find(({ channel }) => channel === 'D0BEN'), 'the message');
  await peer.until(() => picturesOf(sent).length > 0, 'its picture');
  expect(picturesOf(sent)[0]).toEqual(picturesOf(first)[0]);
  const ids = peer.world.messages.filter(({ threadTs }) => threadTs === first.ts).flatMap(({ files }) => files);
  await peer.press(first, 'Delete');
  await peer.until(() => first.isDeleted, 'the deletion');
  expect(ids.map((id) => peer.world.files.get(id)!.isDeleted)).toEqual([true]);
});

test('restart in the middle of a picture loses nothing and posts once', async () => {
  const before = ends().length;
  const count = peer.world.messages.length;
  await peer.slash('/imagine', 'a lighthouse --size 256x256 --steps 50 --count 4 --seed 5');
  const asked = await peer.until(() => peer.world.messages[count], 'the acknowledgement');
  await peer.until(() => /Drawing .*, \d+ of 200/.test(wordsOf(asked)), 'progress', IN_TIME_MS);
  await bot.restart();
  const end = await peer.until(() => ends()[before], 'the end', IN_TIME_MS);
  expect(wordsOf(end)).toMatch(/a lighthouse[\s\S]*seed 5/);
  await peer.until(() => wordsOf(asked).startsWith('Done'), 'the end of the acknowledgement', IN_TIME_MS);
  expect(ends()).toHaveLength(before + 1);
});

test('wrong uploads are refused with what is wrong before anything is queued', async () => {
  const { ben } = peer.world;
  const before = peer.world.messages.length;
  for (const [bytes, reason] of await badUploads()) {
    const told = peer.world.ephemerals.length;
    await peer.say('a cat', { files: [bytes], user: ben });
    const refusal = await peer.until(() => peer.world.ephemerals[told], 'the refusal');
    expect(refusal.user).toBe(ben.id);
    expect(wordsOf(refusal)).toMatch(reason);
  }
  expect(peer.world.messages).toHaveLength(before);
});
