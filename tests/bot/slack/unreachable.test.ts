/** Slack is away when the program starts, and again later: everything else works, and Slack does as soon as it is back. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { UserError } from '../../../shared/errors.ts';
import { type Gate, startGate } from '../../support/gate.ts';
import { createMemoryInbox } from '../../support/memory-inbox.ts';
import { type RunningBot, startTinyBot } from '../../support/running-bot.ts';
import { createTestPlatform, slackConfig } from '../../support/slack-bot.ts';
import { APP_TOKEN, BOT_TOKEN, SlackPeer } from '../../support/slack-peer/peer.ts';

let peer: SlackPeer;
let gate: Gate;
let bot: RunningBot;
beforeAll(async () => {
  peer = await SlackPeer.start();
  gate = await startGate(peer.api);
  bot = await startTinyBot({
    withPlatforms: true,
    withWorker: false,
    environment: {
      SLACK_BOT_TOKEN: BOT_TOKEN,
      SLACK_APP_TOKEN: APP_TOKEN,
      SLACK_API: gate.url,
      WEB_PORT: '0',
      LOG_LEVEL: 'silent',
    },
  });
}, 120_000);
afterAll(async () => {
  await bot.stop();
  gate.close();
  await peer.stop();
});

async function askForHelp(): Promise<void> {
  const before = peer.calls.length;
  await peer.slash('/booth-help');
  await peer.until(() => peer.calls.slice(before).some(({ method }) => method.startsWith('chat.post')), 'the answer');
}

test('program works without Slack, and with it once it is there', async () => {
  const answer = await bot.chat.type('imagine', { prompt: 'a red car', size: '64x64', steps: 1 });
  expect(answer).toMatchObject({ jobId: expect.any(String) });
  expect(peer.calls).toEqual([]);
  gate.open();
  await peer.until(() => peer.isConnected(), 'the connection', 60_000);
  await askForHelp();
}, 120_000);

test('program lives on when Slack ends the connection and cannot be reached, and is there again later', async () => {
  const before = gate.refusals();
  gate.shut();
  peer.disconnect();
  await peer.until(() => !peer.isConnected(), 'the end of the connection');
  await peer.until(() => gate.refusals() >= before + 2, 'two attempts to connect again', 60_000);
  expect(await bot.chat.type('help', {})).toMatchObject({ kind: 'message' });
  gate.open();
  await peer.until(() => peer.isConnected(), 'the connection', 60_000);
  await askForHelp();
}, 120_000);

test.each([
  ['SLACK_BOT_TOKEN', { botToken: 'xoxb-wrong' }],
  ['SLACK_APP_TOKEN', { appToken: 'xapp-wrong' }],
] as const)('start ends with what to mend when %s is wrong', async (name, changes) => {
  const platform = createTestPlatform(slackConfig(peer, changes));
  const failure = await platform.start(createMemoryInbox()).catch((error: unknown) => error);
  expect(failure).toBeInstanceOf(UserError);
  expect((failure as UserError).message).toMatch(
    new RegExp(`^Cannot connect to Slack: ${name} must be .*invalid_auth`),
  );
  expect(platform.isReady()).toBe(false);
  await platform.stop();
});
