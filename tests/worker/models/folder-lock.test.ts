import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, rm, utimes, writeFile } from 'node:fs/promises';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { withLock } from '../../../worker/models/folder-lock.ts';

let folder: string;
let path: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'sketchbooth-lock-'));
  path = join(folder, 'model.lock');
});

afterEach(() => rm(folder, { recursive: true }));

function endedPid(): number {
  return spawnSync(process.execPath, ['-e', '']).pid;
}

async function writeLock(pid: number, host: string, ageMs = 0): Promise<void> {
  await writeFile(path, JSON.stringify({ pid, host, token: 'other' }));
  const modified = new Date(Date.now() - ageMs);
  await utimes(path, modified, modified);
}

test('lock is there during the action and gone afterwards, also when the action fails', async () => {
  expect(await withLock(path, 'work', async () => existsSync(path))).toBe(true);
  expect(existsSync(path)).toBe(false);
  const failing = withLock(path, 'work', async () => {
    throw new Error('broken');
  });
  await expect(failing).rejects.toThrow('broken');
  expect(existsSync(path)).toBe(false);
});

test('lock of an ended process is taken over', async () => {
  await writeLock(endedPid(), hostname());
  expect(await withLock(path, 'work', async () => 'done')).toBe('done');
});

test('lock of another host is respected for a minute and then taken over', async () => {
  await writeLock(endedPid(), 'another-host', 50_000);
  await expect(withLock(path, 'work', async () => 'done')).rejects.toThrow(/Cannot work: .* on another-host at work/);
  await writeLock(endedPid(), 'another-host', 70_000);
  expect(await withLock(path, 'work', async () => 'done')).toBe('done');
});

test('lock that its writer left empty is taken over after a minute', async () => {
  await writeFile(path, '');
  await expect(withLock(path, 'work', async () => 'done')).rejects.toThrow(/another process at work/);
  await utimes(path, new Date(0), new Date(0));
  expect(await withLock(path, 'work', async () => 'done')).toBe('done');
});

test('stale lock is taken over by one of those who try at once', async () => {
  await writeLock(endedPid(), hostname());
  let running = 0;
  let most = 0;
  const attempts = Array.from({ length: 8 }, () =>
    withLock(path, 'work', async () => {
      most = Math.max(most, ++running);
      await new Promise((resolve) => setTimeout(resolve, 300));
      running--;
    }),
  );
  const results = await Promise.allSettled(attempts);
  expect(results.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
  expect(most).toBe(1);
});
