import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type AddedJob, addJobs, type NewJob } from '../../bot/job-rows.ts';
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

type AskedPicture = { id: string; userId: string; channelId?: string } & Partial<NewJob>;

/** A picture that costs a second. */
export function newPicture({ id, userId, channelId = 'studio', ...more }: AskedPicture): NewJob {
  const owner = { platform: 'web', userId, displayName: userId } as const;
  return {
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
  };
}

export async function addPicture(database: Database, asked: AskedPicture): Promise<AddedJob> {
  const [added] = await addJobs(database, [newPicture(asked)]);
  return added!;
}
