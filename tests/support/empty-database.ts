import { randomUUID } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { cp, mkdir, rename, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PGlite } from '@electric-sql/pglite';

const lock = JSON.parse(readFileSync(join(import.meta.dirname, '../../package-lock.json'), 'utf8'));
const version: string = lock.packages['node_modules/@electric-sql/pglite'].version;
const TEMPLATE = join(tmpdir(), `sketchbooth-pglite-${version}`);

/**
 * Puts an empty database into a data folder, as the program's first start would make it: making one takes seconds of a
 * processor, copying it a tenth of one.
 */
export async function placeEmptyDatabase(dataDir: string): Promise<void> {
  if (!existsSync(TEMPLATE)) await makeTemplate();
  await mkdir(dataDir, { recursive: true });
  await cp(TEMPLATE, join(dataDir, 'pg'), { recursive: true });
}

async function makeTemplate(): Promise<void> {
  const unfinished = `${TEMPLATE}.${randomUUID()}`;
  const database = await PGlite.create(unfinished);
  await database.close();
  // Of several test files that start at once the first one's stays.
  await rename(unfinished, TEMPLATE).catch(() => rm(unfinished, { recursive: true }));
}
