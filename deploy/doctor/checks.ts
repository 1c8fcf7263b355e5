/** Looks at everything that Sketchbooth stands on, and says what to do about what is wrong. */
import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, statfs } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { checkDiscord } from '../../bot/discord/doctor.ts';
import type { Finding } from '../../bot/finding.ts';
import { checkSlack } from '../../bot/slack/doctor.ts';
import type { Config } from '../../shared/config.ts';
import { openDatabase } from '../../shared/database.ts';
import { EmbeddedPostgres } from '../../shared/embedded-postgres.ts';
import { UserError } from '../../shared/errors.ts';
import { createQueueFactory } from '../../shared/queue.ts';
import { openStore } from '../../shared/store.ts';
import { openModelFolder } from '../../worker/diffusion/model-folder.ts';
import { resolveModel } from '../../worker/models/registry.ts';
import { chooseDevice } from '../../worker/runtime/device.ts';

export type Check = (config: Config) => Promise<Finding[]>;

const GIBIBYTE = 2 ** 30;
/** Below it a model download or a lesson's checkpoints may not fit. */
const LITTLE_DISK_BYTES = 5 * GIBIBYTE;
const PATIENCE_MS = 30_000;

/** In the order in which they are needed. */
export const CHECKS: readonly Check[] = [
  checkNode,
  checkDisk,
  checkTables,
  checkQueue,
  checkStore,
  checkDevice,
  checkModel,
  async ({ discord }) => (discord ? checkDiscord(discord) : []),
  async ({ slack }) => (slack ? checkSlack(slack) : []),
  checkPage,
];

function fine(subject: string, text: string): Finding[] {
  return [{ subject, isFine: true, text }];
}

/** @param fix  exactly what to do */
async function attempt(subject: string, fix: string, run: () => Promise<string>): Promise<Finding[]> {
  const late = sleep(PATIENCE_MS, undefined, { ref: false }).then(() => {
    throw new Error(`no answer within ${PATIENCE_MS / 1000} s`);
  });
  try {
    return fine(subject, await Promise.race([run(), late]));
  } catch (error) {
    const text = error instanceof Error ? error.message || error.name : String(error);
    return [{ subject, isFine: false, text, fix }];
  }
}

async function checkNode(): Promise<Finding[]> {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
  const isNew = major > 20 || (major === 20 && minor >= 15);
  const subject = 'Node.js';
  if (isNew) return fine(subject, process.versions.node);
  const fix = 'Install Node.js 20.15 or newer';
  return [{ subject, isFine: false, text: `too old: ${process.versions.node}`, fix }];
}

function checkDisk({ dataDir }: Config): Promise<Finding[]> {
  const fix = `Make ${dataDir} a folder that this user may write and that has ${LITTLE_DISK_BYTES / GIBIBYTE} GiB free, or set DATA_DIR to another`;
  return attempt('Data folder', fix, async () => {
    await mkdir(dataDir, { recursive: true });
    const { bavail, bsize } = await statfs(dataDir);
    const free = bavail * bsize;
    const text = `${dataDir}, ${(free / GIBIBYTE).toFixed(1)} GiB free`;
    if (free < LITTLE_DISK_BYTES) throw new Error(text);
    return text;
  });
}

function checkTables({ databaseUrl, dataDir }: Config): Promise<Finding[]> {
  if (databaseUrl === undefined) return checkEmbedded('Tables', dataDir);
  const fix = 'Start Postgres, and let DATABASE_URL name a database that its user may create tables in';
  return attempt('Tables', fix, async () => {
    const database = await openDatabase(databaseUrl);
    await database.destroy();
    return `Postgres at ${hostOf(databaseUrl)}`;
  });
}

