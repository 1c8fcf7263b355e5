/** The program in a process of its own, connected to a peer, to be killed and started again on the same folder. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { DiscordPeer } from './discord-peer/peer.ts';
import { saveTinyPipeline } from './tiny-folder.ts';

export interface DiscordProgram {
  /** Starts it and waits until it is connected. */
  start(): Promise<void>;
  /** Ends the process at once, as a crash does. */
  kill(): void;
  /** Waits until the process has ended. */
  ended(): Promise<void>;
  remove(): Promise<void>;
}

const ROOT = join(import.meta.dirname, '..', '..');
const START_MS = 120_000;

export async function createDiscordProgram(peer: DiscordPeer): Promise<DiscordProgram> {
  const dataDir = await mkdtemp(join(tmpdir(), 'sketchbooth-program-'));
  await saveTinyPipeline(join(dataDir, 'models', 'tiny'));
  const environment = {
    PATH: process.execPath,
    DATA_DIR: dataDir,
    DEFAULT_MODEL: 'tiny',
    DEVICE: 'cpu',
    THREADS: '1',
    LOG_LEVEL: 'warn',
    DISCORD_TOKEN: peer.token,
    DISCORD_API: peer.api,
  };
  let child: ChildProcess | undefined;
  return {
    start: async () => {
      const { identifies } = peer.gateway;
      child = spawn(process.execPath, ['--import', 'tsx', 'deploy/start.ts', 'all'], {
        cwd: ROOT,
        env: environment,
        stdio: ['ignore', 'inherit', 'inherit'],
      });
      const starting = child;
      await peer.until(
        () => {
          if (starting.exitCode !== null) throw new Error(`The program ended with ${starting.exitCode}`);
          return peer.gateway.identifies > identifies && peer.registrations() > 0;
        },
        'the program to connect',
        START_MS,
      );
    },
    kill: () => void child?.kill('SIGKILL'),
    ended: async () => {
      if (child !== undefined && child.exitCode === null && child.signalCode === null) await once(child, 'exit');
    },
    remove: () => rm(dataDir, { recursive: true, force: true }),
  };
}
