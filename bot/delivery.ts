/** From rows to chat: progress into the acknowledgement, the end as a message of its own, once. */
import { type Selectable, sql } from 'kysely';
import type { Database, POST_STATES, PostsTable, StoredMessage } from '../shared/database.ts';
import type { JobProgress, PlatformName } from '../shared/jobs.ts';
import type { Log } from '../shared/log.ts';
import { findJob, type JobRow, jobsToSettle, markSettled, rememberMessage } from './job-rows.ts';
import { PermanentPostError, type Platform, type Reply } from './platform.ts';
import { repeat } from './repeat.ts';
import { endReply, progressReply, settledReply } from './wording.ts';

export interface Delivery {
  /** Says that a row has ended. */
  wake(): void;
  /** Shows progress in the acknowledgement, at most every few seconds. */
  showProgress(jobId: string, progress: JobProgress): void;
  /** Shows what has become of a job that waits, at most as often; nothing if it has begun meanwhile. */
  showWaiting(jobId: string, reply: Reply): void;
  stop(): Promise<void>;
}

export interface DeliveryOptions {
  readonly database: Database;
  readonly log: Log;
  readonly platforms: readonly Platform[];
  /** Distinguishes this process from others that post. */
  readonly processName: string;
  readonly onPosted?: (platform: PlatformName, outcome: 'posted' | 'failed', lagSeconds: number) => void;
}

type PostRow = Selectable<PostsTable>;

/** Platforms allow about one edit per second and channel. */
const PROGRESS_MS = 3000;
/** Seconds that a process has for one post before another may try. */
const CLAIM_SECONDS = 60;
const BATCH = 20;
/** After about a day of trying, an end is given up. */
const MAX_ATTEMPTS = 30;
const MAX_PAUSE_SECONDS = 3600;

export function startDelivery(options: DeliveryOptions): Delivery {
  const { log } = options;
  const platforms = new Map(options.platforms.map((platform) => [platform.name, platform]));
  const progress = progressEdits(options, platforms);
  const posts = repeat(() => postEnds(options, platforms), { everyMs: 1000, log, what: 'post results' });
  const settling = repeat(() => settle(options, platforms, progress), {
    everyMs: 2000,
    log,
    what: 'settle acknowledgements',
  });
  return {
    wake: () => {
      posts.wake();
      settling.wake();
    },
    showProgress: (jobId, newest) => progress.show(jobId, (row) => progressReply(jobId, newest, row.note)),
    showWaiting: (jobId, reply) => progress.show(jobId, (row) => (row.state === 'queued' ? reply : undefined)),
    stop: async () => {
      await progress.stop();
      await posts.stop();
      await settling.stop();
    },
  };
}

type Platforms = ReadonlyMap<PlatformName, Platform>;

async function postEnds(options: DeliveryOptions, platforms: Platforms): Promise<boolean> {
  const claimed = await claimPosts(options, readyNames(platforms));
  await Promise.all(claimed.map((post) => postEnd(options, platforms, post)));
  return claimed.length === BATCH;
}

function readyNames(platforms: Platforms): PlatformName[] {
  return [...platforms.values()].filter((platform) => platform.isReady()).map(({ name }) => name);
}

/**
 * The claim is what makes two processes post once; the state `posting` is what tells the next process that a message may
 * be out there.
 */
async function claimPosts(
  { database, processName }: DeliveryOptions,
  names: readonly PlatformName[],
): Promise<PostRow[]> {
  if (names.length === 0) return [];
  const due = database
    .selectFrom('posts')
    .select('job_id')
    .where('state', 'in', ['pending', 'posting'] satisfies (typeof POST_STATES)[number][])
    .where('platform', 'in', names)
    .where('next_attempt_at', '<=', sql<Date>`now()`)
    .where((where) => where.or([where('claimed_until', 'is', null), where('claimed_until', '<', sql<Date>`now()`)]))
    .orderBy('next_attempt_at')
    .limit(BATCH)
    .forUpdate()
    .skipLocked();
  return database
    .updateTable('posts')
    .set({
      state: 'posting',
      claimed_by: processName,
      claimed_until: sql<Date>`now() + ${sql.lit(`${CLAIM_SECONDS} seconds`)}::interval`,
      attempts: sql<number>`attempts + 1`,
    })
    .where('job_id', 'in', due)
    .returningAll()
    .execute();
}

async function postEnd(options: DeliveryOptions, platforms: Platforms, post: PostRow): Promise<void> {
  const { database, log } = options;
  const platform = platforms.get(post.platform);
  const row = await findJob(database, post.job_id);
  if (!platform || !row) return;
  try {
    const message =
      (await foundEarlier(platform, row, post)) ?? (await platform.post(row.reply_to, endReply(row), postKey(row.id)));
    await markPosted(database, row.id, message);
    options.onPosted?.(post.platform, 'posted', (Date.now() - post.created_at.getTime()) / 1000);
  } catch (error) {
    const isOver = error instanceof PermanentPostError || post.attempts >= MAX_ATTEMPTS;
    log.warn({ err: error, jobId: row.id, attempts: post.attempts, isOver }, 'Cannot post the end of a job');
    await markUnposted(database, post, { error, isOver });
    if (isOver) options.onPosted?.(post.platform, 'failed', (Date.now() - post.created_at.getTime()) / 1000);
  }
}

