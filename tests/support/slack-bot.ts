/** The Slack side of the bot, connected to a workspace on this machine and to an inbox in memory. */
import { pino } from 'pino';
import type { Platform } from '../../bot/platform.ts';
import { createSlackPlatform } from '../../bot/slack/platform.ts';
import { COMMANDS } from '../../commands/index.ts';
import type { SlackConfig } from '../../shared/config.ts';
import { createMemoryInbox, type MemoryInbox } from './memory-inbox.ts';
import { APP_TOKEN, BOT_TOKEN, SlackPeer } from './slack-peer/peer.ts';

export interface SlackBot {
  readonly peer: SlackPeer;
  readonly platform: Platform;
  readonly inbox: MemoryInbox;
  stop(): Promise<void>;
}

export function slackConfig(peer: SlackPeer, changes: Partial<SlackConfig> = {}): SlackConfig {
  return { botToken: BOT_TOKEN, appToken: APP_TOKEN, signingSecret: undefined, port: 0, api: peer.api, ...changes };
}

export function createTestPlatform(config: SlackConfig): Platform {
  return createSlackPlatform({ config, commands: COMMANDS, maxUploadBytes: 2 ** 20, log: pino({ level: 'silent' }) });
}

export async function startSlackBot(changes: Partial<SlackConfig> = {}): Promise<SlackBot> {
  const peer = await SlackPeer.start();
  const inbox = createMemoryInbox();
  const platform = createTestPlatform(slackConfig(peer, changes));
  await platform.start(inbox);
  return {
    peer,
    platform,
    inbox,
    stop: async () => {
      await platform.stop();
      await peer.stop();
    },
  };
}
