import { randomUUID } from 'node:crypto';
import type { EventEmitter } from 'node:events';
import { hostname } from 'node:os';
import type { Gauge } from 'prom-client';
import type { Command } from '../commands/command.ts';
import type { Config } from '../shared/config.ts';
import type { Database } from '../shared/database.ts';
import type { JobKind } from '../shared/jobs.ts';
import type { Log } from '../shared/log.ts';
import type { Metrics } from '../shared/metrics.ts';
import { JOB_KINDS, LANES, type QueueFactory } from '../shared/queue.ts';
import type { BlobStore } from '../shared/store.ts';
import { connectPlatforms } from './connect.ts';
import type { BotContext } from './context.ts';
import { releaseClaims, startDelivery } from './delivery.ts';
import { createInbox } from './dispatch.ts';
import { openEstimates } from './estimates.ts';
import { UNFINISHED } from './job-rows.ts';
import { openLines } from './lines.ts';
import { startOutbox } from './outbox.ts';
import type { Platform } from './platform.ts';
import { commandStatements } from './statements.ts';
import { startWaiting } from './waiting.ts';
import { openWorkers } from './workers.ts';

/** What a bot stands on; whoever opened it closes it after the bot. */
export interface BotServices {
  readonly config: Config;
  readonly database: Database;
  readonly store: BlobStore;
  readonly queues: QueueFactory;
  readonly log: Log;
  readonly metrics: Metrics;
  readonly commands: readonly Command[];
  readonly platforms: readonly Platform[];
  /** Whether no other process can be posting: what an earlier one had claimed is then taken up at once. */
  readonly isAlone: boolean;
}

export interface Bot {
  /** Waits for the post under way; what is not posted yet is in the tables. */
  stop(): Promise<void>;
}

/** Starts a bot: platforms, dispatch, the way into the queue and back, delivery. */
export async function startBot(services: BotServices): Promise<Bot> {
  const { database, log, metrics, platforms } = services;
  if (services.isAlone) await releaseClaims(database);
  const forKinds = <T>(make: (kind: JobKind) => T) =>
    Object.fromEntries(JOB_KINDS.map((kind) => [kind, make(kind)])) as Record<JobKind, T>;
  const queues = forKinds((kind) => services.queues.queue(kind));
  const events = forKinds((kind) => services.queues.events(kind));
  const producers = forKinds((kind) => services.queues.producer(kind));
  const senders: EventEmitter[] = [...Object.values(queues), ...Object.values(producers)];
  for (const sender of senders) {
    sender.on('error', (error: Error) => log.warn({ err: error }, 'The queue cannot be reached'));
  }
  const context: BotContext = {
    ...services,
    queues,
    signal: (kind, signal) => producers[kind].publishEvent({ eventName: 'signal', signal: JSON.stringify(signal) }),
    workers: await openWorkers(database),
    estimates: await openEstimates(database),
    lines: openLines(database),
    statements: commandStatements(database),
  };
  const delivery = startDelivery({
    database,
    log,
    platforms,
    processName: `${hostname()}/${randomUUID()}`,
    onPosted: (platform, outcome, lagSeconds) => {
      metrics.delivery.inc({ platform, outcome });
      metrics.deliveryLag.observe({ platform }, lagSeconds);
    },
  });
  countJobs(database, metrics);
  const outbox = startOutbox(context, events, {
    onStart: () => undefined,
    onProgress: (jobId, progress) => delivery.showProgress(jobId, progress),
    onEnd: () => delivery.wake(),
  });
  const waiting = startWaiting(context, delivery);
  const inbox = createInbox({ ...context, outbox });
  const connections = await connectPlatforms(platforms, inbox, log);
  return {
    stop: async () => {
      await waiting.stop();
      await delivery.stop();
      await outbox.stop();
      await connections.stop();
      await Promise.all(platforms.map((platform) => platform.stop()));
      const parts = [...Object.values(queues), ...Object.values(events), ...Object.values(producers)];
      await Promise.all(parts.map((part) => part.close()));
    },
  };
}

/** Reads the gauge's numbers from the tables whenever somebody asks for them. */
function countJobs(database: Database, metrics: Metrics): void {
  const gauge = metrics.queue as Gauge & { collect: () => Promise<void> };
  gauge.collect = async () => {
    const rows = await database
      .selectFrom('jobs')
      .select(['kind', 'state', (count) => count.fn.countAll().as('jobs')])
      .where('state', 'in', UNFINISHED)
      .groupBy(['kind', 'state'])
      .execute();
    gauge.reset();
    for (const { kind, state, jobs } of rows) gauge.set({ queue: LANES[kind], state }, Number(jobs));
  };
}
