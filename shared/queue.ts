/** The queue between bot and worker: BullMQ on Redis, or on the embedded Postgres. */
import {
  type ConnectionOptions,
  createPostgresBackend,
  type Processor,
  Queue,
  QueueEvents,
  QueueEventsProducer,
  Worker,
  type WorkerOptions,
} from 'bullmq';
import { Redis } from 'ioredis';
import type { EmbeddedPostgres } from './embedded-postgres.ts';
import { UserError } from './errors.ts';
import type { Job, JobKind, JobOutcome } from './jobs.ts';

/** What is in the queue of a job. */
export interface QueuedJob {
  readonly job: Job;
  /** Says that somebody wants it cancelled, for a worker that takes it before it could be removed. */
  readonly isCancelled?: boolean;
}

/** Sent to all workers. */
export type WorkerSignal =
  | { readonly kind: 'cancel'; readonly jobId: string }
  /** Whatever a worker keeps of the concept's weights goes. */
  | { readonly kind: 'forget'; readonly conceptId: string }
  | {
      readonly kind: 'steer';
      readonly jobId: string;
      readonly what: 'use-sample' | 'stop-here';
      readonly step?: number;
    };

/** What a worker says of itself every few seconds. */
export interface WorkerOffer {
  readonly name: string;
  readonly device: string;
  readonly models: readonly { readonly name: string; readonly width: number; readonly height: number }[];
  readonly controls: readonly { readonly model: string; readonly kind: string; readonly method: string }[];
  /** Models that it has loaded. */
  readonly loaded: readonly string[];
}

export type JobQueue = Queue<QueuedJob, JobOutcome>;
export type JobProcessor = Processor<QueuedJob, JobOutcome>;

/** BullMQ's highest priority number; the lowest number is served first. */
export const MAX_PRIORITY = 2 ** 21 - 1;

/** Lanes keep a long lesson from blocking a sketch. */
export const LANES: { readonly [K in JobKind]: string } = { picture: 'pictures', lesson: 'lessons' };
export const JOB_KINDS = Object.keys(LANES) as readonly JobKind[];

/** Makes the parts of a queue; whoever makes one closes it. */
export interface QueueFactory {
  queue(kind: JobKind): JobQueue;
  worker(kind: JobKind, process: JobProcessor, options: Partial<WorkerOptions>): Worker<QueuedJob, JobOutcome>;
  events(kind: JobKind): QueueEvents;
  /** Sends signals to the workers and the bots of a lane. */
  producer(kind: JobKind): QueueEventsProducer;
  /** @throws UserError if the queue would lose jobs, Error if it cannot be reached */
  check(): Promise<void>;
  close(): Promise<void>;
}

/** Milliseconds that a reader waits for events before it looks by itself. */
const EVENTS_BLOCK_MS = 2000;
/** Seconds that results stay in the queue if no bot takes them: a week. */
const KEEP_SECONDS = 7 * 24 * 3600;

export const DEFAULT_JOB_OPTIONS = {
  attempts: 3,
  backoff: { type: 'exponential', delay: 1000, jitter: 0.5 },
  removeOnComplete: { age: KEEP_SECONDS },
  removeOnFail: { age: KEEP_SECONDS },
} as const;

export function createQueueFactory(source: EmbeddedPostgres | { redisUrl: string; prefix: string }): QueueFactory {
  return 'redisUrl' in source ? redisQueues(source) : embeddedQueues(source);
}

function embeddedQueues(embedded: EmbeddedPostgres): QueueFactory {
  // BullMQ's types fix the back end at compile time; here the configuration chooses it.
  const connection = embedded as unknown as ConnectionOptions;
  const parts = queueParts({ connection: () => connection, factory: createPostgresBackend as unknown as undefined });
  return {
    ...parts,
    check: async () => {
      await embedded.query('select 1');
    },
    close: async () => undefined,
  };
}

function redisQueues({ redisUrl, prefix }: { redisUrl: string; prefix: string }): QueueFactory {
  const connections: Redis[] = [];
  const connect = () => {
    const redis = new Redis(redisUrl, REDIS_OPTIONS);
    // Each part reports its own errors; ioredis reconnects by itself.
    redis.on('error', () => undefined);
    connections.push(redis);
    return redis;
  };
  const own = connect();
  // Braces put all keys of a queue into one slot of a Redis Cluster.
  const parts = queueParts({ connection: connect, prefix: `{${prefix}}` });
  return {
    ...parts,
    check: () => checkRedis(own),
    close: async () => {
      for (const redis of connections) redis.disconnect();
    },
  };
}

const REDIS_OPTIONS = {
  maxRetriesPerRequest: null,
  retryStrategy: (times: number) => Math.min(50 * 2 ** times, 2000),
  keepAlive: 10_000,
  // Without it, bytes that vanish for a few seconds wedge a worker for ever; above every blocking wait of BullMQ.
  socketTimeout: 25_000,
} as const;

async function checkRedis(redis: Redis): Promise<void> {
  const [, policy] = (await redis.config('GET', 'maxmemory-policy')) as [string, string];
  if (policy !== 'noeviction') {
    throw new UserError(
      `Cannot use the queue: Redis must have maxmemory-policy noeviction, since it would drop jobs otherwise, got ${policy}`,
    );
  }
}

interface PartsOptions {
  readonly connection: () => ConnectionOptions;
  readonly prefix?: string;
  readonly factory?: undefined;
}

function queueParts({ connection, prefix, factory }: PartsOptions): Omit<QueueFactory, 'check' | 'close'> {
  const base = () => ({ connection: connection(), ...(prefix !== undefined && { prefix }) });
  return {
    queue: (kind) => new Queue(LANES[kind], { ...base(), defaultJobOptions: DEFAULT_JOB_OPTIONS }, factory),
    worker: (kind, process, options) => new Worker(LANES[kind], process, { ...base(), ...options }, factory),
    events: (kind) => new QueueEvents(LANES[kind], { ...base(), blockingTimeout: EVENTS_BLOCK_MS }, factory),
    producer: (kind) => new QueueEventsProducer(LANES[kind], base(), factory),
  };
}
