/** Rows of jobs: the truth about what was asked for and what became of it. */
import { type Selectable, sql } from 'kysely';
import type { Database, JobsTable, StoredMessage } from '../shared/database.ts';
import type { Actor, Job, JobKind, JobProgress, JobResult, JobState, PlatformName, ReplyTo } from '../shared/jobs.ts';

export type JobRow = Selectable<JobsTable>;

export const UNFINISHED = ['queued', 'running'] as const satisfies readonly JobState[];

export interface NewJob {
  readonly id: string;
  /** Of the delivery that asked for it. */
  readonly invocationId: string;
  readonly job: Job;
  readonly replyTo: ReplyTo;
  readonly parentJobId: string | undefined;
  readonly note: string | undefined;
  readonly costSeconds: number;
  /** Waiting and running together. */
  readonly maxJobsPerUser: number;
  readonly maxJobsPerServer: number;
}

export type AddedJob =
  /** @property ahead  jobs of the lane that are served before it, running ones included */
  | { readonly kind: 'added'; readonly ahead: number; readonly aheadSeconds: number }
  /** The delivery was carried out before. */
  | { readonly kind: 'duplicate' }
  | { readonly kind: 'too-many'; readonly whose: 'user' | 'server' };

/**
 * Adds a job, its place in the fair order and the mark of its delivery, all or nothing in one statement.
 * The tag is the start tag of start-time fair queueing: the later of the lane's virtual time and the end of the owner's
 * newest job (Goyal, Vin and Cheng 1996).
 */
export async function addJob(database: Database, asked: NewJob): Promise<AddedJob> {
  const { job, replyTo, costSeconds: cost } = asked;
  const { place, owner } = replyTo;
  const share = `${owner.platform}/${owner.userId}`;
  const outcome = JSON.stringify({ jobId: asked.id });
  const { rows } = await sql<{ tag: number | null; mine: number; theirs: number; ahead: number; seconds: number }>`
    with busy as (
      select
        (
          select count(*) from sketchbooth.jobs where state in ('queued', 'running')
            and platform = ${owner.platform} and owner_id = ${owner.userId}
        ) as mine,
        (
          select count(*) from sketchbooth.jobs where state in ('queued', 'running')
            and platform = ${place.platform} and server_id = ${place.serverId ?? null}::text
        ) as theirs
    ), invocation as (
      insert into sketchbooth.invocations (id, outcome)
      select ${asked.invocationId}, ${outcome}::jsonb from busy
      where mine < ${asked.maxJobsPerUser}::int and theirs < ${asked.maxJobsPerServer}::int
      on conflict do nothing returning id
    ), clock as (
      select coalesce((select virtual_time from sketchbooth.fair_lanes where lane = ${job.kind}), 0) as time
    ), share as (
      insert into sketchbooth.fair_shares (lane, owner, last_tag)
      select ${job.kind}, ${share}, clock.time + ${cost}::float8 from clock, invocation
      on conflict (lane, owner) do update
        set last_tag = greatest(fair_shares.last_tag, (select time from clock)) + ${cost}::float8
      returning last_tag - ${cost}::float8 as tag
    ), added as (
      insert into sketchbooth.jobs
        (id, kind, job, reply_to, platform, owner_id, server_id, channel_id, parent_job_id, note, tag, cost_seconds)
      select ${asked.id}, ${job.kind}, ${JSON.stringify(job)}::jsonb, ${JSON.stringify(replyTo)}::jsonb,
        ${place.platform}, ${owner.userId}, ${place.serverId ?? null}::text, ${place.channelId},
        ${asked.parentJobId ?? null}::text, ${asked.note ?? null}::text, share.tag, ${cost}::float8
      from share
      returning tag
    )
    select
      (select tag from added) as tag, mine::int, theirs::int, line.ahead::int,
      coalesce(line.seconds, 0)::float8 as seconds
    from busy, lateral (
      select count(*) as ahead, sum(cost_seconds) as seconds from sketchbooth.jobs
      where kind = ${job.kind} and state in ('queued', 'running')
        and (state = 'running' or tag <= (select tag from added))
    ) as line`.execute(database);
  const [row] = rows;
  if (!row) throw new Error('Cannot add the job: the statement must give one row, got none');
  if (row.tag !== null) return { kind: 'added', ahead: row.ahead, aheadSeconds: row.seconds };
  if (row.mine >= asked.maxJobsPerUser) return { kind: 'too-many', whose: 'user' };
  if (row.theirs >= asked.maxJobsPerServer) return { kind: 'too-many', whose: 'server' };
  return { kind: 'duplicate' };
}

