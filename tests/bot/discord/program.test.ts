/** The whole program with the real engine on a tiny model, through discord.js, on the peer. */
import sharp from 'sharp';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { type DiscordPeer, type StoredMessage, startDiscordPeer } from '../../support/discord-peer/peer.ts';
import { type RunningBot, startTinyBot } from '../../support/running-bot.ts';

const IN_TIME_MS = 60_000;

let peer: DiscordPeer;
let bot: RunningBot;
beforeAll(async () => {
  peer = await startDiscordPeer();
  bot = await startTinyBot({
    withPlatforms: true,
    environment: { DISCORD_TOKEN: peer.token, DISCORD_API: peer.api },
  });
});
afterEach(() => expect(peer.violations).toEqual([]));
afterAll(async () => {
  await bot.stop();
  await peer.close();
});

const results = () => peer.messages().filter((message) => /-# end-\w+$/.test(peer.text(message)));
const resultNumber = (count: number): Promise<StoredMessage> =>
  peer.until(() => results()[count - 1], `result ${count}`, IN_TIME_MS);

test('command becomes a picture in the channel', async () => {
  const asked = peer.slashCommand('imagine', { options: { prompt: 'a *red* car', size: '64x64', steps: 2, seed: 7 } });
  const result = await resultNumber(1);
  expect(asked.answeredAfterMs).toBeLessThan(3000);
  expect(result.notified).toEqual([peer.ada.id]);
  expect(peer.text(result)).toContain('**a \\*red\\* car**');
  const [file] = peer.files(result);
  expect(await sharp(file!.bytes).metadata()).toMatchObject({ format: 'png', width: 64, height: 64 });
  expect(file!.description).toContain('red');
  await peer.until(() => peer.text(asked.original!).startsWith('Done'), 'the end of the acknowledgement');
});

test('reaction makes a variant for the person who reacted, after a restart', async () => {
  await bot.restart();
  peer.react(await resultNumber(1), '🔄', { user: peer.ben });
  const variant = await resultNumber(2);
  expect(variant.notified).toEqual([peer.ben.id]);
  expect(peer.files(variant)[0]!.bytes).not.toEqual(peer.files(await resultNumber(1))[0]!.bytes);
});

test('details are told to the person who asks', async () => {
  peer.press(await resultNumber(1), 'Details', { user: peer.ben });
  const details = await peer.until(
    () => peer.privateMessages(peer.ben).find(({ isDeferred }) => !isDeferred),
    'the details',
  );
  expect(peer.text(details)).toMatch(/seed.*7/is);
});
