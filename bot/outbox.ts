/** Brings rows into the queue and ends back into rows; what the queue says is a hint, the rows are the truth. */
import type { Job as QueueEntry, QueueEvents } from 'bullmq';
import { UserError } from '../shared/errors.ts';
import {
  type JobKind,
  type JobOutcome,
  type JobProgress,
  jobOutcomeSchema,
  jobProgressSchema,
} from '../shared/jobs.ts';
import { JOB_KINDS, MAX_PRIORITY, type QueuedJob } from '../shared/queue.ts';
import type { BotContext } from './context.ts';
import {
  findJob,
  finishJob,
  forgetEnqueued,
  type JobEnd,
  type JobRow,
  jobsToCancel,
  jobsToEnqueue,
  jobsToWatch,
  markEnqueued,
  markStarted,
  restartIdleLanes,
  saveProgress,
} from './job-rows.ts';
import { endLesson } from './lesson-ends.ts';
import { type Repeated, repeat } from './repeat.ts';
import { repeatSteering } from './steering.ts';
import { workerOfferSchema } from './workers.ts';

/** What delivery wants to hear of. */
export interface JobListener {
  onProgress(jobId: string, progress: JobProgress): void;
  onStart(jobId: string): void;
  onEnd(jobId: string): void;
}

export interface Outbox {
  /** Says that a row was added. */
  wake(): void;
  /** Asks for a job to be cancelled; its row says so already. */
  cancel(row: JobRow): Promise<void>;
  stop(): Promise<void>;
}

const BATCH = 200;
/** Pause between looks at jobs whose events may have been missed. */
const RECONCILE_MS = 5000;
const WATCHED = 100;
/** What loading a model takes, roughly. */
const MODEL_LOAD_SECONDS = 10;
/** Priority numbers per expected second. */
const PRIORITY_SCALE = 10;

export function startOutbox(
  context: BotContext,
  events: Readonly<Record<JobKind, QueueEvents>>,
  listener: JobListener,
): Outbox {
  const pump = repeat(() => enqueueRows(context), { everyMs: 1000, log: context.log, what: 'enqueue jobs' });
  const reconcile = repeat(() => reconcileRows(context, listener), {
    everyMs: RECONCILE_MS,
    log: context.log,
    what: 'reconcile jobs with the queue',
  });
  for (const kind of JOB_KINDS) listen(context, { kind, events: events[kind], listener, reconcile });
  return {
    wake: () => pump.wake(),
    cancel: (row) => cancelJob(context, row, listener),
    stop: async () => {
      await pump.stop();
      await reconcile.stop();
    },
  };
}

/** @returns whether there may be more */
async function enqueueRows({ database, queues, workers }: BotContext): Promise<boolean> {
  const rows = await jobsToEnqueue(database, BATCH);
  const loaded = new Set(workers.alive().flatMap((worker) => worker.loaded));
  for (const kind of JOB_KINDS) {
    const own = rows.filter((row) => row.kind === kind);
    if (own.length === 0) continue;
    await queues[kind].addBulk(
      own.map((row) => ({
        name: row.job.model,
        data: { job: row.job, isCancelled: row.is_cancel_requested } satisfies QueuedJob,
        opts: { jobId: row.id, priority: priorityOf(row, loaded) },
      })),
    );
    await markEnqueued(
      database,
      own.map(({ id }) => id),
    );
  }
  return rows.length === BATCH;
}

/**
 * Jobs of a model that no worker has loaded stand back by what loading it takes, and by no more: they never starve.
 */
function priorityOf({ tag, job }: JobRow, loaded: ReadonlySet<string>): number {
  const seconds = tag + (loaded.has(job.model) ? 0 : MODEL_LOAD_SECONDS);
  return Math.min(1 + Math.round(seconds * PRIORITY_SCALE), MAX_PRIORITY);
}

interface Listening {
  readonly kind: JobKind;
  readonly events: QueueEvents;
  readonly listener: JobListener;
  readonly reconcile: Repeated;
}

function listen(context: BotContext, { kind, events, listener, reconcile }: Listening): void {
  const { database, queues, log } = context;
  const guarded = (what: string, run: () => Promise<unknown>) => {
    run().catch((error: unknown) => {
      log.warn({ err: error, kind }, `Cannot ${what}; the reconciler will`);
      reconcile.wake();
    });
  };
  events.on('active', ({ jobId }) =>
    guarded('note a start', async () => {
      const waitedSeconds = await markStarted(database, jobId);
      if (waitedSeconds !== undefined) context.metrics.wait.observe({ kind }, waitedSeconds);
      listener.onStart(jobId);
    }),
  );
  events.on('progress', ({ jobId, data }) => {
    const progress = jobProgressSchema.safeParse(data);
    if (!progress.success) return;
    guarded('note progress', () => saveProgress(database, jobId, progress.data));
    listener.onProgress(jobId, progress.data);
  });
  for (const event of ['completed', 'failed'] as const) {
    events.on(event, ({ jobId }: { jobId: string }) =>
      guarded('take a result', async () => {
        const entry = await queues[kind].getJob(jobId);
        if (entry) await takeEnd(context, entry, listener);
        else reconcile.wake();
      }),
    );
  }
  // Events of our own are not among BullMQ's types.
  const own = events as unknown as { on(event: 'offer', hear: (event: { offer: string }) => void): void };
  own.on('offer', ({ offer }) => {
    const parsed = workerOfferSchema.safeParse(JSON.parse(offer));
    if (parsed.success) guarded('note a worker', () => context.workers.hear(parsed.data));
  });
  events.on('error', (error) => log.warn({ err: error, kind }, 'The queue cannot be listened to'));
}