/** Idempotency key of a job's post: at most 25 characters. */
export function postKey(jobId: string): string {
  return `end-${jobId}`;
}

/** An attempt whose outcome nobody wrote down may have posted. */
async function foundEarlier(platform: Platform, row: JobRow, post: PostRow): Promise<StoredMessage | undefined> {
  return post.attempts > 1 ? platform.findPosted(row.reply_to, postKey(row.id)) : undefined;
}

async function markPosted(database: Database, jobId: string, message: StoredMessage): Promise<void> {
  // The message comes first: without its entry a reaction would find no job.
  await rememberMessage(database, jobId, message);
  await database
    .updateTable('posts')
    .set({ state: 'posted', message: JSON.stringify(message), posted_at: sql<Date>`now()`, claimed_until: null })
    .where('job_id', '=', jobId)
    .execute();
}

async function markUnposted(
  database: Database,
  { job_id, attempts }: PostRow,
  { error, isOver }: { error: unknown; isOver: boolean },
): Promise<void> {
  const pause = Math.min(2 ** attempts, MAX_PAUSE_SECONDS);
  await database
    .updateTable('posts')
    .set({
      ...(isOver && { state: 'failed' }),
      error: error instanceof Error ? error.message : String(error),
      claimed_until: null,
      next_attempt_at: sql<Date>`now() + ${sql.lit(`${pause} seconds`)}::interval`,
    })
    .where('job_id', '=', job_id)
    .execute();
}

/** Lets this process take up at once what an earlier one that is known to be dead had claimed. */
export async function releaseClaims(database: Database): Promise<void> {
  await database.updateTable('posts').set({ claimed_until: null }).where('state', '=', 'posting').execute();
}

/** What an acknowledgement is to show when its turn has come; undefined for what it shows already. */
type Shown = (row: JobRow) => Reply | undefined;

interface ProgressEdits {
  readonly show: (jobId: string, shown: Shown) => void;
  /** Waits for the edit under way, and shows no more progress of the job. */
  readonly end: (jobId: string) => Promise<void>;
  readonly stop: () => Promise<void>;
}

interface EditState {
  newest: Shown;
  timer: NodeJS.Timeout | undefined;
  lastEditAt: number;
  edit: Promise<void>;
}

function progressEdits({ database, log }: DeliveryOptions, platforms: Platforms): ProgressEdits {
  const states = new Map<string, EditState>();
  let isStopped = false;
  const edit = async (jobId: string) => {
    const row = await findJob(database, jobId);
    const state = states.get(jobId);
    if (!state || !row?.ack_message || row.finished_at) return;
    const reply = state.newest(row);
    if (reply) await platforms.get(row.platform)?.edit(row.ack_message, reply);
  };
  const editSoon = (jobId: string, state: EditState) => {
    if (state.timer) return;
    const pause = Math.max(0, state.lastEditAt + PROGRESS_MS - Date.now());
    state.timer = setTimeout(() => {
      state.timer = undefined;
      state.lastEditAt = Date.now();
      state.edit = state.edit
        .then(() => edit(jobId))
        // The next progress, or the end, edits the same message.
        .catch((error: unknown) => log.warn({ err: error, jobId }, 'Cannot show progress'));
    }, pause);
  };
  return {
    show: (jobId, newest) => {
      if (isStopped) return;
      const known = states.get(jobId);
      const state = known ?? { newest, timer: undefined, lastEditAt: 0, edit: Promise.resolve() };
      state.newest = newest;
      states.set(jobId, state);
      editSoon(jobId, state);
    },
    end: async (jobId) => {
      const state = states.get(jobId);
      clearTimeout(state?.timer);
      states.delete(jobId);
      await state?.edit;
    },
    stop: async () => {
      isStopped = true;
      for (const { timer } of states.values()) clearTimeout(timer);
      await Promise.all([...states.values()].map((state) => state.edit));
      states.clear();
    },
  };
}

async function settle(
  { database, log }: DeliveryOptions,
  platforms: Platforms,
  progress: ProgressEdits,
): Promise<boolean> {
  const rows = await jobsToSettle(database, readyNames(platforms), BATCH);
  for (const row of rows) {
    if (!row.ack_message) continue;
    await progress.end(row.id);
    try {
      await platforms.get(row.platform)?.edit(row.ack_message, settledReply(row));
    } catch (error) {
      // The end itself is posted apart; an acknowledgement that cannot be edited is not worth a second try.
      log.warn({ err: error, jobId: row.id }, 'Cannot settle an acknowledgement');
    }
    await markSettled(database, row.id);
  }
  return rows.length === BATCH;
}
