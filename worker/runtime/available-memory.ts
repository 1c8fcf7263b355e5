import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { freemem } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { Device } from './session.ts';

/** Bytes that a session of this process may still take on a device; undefined where nothing says it. */
export async function freeMemory(device: Device): Promise<number | undefined> {
  if (device === 'cpu') return availableMemory();
  return device === 'cuda' ? availableGraphicsMemory() : undefined;
}

/**
 * Bytes of main memory that this process may still take: what the system can give without swapping, or what is left of a
 * control group of its container if that is less.
 * @param root  where /proc and /sys are; for tests
 */
export async function availableMemory(root = '/'): Promise<number> {
  const line = /^MemAvailable:\s+(\d+) kB$/m.exec(await readText(join(root, 'proc/meminfo')));
  const system = line ? Number(line[1]) * 1024 : freemem();
  const groups = [...(await readText(join(root, 'proc/self/cgroup'))).matchAll(/^\d+:([^:]*):(\/.*)$/gm)];
  const left = await Promise.all(groups.map(([, controllers = '', path = '/']) => groupLeft(root, controllers, path)));
  return Math.min(system, ...left);
}

/** Where a version of control groups keeps its figures. Pages of files are given back when memory runs short. */
interface GroupVersion {
  readonly folder: string;
  readonly limit: string;
  readonly used: string;
  readonly files: RegExp;
}

const UNIFIED: GroupVersion = {
  folder: 'sys/fs/cgroup',
  limit: 'memory.max',
  used: 'memory.current',
  files: /^(?:in)?active_file (\d+)$/gm,
};
const MEMORY_CONTROLLER: GroupVersion = {
  folder: 'sys/fs/cgroup/memory',
  limit: 'memory.limit_in_bytes',
  used: 'memory.usage_in_bytes',
  files: /^total_(?:in)?active_file (\d+)$/gm,
};

/** What is left of a group and of those around it, of which a container may see the outermost only; Infinity without limit. */
async function groupLeft(root: string, controllers: string, path: string): Promise<number> {
  const version = controllers === '' ? UNIFIED : MEMORY_CONTROLLER;
  if (controllers !== '' && !controllers.split(',').includes('memory')) return Number.POSITIVE_INFINITY;
  const parts = path.split('/').filter((part) => part !== '');
  const folders = [...parts.keys(), parts.length].map((count) => {
    return join(root, version.folder, ...parts.slice(0, count));
  });
  return Math.min(...(await Promise.all(folders.map((folder) => folderLeft(folder, version)))));
}

async function folderLeft(folder: string, { limit, used, files }: GroupVersion): Promise<number> {
  const [max, current, stat] = (await Promise.all(
    [limit, used, 'memory.stat'].map((name) => readText(join(folder, name))),
  )) as [string, string, string];
  // A file that is not there, or says "max", sets no limit.
  const [limitBytes, usedBytes] = [Number.parseInt(max, 10), Number.parseInt(current, 10)];
  if (Number.isNaN(limitBytes) || Number.isNaN(usedBytes)) return Number.POSITIVE_INFINITY;
  const fileBytes = [...stat.matchAll(files)].reduce((sum, [, bytes]) => sum + Number(bytes), 0);
  return Math.max(0, limitBytes - usedBytes + fileBytes);
}

/** What the first graphics card has free, as its driver's nvidia-smi says; undefined where there is none. */
async function availableGraphicsMemory(): Promise<number | undefined> {
  const query = ['--query-gpu=memory.free', '--format=csv,noheader,nounits'];
  const answer = await promisify(execFile)('nvidia-smi', query).catch(() => undefined);
  const mebibytes = Number.parseInt(answer?.stdout ?? '', 10);
  return Number.isNaN(mebibytes) ? undefined : mebibytes * 2 ** 20;
}

/** '' for a file that is not there. */
function readText(file: string): Promise<string> {
  return readFile(file, 'utf8').catch(() => '');
}
