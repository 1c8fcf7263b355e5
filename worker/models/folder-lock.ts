import { randomUUID } from 'node:crypto';
import { mkdir, readFile, rename, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { z } from 'zod';
import { UserError } from '../../shared/errors.ts';

// Process ids mean nothing between containers that share a volume, so a living holder also touches its file.
const HEARTBEAT_MS = 5_000;
const STALE_AFTER_MS = 60_000;
// Longer than it takes another process to find the same lock stale and replace it as well.
const TAKEOVER_MS = 100;

const holderSchema = z.object({ pid: z.int().positive(), host: z.string(), token: z.string() });
type Holder = z.infer<typeof holderSchema>;

/**
 * Runs an action that no other process may run at the same time.
 * A lock whose process has ended, or that nobody touched for a minute, is taken over.
 * @param path   the lock file; removed afterwards
 * @param what   the subject of the error: "add sd-turbo"
 * @throws UserError when another process holds the lock
 */
export async function withLock<T>(path: string, what: string, action: () => Promise<T>): Promise<T> {
  const token = await acquire(path, what);
  const heartbeat = setInterval(() => void touch(path), HEARTBEAT_MS);
  try {
    return await action();
  } finally {
    clearInterval(heartbeat);
    if ((await readHolder(path))?.token === token) await rm(path, { force: true });
  }
}

async function acquire(path: string, what: string): Promise<string> {
  const holder: Holder = { pid: process.pid, host: hostname(), token: randomUUID() };
  const text = JSON.stringify(holder);
  await mkdir(dirname(path), { recursive: true });
  if (await createExclusively(path, text)) return holder.token;
  const other = await readHolder(path);
  if (await isHeld(path, other)) {
    const owner = other === undefined ? 'another process' : `process ${other.pid} on ${other.host}`;
    throw new UserError(`Cannot ${what}: one process at a time may do it, got ${owner} at work (${path})`);
  }
  const replacement = `${path}.${holder.token}`;
  await writeFile(replacement, text);
  await rename(replacement, path);
  await sleep(TAKEOVER_MS);
  if ((await readHolder(path))?.token === holder.token) return holder.token;
  throw new UserError(`Cannot ${what}: one process at a time may do it, got another process at work (${path})`);
}

async function createExclusively(path: string, text: string): Promise<boolean> {
  try {
    await writeFile(path, text, { flag: 'wx' });
    return true;
  } catch (error) {
    if (hasCode(error, 'EEXIST')) return false;
    throw error;
  }
}

async function isHeld(path: string, holder: Holder | undefined): Promise<boolean> {
  if (holder !== undefined && holder.host === hostname() && !isRunning(holder.pid)) return false;
  return Date.now() - (await modifiedAt(path)) < STALE_AFTER_MS;
}

function isRunning(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch (error) {
    // EPERM: it runs, as another user.
    return !hasCode(error, 'ESRCH');
  }
}

/** Undefined for a lock that was released meanwhile, or whose writer stopped half-way. */
async function readHolder(path: string): Promise<Holder | undefined> {
  try {
    return holderSchema.parse(JSON.parse(await readFile(path, 'utf8')));
  } catch (error) {
    if (error instanceof SyntaxError || error instanceof z.ZodError || hasCode(error, 'ENOENT')) return undefined;
    throw error;
  }
}

async function modifiedAt(path: string): Promise<number> {
  try {
    return (await stat(path)).mtimeMs;
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return 0;
    throw error;
  }
}

/** A lock folder that was deleted under a running download shows itself at the next write, not here. */
async function touch(path: string): Promise<void> {
  const now = new Date();
  await utimes(path, now, now).catch(() => undefined);
}

function hasCode(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code;
}
