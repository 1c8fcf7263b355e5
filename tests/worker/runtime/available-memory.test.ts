import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { availableMemory } from '../../../worker/runtime/available-memory.ts';

const MEBIBYTE = 2 ** 20;
const MEMINFO = 'MemTotal:  8192 kB\nMemFree:  1024 kB\nMemAvailable:    4096 kB\n';

async function rootWith(files: Readonly<Record<string, string>>): Promise<string> {
  const root = await mkdtemp(join(tmpdir(), 'sketchbooth-memory-'));
  onTestFinished(() => rm(root, { recursive: true }));
  for (const [name, text] of Object.entries({ 'proc/meminfo': MEMINFO, ...files })) {
    await mkdir(dirname(join(root, name)), { recursive: true });
    await writeFile(join(root, name), text);
  }
  return root;
}

test('what the system has available is free when no control group is smaller', async () => {
  expect(await availableMemory(await rootWith({}))).toBe(4 * MEBIBYTE);
  const unlimited = { 'proc/self/cgroup': '0::/\n', 'sys/fs/cgroup/memory.max': 'max\n' };
  expect(await availableMemory(await rootWith(unlimited))).toBe(4 * MEBIBYTE);
});

test('a control group of version 2 leaves its limit without what is used, pages of files aside', async () => {
  const root = await rootWith({
    'proc/self/cgroup': '0::/bot/lesson\n',
    'sys/fs/cgroup/bot/memory.max': `${3 * MEBIBYTE}\n`,
    'sys/fs/cgroup/bot/memory.current': `${2 * MEBIBYTE}\n`,
    'sys/fs/cgroup/bot/memory.stat': `anon 5\ninactive_file ${MEBIBYTE / 2}\nactive_file ${MEBIBYTE / 4}\n`,
    'sys/fs/cgroup/bot/lesson/memory.max': 'max\n',
  });
  expect(await availableMemory(root)).toBe(1.75 * MEBIBYTE);
});

test('a control group of version 1 is asked where its own path is not to be seen', async () => {
  const root = await rootWith({
    'proc/self/cgroup': '5:cpu,cpuacct:/x\n4:memory:/docker/abc\n',
    'sys/fs/cgroup/memory/memory.limit_in_bytes': `${2 * MEBIBYTE}\n`,
    'sys/fs/cgroup/memory/memory.usage_in_bytes': `${MEBIBYTE}\n`,
    'sys/fs/cgroup/memory/memory.stat': `inactive_file 7\ntotal_inactive_file ${MEBIBYTE / 2}\ntotal_active_file 0\n`,
  });
  expect(await availableMemory(root)).toBe(1.5 * MEBIBYTE);
});
