/** Photos become a concept on Slack, and the concept appears in a picture. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import sharp from 'sharp';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { POCKET_FOLDER } from '../../../worker/pocket/folder.ts';
import { type RunningBot, startTinyBot } from '../../support/running-bot.ts';
import { APP_TOKEN, BOT_TOKEN, SlackPeer } from '../../support/slack-peer/peer.ts';
import { wordsOf } from '../../support/slack-peer/words.ts';
import type { OpenView, PeerMessage } from '../../support/slack-peer/world.ts';

const IN_TIME_MS = 200_000;
const LONG = { timeout: 300_000 };

let peer: SlackPeer;
let bot: RunningBot;
beforeAll(async () => {
  peer = await SlackPeer.start();
  bot = await startTinyBot({
    withStudent: true,
    withPlatforms: true,
    environment: { SLACK_BOT_TOKEN: BOT_TOKEN, SLACK_APP_TOKEN: APP_TOKEN, SLACK_API: peer.api },
  });
}, LONG.timeout);
afterEach(() => expect(peer.violations).toEqual([]));
afterAll(async () => {
  await bot.stop();
  await peer.stop();
});

const photos = () =>
  Promise.all([1, 2, 3, 4].map((number) => readFile(join(POCKET_FOLDER, 'examples', 'dog', `${number}.png`))));

const isWhole = ({ metadata }: PeerMessage) => JSON.stringify(metadata ?? '').includes('"whole"');
const endNumber = (count: number) =>
  peer.until(() => peer.world.messages.filter(isWhole)[count - 1], `end ${count}`, IN_TIME_MS);

function picturesOf(message: PeerMessage): { alt: string; bytes: Uint8Array }[] {
  return message.blocks.flatMap((block) =>
    block.type === 'image' ? [{ alt: block.alt_text, bytes: peer.world.files.get(block.slack_file.id)!.bytes }] : [],
  );
}

async function nextForm(doing: () => unknown): Promise<OpenView> {
  const count = peer.world.views.length;
  await doing();
  return peer.until(() => peer.world.views[count], 'the form');
}

/** The acknowledgement that a lesson or picture gets in the channel. */
async function nextAnswer(doing: () => unknown): Promise<PeerMessage> {
  const count = peer.world.messages.length;
  await doing();
  return peer.until(() => peer.world.messages[count], 'the acknowledgement', IN_TIME_MS);
}

const LONG_LESSON = { class: 'dog', steps: '2000', model: 'student' };

test(
  'four photos of a message become a concept, with its samples and its loss, where its owner stops',
  LONG,
  async () => {
    const form = await nextForm(async () => peer.shortcut('teach_from_these', await photos()));
    const asked = await nextAnswer(() => peer.submit(form, { name: 'Rex', ...LONG_LESSON }));
    await peer.until(() => /Learning, [1-9]/.test(wordsOf(asked)), 'the first steps', IN_TIME_MS);
    await peer.press(asked, 'Stop here');
    const end = await endNumber(1);
    expect(wordsOf(end)).toMatch(/@U0ADA Rex is learned[\s\S]*\d+ steps · loss \d[\s\S]*Stopped at step \d+ of 2000/);
    const [sample, curve] = picturesOf(end);
    expect(sample!.alt).toBe('Sample of the lesson at step 0');
    expect(curve!.alt).toMatch(/^Curve of the loss over the lesson’s steps: /);
    expect(await sharp(curve!.bytes).metadata()).toMatchObject({ format: 'png', width: 1440, height: 640 });
    const samples = peer.world.messages.filter(({ threadTs }) => threadTs === asked.ts).flatMap(({ files }) => files);
    expect(samples.map((id) => peer.world.files.get(id)!.name)).toEqual(['sample-0.png']);
  },
);

test('concept appears in a picture of its owner, and in nobody else’s', LONG, async () => {
  const words = 'Rex on a beach --size 64x64 --steps 1 --seed 3';
  await peer.slash('/imagine', words);
  const own = await endNumber(2);
  await peer.slash('/imagine', `${words} --model student`, peer.world.ben);
  const strange = await endNumber(3);
  expect(picturesOf(strange)[0]!.bytes).not.toEqual(picturesOf(own)[0]!.bytes);
  const told = peer.world.ephemerals.length;
  await peer.press(own, 'Details');
  expect(wordsOf(await peer.until(() => peer.world.ephemerals[told], 'the details'))).toContain('concept Rex: 1');
});

test('sample that its owner likes ends a lesson, and nobody else’s liking does', LONG, async () => {
  const form = await nextForm(() => peer.slash('/teach', 'Fido'));
  const asked = await nextAnswer(async () => peer.submit(form, { ...LONG_LESSON, photos: await photos() }));
  await peer.until(() => /Learning, [1-9]/.test(wordsOf(asked)), 'the first steps', IN_TIME_MS);
  const told = peer.world.ephemerals.length;
  await peer.press(asked, 'Use this one', peer.world.ben);
  const refusal = await peer.until(() => peer.world.ephemerals[told], 'the refusal');
  expect(wordsOf(refusal)).toContain('only the person who asked');
  await peer.press(asked, 'Use this one');
  const answer = await peer.until(() => peer.world.ephemerals[told + 1], 'the answer');
  expect(wordsOf(answer)).toBe('The lesson ends now, and the state of step 0 is kept');
  const end = await endNumber(4);
  expect(wordsOf(end)).toMatch(/Fido is learned[\s\S]*The sample of step 0 was chosen at step \d+ of 2000/);
});