/** Only one process may open it: that one is open already is good news. */
function checkEmbedded(subject: string, dataDir: string): Promise<Finding[]> {
  const fix = `Move ${dataDir}/pg away, which starts with empty tables, or restore it from a backup`;
  if (!existsSync(join(dataDir, 'pg')))
    return Promise.resolve(fine(subject, 'embedded Postgres, made at the first start'));
  return attempt(subject, fix, async () => {
    try {
      const embedded = await EmbeddedPostgres.open(dataDir);
      await embedded.end();
      return `embedded Postgres in ${dataDir}/pg`;
    } catch (error) {
      if (error instanceof UserError && /one process at a time/.test(error.message)) {
        return `embedded Postgres in ${dataDir}/pg, open in a running Sketchbooth`;
      }
      throw error;
    }
  });
}

async function checkQueue({ redisUrl, queuePrefix: prefix, databaseUrl, dataDir }: Config): Promise<Finding[]> {
  const subject = 'Queue';
  if (redisUrl === undefined) {
    return databaseUrl === undefined ? fine(subject, 'beside the tables') : checkEmbedded(subject, dataDir);
  }
  const fix =
    'Start Redis or Valkey at REDIS_URL with --appendonly yes --maxmemory-policy noeviction, and let this machine reach it';
  return attempt(subject, fix, async () => {
    const queues = createQueueFactory({ redisUrl, prefix });
    // A client that waits for ever would keep the process alive.
    await Promise.race([queues.check(), sleep(PATIENCE_MS / 2, 'late', { ref: false })])
      .then((outcome) => {
        if (outcome === 'late') throw new Error(`nothing answers at ${hostOf(redisUrl)}`);
      })
      .finally(() => queues.close());
    return `Redis at ${hostOf(redisUrl)}`;
  });
}

/** Without what is secret in an address. */
function hostOf(url: string): string {
  const { host, pathname } = new URL(url);
  return `${host}${pathname}`;
}

function checkStore(config: Config): Promise<Finding[]> {
  const { s3, dataDir } = config;
  const where = s3 ? `bucket ${s3.bucket} at ${s3.endpoint}` : `${dataDir}/blobs`;
  const fix = s3
    ? 'Make the bucket, and let S3_ACCESS_KEY_ID put, get, head and delete objects in it; check S3_REGION'
    : `Let this user write in ${dataDir}/blobs`;
  return attempt('Pictures and weights', fix, async () => {
    const store = openStore(config);
    await store.check();
    const bytes = randomBytes(1000);
    const blob = await store.put(bytes, { type: 'application/octet-stream' });
    const read = await store.get(blob);
    await store.remove(blob);
    if (!bytes.equals(read)) throw new Error('what was read is not what was written');
    return `${where}: written, read and removed`;
  });
}

function checkDevice({ worker }: Config): Promise<Finding[]> {
  const fix = 'Follow what the message says, or set DEVICE to cpu';
  return attempt('Device', fix, async () => (await chooseDevice(worker.device)).reason);
}

function checkModel(config: Config): Promise<Finding[]> {
  const { defaultModel } = config;
  const fix = 'Set DEFAULT_MODEL to a name of `npm run models -- list`, or add it by `npm run models -- add`';
  return attempt('Model', fix, async () => {
    const { folder } = await openModelFolder(await resolveModel(defaultModel, config));
    return `${defaultModel} in ${folder}`;
  });
}

async function checkPage({ web }: Config): Promise<Finding[]> {
  if (!web) return [];
  const { host, port } = web;
  const fix = `Stop what uses port ${port}, or set WEB_PORT to another`;
  return attempt('Local page', fix, async () => {
    const address = `http://${host}:${port}`;
    if (await isFree(host, port)) return `${address}, free`;
    const answer = await fetch(address, { signal: AbortSignal.timeout(3000), redirect: 'manual' });
    if (!/sketchbooth/i.test(await answer.text())) throw new Error(`${address} belongs to another program`);
    return `${address}, served by a running Sketchbooth`;
  });
}

function isFree(host: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen(port, host, () => server.close(() => resolve(true)));
  });
}