export function findJob(database: Database, id: string): Promise<JobRow | undefined> {
  return database.selectFrom('jobs').selectAll().where('id', '=', id).executeTakeFirst();
}

/** The job that a message of ours shows. */
export async function findJobByMessage(database: Database, message: StoredMessage): Promise<JobRow | undefined> {
  return database
    .selectFrom('messages')
    .innerJoin('jobs', 'jobs.id', 'messages.job_id')
    .selectAll('jobs')
    .where('messages.platform', '=', message.platform)
    .where('messages.channel_id', '=', message.channelId)
    .where('messages.message_id', '=', message.messageId)
    .executeTakeFirst();
}

export function unfinishedJobsOf(database: Database, { platform, userId }: Actor): Promise<JobRow[]> {
  return database
    .selectFrom('jobs')
    .selectAll()
    .where('platform', '=', platform)
    .where('owner_id', '=', userId)
    .where('state', 'in', UNFINISHED)
    .orderBy('created_at', 'desc')
    .limit(25)
    .execute();
}

/** Rows that are not in the queue yet, oldest first. */
export function jobsToEnqueue(database: Database, limit: number): Promise<JobRow[]> {
  return database
    .selectFrom('jobs')
    .selectAll()
    .where('state', '=', 'queued')
    .where('enqueued_at', 'is', null)
    .orderBy('created_at')
    .limit(limit)
    .execute();
}

export async function markEnqueued(database: Database, ids: readonly string[]): Promise<void> {
  await database.updateTable('jobs').set({ enqueued_at: sql<Date>`now()` }).where('id', 'in', ids).execute();
}

/** The next in line and those that run: whose queue entries must be there. */
export function jobsToWatch(database: Database, limit: number): Promise<JobRow[]> {
  return database
    .selectFrom('jobs')
    .selectAll()
    .where('state', 'in', UNFINISHED)
    .where('enqueued_at', 'is not', null)
    .orderBy('state', 'desc')
    .orderBy('tag')
    .limit(limit)
    .execute();
}

/** Puts a job whose queue entry was lost back to those that are to be enqueued. */
export async function forgetEnqueued(database: Database, id: string): Promise<void> {
  await database
    .updateTable('jobs')
    .set({ enqueued_at: null, state: 'queued' })
    .where('id', '=', id)
    .where('state', 'in', UNFINISHED)
    .execute();
}

/**
 * Marks a job as running, and moves its lane's virtual time to the job's tag.
 * @returns seconds that it waited; undefined if it was marked before
 */
export async function markStarted(database: Database, id: string): Promise<number | undefined> {
  const { rows } = await sql<{ seconds: number }>`
    with started as (
      update sketchbooth.jobs set state = 'running', started_at = now()
      where id = ${id} and state = 'queued' returning kind, tag, created_at
    ), clock as (
      insert into sketchbooth.fair_lanes (lane, virtual_time) select kind, tag from started
      on conflict (lane) do update set virtual_time = greatest(fair_lanes.virtual_time, excluded.virtual_time)
    )
    select extract(epoch from now() - created_at)::float8 as seconds from started
  `.execute(database);
  return rows[0]?.seconds;
}

export async function saveProgress(database: Database, id: string, progress: JobProgress): Promise<void> {
  await database
    .updateTable('jobs')
    .set({ progress: JSON.stringify(progress) })
    .where('id', '=', id)
    .where('state', '=', 'running')
    .execute();
}

export type JobEnd =
  | { readonly state: 'succeeded'; readonly result: JobResult }
  | { readonly state: 'failed'; readonly error: string }
  | { readonly state: 'cancelled' };

