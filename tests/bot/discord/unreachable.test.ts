/** Discord is away when the program starts: everything else works, and Discord does as soon as it is back. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type DiscordPeer, startDiscordPeer } from '../../support/discord-peer/peer.ts';
import { type Gate, startGate } from '../../support/gate.ts';
import { type RunningBot, startTinyBot } from '../../support/running-bot.ts';

let peer: DiscordPeer;
let gate: Gate;
let bot: RunningBot;
beforeAll(async () => {
  peer = await startDiscordPeer();
  gate = await startGate(peer.api);
  bot = await startTinyBot({
    withPlatforms: true,
    withWorker: false,
    environment: { DISCORD_TOKEN: peer.token, DISCORD_API: gate.url, WEB_PORT: '0', LOG_LEVEL: 'silent' },
  });
}, 120_000);
afterAll(async () => {
  await bot.stop();
  gate.close();
  await peer.close();
});

test('program works without Discord, and with it once it is there', async () => {
  const answer = await bot.chat.type('imagine', { prompt: 'a red car', size: '64x64', steps: 1 });
  expect(answer).toMatchObject({ jobId: expect.any(String) });
  expect(peer.gateway.identifies).toBe(0);
  gate.open();
  await peer.until(() => peer.registrations() > 0, 'the commands to be registered', 60_000);
  const asked = peer.slashCommand('help');
  await peer.until(() => asked.original, 'the answer', 20_000);
}, 120_000);
