/** The Discord platform on a peer, with a bot in memory behind it. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { createDiscordPlatform, type DiscordOptions } from '../../bot/discord/platform.ts';
import type { Platform } from '../../bot/platform.ts';
import { COMMANDS } from '../../commands/index.ts';
import { type DiscordPeer, type PeerOptions, startDiscordPeer } from './discord-peer/peer.ts';
import { createMemoryInbox, type MemoryInbox } from './memory-inbox.ts';

export interface DiscordBot {
  readonly peer: DiscordPeer;
  readonly inbox: MemoryInbox;
  readonly platform: Platform;
  /** Stops the platform and starts another one on the same folder. */
  restart(options?: Partial<DiscordOptions>): Promise<Platform>;
  stop(): Promise<void>;
}

export async function startDiscordBot(peerOptions: PeerOptions = {}): Promise<DiscordBot> {
  const peer = await startDiscordPeer(peerOptions);
  const inbox = createMemoryInbox();
  const dataDir = await mkdtemp(join(tmpdir(), 'sketchbooth-discord-'));
  const make = (options: Partial<DiscordOptions> = {}) =>
    createDiscordPlatform({
      config: { token: peer.token, api: peer.api, serverId: undefined },
      commands: COMMANDS,
      dataDir,
      maxUploadBytes: 5 * 2 ** 20,
      log: pino({ level: 'silent' }),
      ...options,
    });
  let platform = make();
  await platform.start(inbox);
  return {
    peer,
    inbox,
    get platform() {
      return platform;
    },
    restart: async (options) => {
      await platform.stop();
      platform = make(options);
      await platform.start(inbox);
      return platform;
    },
    stop: async () => {
      await platform.stop();
      await peer.close();
      await rm(dataDir, { recursive: true, force: true });
    },
  };
}
