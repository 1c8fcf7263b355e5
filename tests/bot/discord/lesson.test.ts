/** Photos become a concept on Discord, and the concept is used there and on the local page. */

import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import sharp from 'sharp';
import { afterAll, afterEach, beforeAll, expect, test, vi } from 'vitest';
import { POCKET_FOLDER } from '../../../worker/pocket/folder.ts';
import {
  type DiscordPeer,
  type GivenFile,
  type StoredMessage,
  startDiscordPeer,
} from '../../support/discord-peer/peer.ts';
import { freePort } from '../../support/free-port.ts';
import { enterPage } from '../../support/page-visitor.ts';
import { type RunningBot, startTinyBot } from '../../support/running-bot.ts';

const IN_TIME_MS = 200_000;

let peer: DiscordPeer;
let bot: RunningBot;
let pageAddress: string;
beforeAll(async () => {
  peer = await startDiscordPeer();
  const port = await freePort();
  pageAddress = `http://127.0.0.1:${port}`;
  bot = await startTinyBot({
    withStudent: true,
    withPlatforms: true,
    environment: { DISCORD_TOKEN: peer.token, DISCORD_API: peer.api, WEB_PORT: String(port) },
  });
}, 300_000);
afterEach(() => expect(peer.violations).toEqual([]));
afterAll(async () => {
  await bot.stop();
  await peer.close();
});

const photos = (): Promise<GivenFile[]> =>
  Promise.all(
    [1, 2, 3, 4].map(async (number) => {
      const bytes = await readFile(join(POCKET_FOLDER, 'examples', 'dog', `${number}.png`));
      return { name: `${number}.png`, type: 'image/png', bytes };
    }),
  );

const isEnd = (message: StoredMessage) => /-# end-\w+$/.test(peer.text(message));
const endNumber = (count: number) =>
  peer.until(() => peer.messages().filter(isEnd)[count - 1], `end ${count}`, IN_TIME_MS);

const DRAW = { prompt: 'Rex on a beach', size: '64x64', steps: 1, seed: 3 };

/** Asks for a lesson that is ended by its owner. @returns its acknowledgement, once steps were taken */
async function longLesson(name: string): Promise<StoredMessage> {
  const asked = peer.slashCommand('teach', { options: { name, class: 'dog', steps: 2000, model: 'student' } });
  await peer.until(() => asked.modal, 'the form');
  const taught = peer.submitModal(asked, { photos: await photos() });
  const isLearning = () => taught.original && /Learning, [1-9]/.test(peer.text(taught.original));
  await peer.until(isLearning, 'the first steps', IN_TIME_MS);
  return taught.original!;
}

test('four photos become a concept, with its samples and its loss, where its owner stops', async () => {
  const acknowledgement = await longLesson('Rex');
  peer.press(acknowledgement, 'Stop here');
  const end = await endNumber(1);
  expect(peer.text(end)).toMatch(/\*\*Rex\*\* is learned[\s\S]*Stopped at step \d+ of 2000/);
  const [sample, curve] = peer.files(end);
  expect(sample!.description).toBe('Sample of the lesson at step 0');
  expect(curve!.description).toMatch(/^Curve of the loss over the lesson’s steps: /);
  expect(await sharp(curve!.bytes).metadata()).toMatchObject({ format: 'png', width: 1440, height: 640 });
  expect(end.notified).toEqual([peer.ada.id]);
}, 300_000);

test('concept appears in a picture of its owner, and in nobody else’s', async () => {
  peer.slashCommand('imagine', { options: DRAW });
  const own = await endNumber(2);
  peer.slashCommand('imagine', { options: { ...DRAW, model: 'student' }, user: peer.ben });
  const strange = await endNumber(3);
  expect(peer.files(strange)[0]!.bytes).not.toEqual(peer.files(own)[0]!.bytes);
}, 300_000);

test('concept that is shared with everyone draws the same picture on the local page', async () => {
  const shared = peer.slashCommand('concepts', { options: { do: 'share', name: 'Rex', with: 'everyone' } });
  await peer.until(() => shared.original?.isDeferred === false, 'the answer', IN_TIME_MS);
  const cleo = await enterPage(pageAddress, { name: 'Cleo' });
  const invocation = { id: 'cleo-draws-rex', command: 'imagine', options: DRAW, images: {} };
  const answer = await cleo.send('POST', '/api/channels/studio/invocations', invocation);
  expect(answer.status).toBe(200);
  const said = async () => (await cleo.messages()).flatMap(({ reply }) => reply ?? []);
  const drawn = await vi.waitFor(
    async () => {
      const replies = await said();
      const end = replies.find(({ buttons }) => buttons.some(({ action }) => action === 'variants'));
      if (end === undefined) throw new Error(`No picture yet, but: ${replies.map(({ text }) => text).join('; ')}`);
      const blob = await cleo.send('GET', `/blobs/${end.pictures[0]!.blob.hash}`);
      return new Uint8Array(await blob.arrayBuffer());
    },
    { timeout: 60_000, interval: 300 },
  );
  expect(drawn).toEqual(peer.files(await endNumber(2))[0]!.bytes);
}, 300_000);

test('sample that its owner likes ends a lesson, and nobody else’s liking does', async () => {
  const acknowledgement = await longLesson('Fido');
  const refused = peer.press(acknowledgement, 'Use this one', { user: peer.ben });
  const refusal = await peer.until(() => refused.followUps[0], 'the refusal');
  expect(peer.text(refusal)).toContain('only the person who asked');
  const taken = peer.press(acknowledgement, 'Use this one');
  const answer = await peer.until(() => taken.followUps[0], 'the answer');
  expect(peer.text(answer)).toContain('the state of step 0 is kept');
  expect(peer.text(await endNumber(4))).toMatch(
    /Fido.*is learned[\s\S]*The sample of step 0 was chosen at step \d+ of 2000/,
  );
}, 300_000);
