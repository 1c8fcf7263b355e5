import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { freePort } from './free-port.ts';

/** A redis-server of the test's own, with an append-only file that outlives a kill. */
export interface RedisServer {
  readonly url: string;
  /** SIGKILL, and the same data again. */
  killAndRestart(pauseMs: number): Promise<void>;
  stop(): Promise<void>;
}

/** @throws Error if redis-server is not installed: tests that need it fail, they are not skipped */
export async function startRedisServer(): Promise<RedisServer> {
  const folder = await mkdtemp(join(tmpdir(), 'sketchbooth-redis-'));
  const port = await freePort();
  let server = await start(folder, port);
  return {
    url: `redis://127.0.0.1:${port}`,
    killAndRestart: async (pauseMs) => {
      await kill(server);
      await setTimeout(pauseMs);
      server = await start(folder, port);
    },
    stop: async () => {
      await kill(server);
      await rm(folder, { recursive: true });
    },
  };
}

async function start(folder: string, port: number): Promise<ChildProcess> {
  const options = ['--port', port, '--bind', '127.0.0.1', '--dir', folder, '--appendonly', 'yes', '--save', ''];
  const server = spawn('redis-server', [...options.map(String), '--maxmemory-policy', 'noeviction'], {
    stdio: 'ignore',
  });
  const failed = once(server, 'error').then(([cause]) => {
    throw new Error('Cannot start redis-server: it must be installed (apt-get install redis-server)', { cause });
  });
  await Promise.race([failed, untilItAnswers(port)]);
  failed.catch(() => undefined);
  return server;
}

async function untilItAnswers(port: number): Promise<void> {
  const redis = new Redis({ port, maxRetriesPerRequest: null, retryStrategy: () => 50 });
  redis.on('error', () => undefined);
  try {
    while ((await redis.info('persistence')).includes('loading:1')) await setTimeout(50);
  } finally {
    redis.disconnect();
  }
}

async function kill(server: ChildProcess): Promise<void> {
  if (server.exitCode !== null || server.signalCode !== null) return;
  const gone = once(server, 'exit');
  server.kill('SIGKILL');
  await gone;
}
