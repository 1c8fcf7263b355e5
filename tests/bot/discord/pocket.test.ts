/** The model that ships, through Discord. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import sharp from 'sharp';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { POCKET_FOLDER } from '../../../worker/pocket/folder.ts';
import { type DiscordPeer, type StoredMessage, startDiscordPeer } from '../../support/discord-peer/peer.ts';
import { type RunningBot, startTinyBot } from '../../support/running-bot.ts';

const IN_TIME_MS = 240_000;

let peer: DiscordPeer;
let bot: RunningBot;
beforeAll(async () => {
  peer = await startDiscordPeer();
  const environment = { DISCORD_TOKEN: peer.token, DISCORD_API: peer.api, DEFAULT_MODEL: 'pocket' };
  bot = await startTinyBot({ withPlatforms: true, environment });
}, 300_000);
afterAll(async () => {
  await bot.stop();
  await peer.close();
});

const endNumber = (count: number): Promise<StoredMessage> =>
  peer.until(
    () => peer.messages().filter((message) => /-# end-\w+$/.test(peer.text(message)))[count - 1],
    `end ${count}`,
    IN_TIME_MS,
  );

/** Mean of each channel in the middle of a picture, 0 to 255. */
async function middleColor(message: StoredMessage): Promise<{ red: number; green: number; blue: number }> {
  const { bytes } = peer.files(message)[0]!;
  const { width = 0, height = 0 } = await sharp(bytes).metadata();
  const middle = { left: width / 4, top: height / 4, width: width / 2, height: height / 2 };
  const { channels } = await sharp(bytes).extract(middle).stats();
  const [red = 0, green = 0, blue = 0] = channels.map(({ mean }) => mean);
  return { red, green, blue };
}

test('words decide what is drawn', async () => {
  for (const color of ['red', 'blue']) {
    peer.slashCommand('imagine', { options: { prompt: `a ${color} car`, seed: 11, steps: 20 } });
  }
  const [one, other] = [await endNumber(1), await endNumber(2)];
  const isRedFirst = peer.text(one).includes('a red car');
  const [red, blue] = isRedFirst ? [one, other] : [other, one];
  const [ofRed, ofBlue] = [await middleColor(red), await middleColor(blue)];
  expect(ofRed.red - ofRed.blue).toBeGreaterThan(ofBlue.red - ofBlue.blue + 20);
  expect(peer.violations).toEqual([]);
}, 600_000);

test('example sketch becomes a picture', async () => {
  const bytes = await readFile(join(POCKET_FOLDER, 'examples', 'car-sketch.png'));
  const attachments = { image: { name: 'car.png', type: 'image/png', bytes } };
  peer.slashCommand('sketch', { options: { prompt: 'a red car', seed: 11 }, attachments });
  const end = await endNumber(3);
  expect(peer.text(end)).toContain('looks like a line drawing');
  // The picture, and the map that it follows.
  expect(peer.files(end)).toHaveLength(2);
}, 600_000);
