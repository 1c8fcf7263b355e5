import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type AddedJob, addJob, type NewJob } from '../../bot/job-rows.ts';
import { type Database, openDatabase } from '../../shared/database.ts';
import { EmbeddedPostgres } from '../../shared/embedded-postgres.ts';
import type { PictureJob } from '../../shared/jobs.ts';
import { placeEmptyDatabase } from './empty-database.ts';

export interface BotTables {
  readonly database: Database;
  /** Removes all rows. */
  clear(): Promise<void>;
  close(): Promise<void>;
}

/** The tables in a folder of their own. */
export async function openTables(): Promise<BotTables> {
  const folder = await mkdtemp(join(tmpdir(), 'sketchbooth-tables-'));
  await placeEmptyDatabase(folder);
  const embedded = await EmbeddedPostgres.open(folder);
  const database = await openDatabase(embedded);
  return {
    database,
    clear: async () => {
      for (const table of ['posts', 'messages', 'jobs', 'invocations', 'fair_lanes', 'fair_shares'] as const) {
        await database.deleteFrom(table).execute();
      }
    },
    close: async () => {
      await embedded.end();
      await rm(folder, { recursive: true });
    },
  };
}

export const PICTURE: PictureJob = {
  kind: 'picture',
  prompt: 'a red car',
  model: 'tiny',
  seed: 1,
  count: 1,
  controls: [],
  concepts: [],
};

/** Adds a picture that costs a second. */
export function addPicture(
  database: Database,
  { id, userId, channelId = 'studio', ...more }: { id: string; userId: string; channelId?: string } & Partial<NewJob>,
): Promise<AddedJob> {
  const owner = { platform: 'web', userId, displayName: userId } as const;
  return addJob(database, {
    id,
    invocationId: `invocation of ${id}`,
    job: PICTURE,
    replyTo: { place: { platform: 'web', serverId: 'server', channelId }, owner, uploadLimitBytes: 2 ** 23 },
    parentJobId: undefined,
    note: undefined,
    costSeconds: 1,
    maxJobsPerUser: 10,
    maxJobsPerServer: 100,
    ...more,
  });
}