/**
 * Ends a job once, and notes in the same statement that its end is to be posted. The end of a cancelled one is shown in
 * its acknowledgement, and posted only where that was never shown.
 * @returns whether it was this call that ended it
 */
export async function finishJob(database: Database, id: string, end: JobEnd): Promise<boolean> {
  const result = end.state === 'succeeded' ? JSON.stringify(end.result) : null;
  const error = end.state === 'failed' ? end.error : null;
  const { rows } = await sql<{ id: string }>`
    with finished as (
      update sketchbooth.jobs
      set state = ${end.state}, result = ${result}::jsonb, error = ${error}::text, finished_at = now(), progress = null
      where id = ${id} and state in ('queued', 'running')
      returning id, platform, state, ack_message
    ), post as (
      insert into sketchbooth.posts (job_id, platform)
      select id, platform from finished where state <> 'cancelled' or ack_message is null
      on conflict do nothing
    )
    select id from finished`.execute(database);
  return rows.length === 1;
}

export async function requestCancel(database: Database, id: string): Promise<void> {
  await database.updateTable('jobs').set({ is_cancel_requested: true }).where('id', '=', id).execute();
}

/** Jobs that somebody wants cancelled and that have not ended. */
export function jobsToCancel(database: Database): Promise<JobRow[]> {
  return database
    .selectFrom('jobs')
    .selectAll()
    .where('is_cancel_requested', '=', true)
    .where('state', 'in', UNFINISHED)
    .execute();
}

export async function saveAcknowledgement(database: Database, id: string, message: StoredMessage): Promise<void> {
  await database
    .updateTable('jobs')
    .set({ ack_message: JSON.stringify(message) })
    .where('id', '=', id)
    .execute();
  await rememberMessage(database, id, message);
}

/** Lets a reaction on the message find the job. */
export async function rememberMessage(database: Database, jobId: string, message: StoredMessage): Promise<void> {
  await database
    .insertInto('messages')
    .values({
      platform: message.platform,
      channel_id: message.channelId,
      message_id: message.messageId,
      job_id: jobId,
    })
    .onConflict((conflict) => conflict.doNothing())
    .execute();
}

/** Ended jobs whose acknowledgement does not show it yet. */
export async function jobsToSettle(
  database: Database,
  platforms: readonly PlatformName[],
  limit: number,
): Promise<JobRow[]> {
  if (platforms.length === 0) return [];
  return database
    .selectFrom('jobs')
    .selectAll()
    .where('platform', 'in', platforms)
    .where('finished_at', 'is not', null)
    .where('ack_message', 'is not', null)
    .where('is_ack_settled', '=', false)
    .orderBy('finished_at')
    .limit(limit)
    .execute();
}

export async function markSettled(database: Database, id: string): Promise<void> {
  await database.updateTable('jobs').set({ is_ack_settled: true }).where('id', '=', id).execute();
}

/** Where a waiting job stands: jobs of its lane that are served before it, and what they cost together. */
export async function placeInLine(
  database: Database,
  { id, kind, tag }: Pick<JobRow, 'id' | 'kind' | 'tag'>,
): Promise<{ ahead: number; aheadSeconds: number }> {
  const { rows } = await sql<{ ahead: number; seconds: number }>`
    select count(*)::int as ahead, coalesce(sum(cost_seconds), 0)::float8 as seconds from sketchbooth.jobs
    where kind = ${kind} and id <> ${id} and (state = 'running' or (state = 'queued' and tag <= ${tag}::float8))
  `.execute(database);
  return { ahead: rows[0]!.ahead, aheadSeconds: rows[0]!.seconds };
}

/** Starts the fair order anew where nobody waits: tags must not grow for ever. */
export async function restartIdleLanes(database: Database, kinds: readonly JobKind[]): Promise<void> {
  for (const kind of kinds) {
    await sql`
      with idle as (
        select 1 where not exists (
          select from sketchbooth.jobs where kind = ${kind} and state in ('queued', 'running')
        )
      ), shares as (
        delete from sketchbooth.fair_shares where lane = ${kind} and exists (select from idle)
      )
      update sketchbooth.fair_lanes set virtual_time = 0 where lane = ${kind} and exists (select from idle)
    `.execute(database);
  }
}
