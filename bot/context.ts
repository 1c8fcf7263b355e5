import type { Command } from '../commands/command.ts';
import type { Config } from '../shared/config.ts';
import type { Database } from '../shared/database.ts';
import type { JobKind } from '../shared/jobs.ts';
import type { Log } from '../shared/log.ts';
import type { Metrics } from '../shared/metrics.ts';
import type { JobQueue, WorkerSignal } from '../shared/queue.ts';
import type { BlobStore } from '../shared/store.ts';
import type { Estimates } from './estimates.ts';
import type { Lines } from './lines.ts';
import type { Platform } from './platform.ts';
import type { CommandStatements } from './statements.ts';
import type { Workers } from './workers.ts';

/** What the parts of the bot share. */
export interface BotContext {
  readonly config: Config;
  readonly database: Database;
  readonly store: BlobStore;
  readonly log: Log;
  readonly metrics: Metrics;
  /** Those that this process is connected to. */
  readonly platforms: readonly Platform[];
  readonly commands: readonly Command[];
  readonly queues: Readonly<Record<JobKind, JobQueue>>;
  /** Tells all workers of a lane. */
  readonly signal: (kind: JobKind, signal: WorkerSignal) => Promise<void>;
  readonly workers: Workers;
  readonly estimates: Estimates;
  readonly lines: Lines;
  readonly statements: CommandStatements;
}