async function reconcileRows(context: BotContext, listener: JobListener): Promise<boolean> {
  const { database, queues } = context;
  for (const row of await jobsToCancel(database)) await cancelJob(context, row, listener);
  await repeatSteering(context);
  for (const row of await jobsToWatch(database, WATCHED)) {
    const entry = await queues[row.kind].getJob(row.id);
    const state = entry ? await entry.getState() : 'unknown';
    if (!entry || state === 'unknown') await forgetEnqueued(database, row.id);
    else if (state === 'completed' || state === 'failed') await takeEnd(context, entry, listener);
    else if (state === 'active' && row.state === 'queued') await markStarted(database, row.id);
  }
  await restartIdleLanes(database, JOB_KINDS);
  return false;
}

/** Takes what the queue says of a job's end into its row; the queue's entry is removed when that is done. */
async function takeEnd(
  { database, store, estimates, log, metrics }: BotContext,
  entry: QueueEntry<QueuedJob, JobOutcome>,
  listener: JobListener,
): Promise<void> {
  const id = entry.id!;
  const row = await findJob(database, id);
  if (row && !row.finished_at) {
    const end = endOf(entry);
    await endLesson({ database, store }, row, end);
    const isFirst = await finishJob(database, id, end);
    if (isFirst && end.state === 'succeeded') await estimates.learn(row.job, end.result.receipt.durationSeconds);
    if (entry.failedReason) log.error({ jobId: id, reason: entry.failedReason }, 'A job failed');
    if (isFirst) {
      metrics.jobs.inc({ kind: row.kind, outcome: end.state });
      if (row.started_at) metrics.run.observe({ kind: row.kind, model: row.job.model }, secondsSince(row.started_at));
      listener.onEnd(id);
    }
  }
  // What stays is removed by its age.
  await entry.remove().catch((error: unknown) => log.debug({ err: error, jobId: id }, 'Cannot remove an ended job'));
}

function secondsSince(moment: Date): number {
  return Math.max(0, (Date.now() - moment.getTime()) / 1000);
}

function endOf(entry: QueueEntry<QueuedJob, JobOutcome>): JobEnd {
  if (entry.failedReason) return { state: 'failed', error: faultText(entry.id!, entry.failedReason) };
  const outcome = jobOutcomeSchema.safeParse(entry.returnvalue);
  if (!outcome.success) return { state: 'failed', error: faultText(entry.id!, 'unreadable result') };
  const ended = outcome.data;
  if (ended.kind === 'done') return { state: 'succeeded', result: ended.result };
  return ended.kind === 'refused' ? { state: 'failed', error: ended.reason } : { state: 'cancelled' };
}

/** A fault of ours or of the machine; what happened is in the log, the person gets what they can use. */
function faultText(jobId: string, reason: string): string {
  const isWorkerDeath = /stalled|worker died/i.test(reason);
  const what = isWorkerDeath
    ? 'This job stopped its worker several times and was put aside.'
    : 'Something went wrong on our side.';
  return `${what} If you report it, give the number ${jobId}.`;
}

/** Removes a job that waits, and tells the workers of one that runs; again and again until its row has ended. */
async function cancelJob(context: BotContext, row: JobRow, listener: JobListener): Promise<void> {
  const { database, store, queues, signal } = context;
  const entry = row.enqueued_at ? await queues[row.kind].getJob(row.id) : undefined;
  const state = await entry?.getState();
  if (entry && state === 'active') {
    await signal(row.kind, { kind: 'cancel', jobId: row.id });
    return;
  }
  if (entry && (state === 'completed' || state === 'failed')) return takeEnd(context, entry, listener);
  try {
    await entry?.remove();
  } catch (error) {
    // A worker took it between the two calls.
    if (!(error instanceof UserError)) await signal(row.kind, { kind: 'cancel', jobId: row.id });
    return;
  }
  await endLesson({ database, store }, row, { state: 'cancelled' });
  if (await finishJob(database, row.id, { state: 'cancelled' })) listener.onEnd(row.id);
}
