/** What every process stands on, as the configuration says. */
import type { Config } from './config.ts';
import { type Database, openDatabase } from './database.ts';
import { EmbeddedPostgres } from './embedded-postgres.ts';
import { UserError } from './errors.ts';
import { createQueueFactory, type QueueFactory } from './queue.ts';
import { type BlobStore, openStore } from './store.ts';

export interface Services {
  readonly queues: QueueFactory;
  readonly store: BlobStore;
  close(): Promise<void>;
}

export interface BotServices extends Services {
  readonly database: Database;
  /** Whether this process alone can reach the tables. */
  readonly isAlone: boolean;
}

/** Opens queue, tables and store; the embedded database serves what has no address. */
export async function openServices(config: Config): Promise<BotServices> {
  const { databaseUrl, redisUrl, queuePrefix: prefix } = config;
  const isEmbedded = databaseUrl === undefined || redisUrl === undefined;
  const embedded = isEmbedded ? await EmbeddedPostgres.open(config.dataDir) : undefined;
  const database = await openDatabase(databaseUrl ?? embedded!);
  const queues = createQueueFactory(redisUrl === undefined ? embedded! : { redisUrl, prefix });
  const store = openStore(config);
  await Promise.all([queues.check(), store.check()]);
  return {
    database,
    queues,
    store,
    isAlone: databaseUrl === undefined,
    close: async () => {
      await queues.close();
      await database.destroy();
      await embedded?.end();
    },
  };
}

/**
 * Opens what a worker needs: the queue and the store, never the tables.
 * @throws UserError without REDIS_URL, since only one process can use the embedded queue
 */
export async function openWorkerServices(config: Config): Promise<Services> {
  const { redisUrl, queuePrefix: prefix } = config;
  if (redisUrl === undefined) {
    throw new UserError('Cannot start a worker apart from the bot: REDIS_URL must name their queue, got nothing');
  }
  const queues = createQueueFactory({ redisUrl, prefix });
  const store = openStore(config);
  await Promise.all([queues.check(), store.check()]);
  return { queues, store, close: () => queues.close() };
}
