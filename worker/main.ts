import { randomUUID } from 'node:crypto';
import { rm } from 'node:fs/promises';
import { hostname } from 'node:os';
import type { Worker } from 'bullmq';
import type { Config } from '../shared/config.ts';
import type { JobKind, JobOutcome, JobProgress } from '../shared/jobs.ts';
import type { Log } from '../shared/log.ts';
import type { Metrics } from '../shared/metrics.ts';
import { JOB_KINDS, type JobProcessor, type QueuedJob, type QueueFactory, type WorkerSignal } from '../shared/queue.ts';
import { type DeviceProcess, startDeviceProcess } from './device-process.ts';
import { removeLesson, sweepLessons } from './lesson-sweep.ts';
import { offerOf } from './offer.ts';
import { conceptFolder } from './pipelines/job-context.ts';

/** What a worker stands on; whoever opened it closes it after the worker. */
export interface WorkerServices {
  readonly config: Config;
  readonly queues: QueueFactory;
  readonly log: Log;
  readonly metrics: Metrics;
  /** Milliseconds after which another worker takes over from one that died. */
  readonly lockMs?: number;
}

export interface RunningWorker {
  /** Lets running jobs go back to the queue if they do not end soon. */
  stop(): Promise<void>;
}

const LOCK_MS = 20_000;
/** Deaths of a worker process after which its job is put aside. */
const MAX_DEATHS = 3;
const OFFER_MS = 15_000;
const SWEEP_MS = 60_000;
const PROGRESS_MS = 500;
/** Lessons run beside pictures and stand back behind them. */
const NICENESS: { readonly [K in JobKind]: number } = { picture: 0, lesson: 10 };

/** Starts a worker: a child process for each lane, warm until it is stopped. */
export async function startWorker(services: WorkerServices): Promise<RunningWorker> {
  const lanes = JOB_KINDS.map((kind) => startLane(kind, services));
  const name = `${hostname()}/${randomUUID().slice(0, 8)}`;
  const announce = async () => {
    const { device, reason } = await lanes[0]!.device.ready;
    const loaded = lanes.flatMap((lane) => lane.device.loaded());
    const offer = await offerOf(services.config, { name, device, loaded });
    await lanes[0]!.announce(offer);
    return reason;
  };
  services.log.info(`Worker on ${await announce()}`);
  const timer = setInterval(() => {
    announce().catch((error: unknown) => services.log.warn({ err: error }, 'Cannot say what this worker offers'));
  }, OFFER_MS);
  const sweep = startSweep(services);
  return {
    stop: async () => {
      clearInterval(timer);
      await sweep.stop();
      await Promise.all(lanes.map((lane) => lane.stop()));
    },
  };
}

function startSweep({ config, queues, log }: WorkerServices): { stop(): Promise<void> } {
  const queue = queues.queue('lesson');
  queue.on('error', () => undefined);
  let sweeping = Promise.resolve();
  const sweep = () => {
    sweeping = sweeping
      .then(() => sweepLessons(config, queue))
      .catch((error: unknown) => log.error({ err: error }, 'Cannot remove what ended lessons left'));
  };
  sweep();
  const timer = setInterval(sweep, SWEEP_MS);
  return {
    stop: async () => {
      clearInterval(timer);
      await sweeping;
      await queue.close();
    },
  };
}

interface Lane {
  readonly device: DeviceProcess;
  readonly announce: (offer: object) => Promise<void>;
  readonly stop: () => Promise<void>;
}

function startLane(kind: JobKind, { config, queues, log, metrics, lockMs = LOCK_MS }: WorkerServices): Lane {
  const device = startDeviceProcess({ config, niceness: NICENESS[kind] });
  const running = new Map<string, AbortController>();
  const process: JobProcessor = async (entry, _token, signal) => {
    const jobId = entry.id!;
    const controller = new AbortController();
    signal?.addEventListener('abort', () => controller.abort());
    if (entry.data.isCancelled) return { kind: 'cancelled' };
    running.set(jobId, controller);
    const relay = throttled((progress) => {
      entry
        .updateProgress(progress)
        .catch((error: unknown) => log.warn({ err: error, jobId }, 'Cannot report progress'));
    });
    try {
      const outcome = await device.run(jobId, entry.data.job, { signal: controller.signal, onProgress: relay });
      if (outcome.kind !== 'done') await removeLesson(config, jobId);
      return outcome;
    } finally {
      running.delete(jobId);
    }
  };
  const worker = queues.worker(kind, process, {
    concurrency: 1,
    lockDuration: lockMs,
    stalledInterval: lockMs / 2,
    maxStalledCount: MAX_DEATHS - 1,
  });
  worker.on('error', (error) => log.warn({ err: error, kind }, 'The queue cannot be reached'));
  worker.on('stalled', () => metrics.stalled.inc({ kind }));
  worker.on('failed', (entry, error) => {
    log.error({ err: error, jobId: entry?.id, kind }, 'A job failed');
    const isOver = entry?.id !== undefined && entry.finishedOn !== undefined;
    if (isOver) removeLesson(config, entry.id!).catch((err: unknown) => log.error({ err }, 'Cannot remove a lesson'));
  });
  const events = queues.events(kind);
  const producer = queues.producer(kind);
  events.on('error', () => undefined);
  producer.on('error', () => undefined);
  const signals = events as unknown as { on(event: 'signal', hear: (event: { signal: string }) => void): void };
  signals.on('signal', (event) => {
    const signal = JSON.parse(event.signal) as WorkerSignal;
    if (signal.kind === 'forget') {
      rm(conceptFolder(config, signal.conceptId), { recursive: true, force: true }).catch((err: unknown) =>
        log.error({ err, conceptId: signal.conceptId }, 'Cannot remove the weights of a concept'),
      );
      return;
    }
    const controller = running.get(signal.jobId);
    if (!controller) return;
    if (signal.kind === 'cancel') controller.abort();
    else device.steer(signal);
  });
  return {
    device,
    announce: (offer) => producer.publishEvent({ eventName: 'offer', offer: JSON.stringify(offer) }),
    stop: async () => {
      await stopTaking(worker);
      await device.stop();
      await Promise.all([events.close(), producer.close()]);
    },
  };
}

const DRAIN_MS = 8000;

/** Waits a while for the job that runs; after that it goes back to the queue by its lock's end. */
async function stopTaking(worker: Worker<QueuedJob, JobOutcome>): Promise<void> {
  const timer = setTimeout(() => void worker.close(true), DRAIN_MS);
  await worker.close();
  clearTimeout(timer);
}

/** Passes on the newest progress, at most twice a second unless there is a new picture. */
function throttled(report: (progress: JobProgress) => void): (progress: JobProgress) => void {
  let [lastAt, samples] = [0, 0];
  return (progress) => {
    const { preview, step, samples: { length } = [] } = progress;
    const isNews = preview !== undefined || length > samples || step === 0;
    if (!isNews && Date.now() - lastAt < PROGRESS_MS) return;
    [lastAt, samples] = [Date.now(), length];
    report(progress);
  };
}
