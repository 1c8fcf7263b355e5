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
  | ({ readonly kind: 'added'; readonly tag: number } & Place)
  /** The delivery was carried out before. */
  | { readonly kind: 'duplicate' }
  | { readonly kind: 'too-many'; readonly whose: 'user' | 'server' };

/** Jobs of the lane that are served before a job, running ones included, and what they cost together. */
export interface Place {
  readonly ahead: number;
  readonly aheadSeconds: number;
}

/** Places up to here are counted; further ones are estimated, since counting them at each command would take longer and longer. */
export const COUNTED_PLACES = 100;

/**
 * Adds jobs, their places in the fair order and the marks of their deliveries in one statement; see the function in
 * shared/migrations.ts.
 * @returns what became of each; `ahead` is COUNTED_PLACES at most
 */
export async function addJobs(database: Database, asked: readonly NewJob[]): Promise<AddedJob[]> {
  const text = JSON.stringify(asked.map((one) => ({ ...one, countedPlaces: COUNTED_PLACES })));
  const { rows } = await sql<{ outcome: string; start_tag: number; ahead: number; ahead_seconds: number }>`
    select added.* from jsonb_array_elements(${text}::jsonb) as asked, sketchbooth.add_job(asked) as added
  `.execute(database);
  return rows.map(({ outcome, start_tag: tag, ahead, ahead_seconds }) => {
    if (outcome === 'added') return { kind: 'added', tag, ahead, aheadSeconds: ahead_seconds };
    return outcome === 'duplicate'
      ? { kind: 'duplicate' }
      : { kind: 'too-many', whose: outcome === 'too many of the user' ? 'user' : 'server' };
  });
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

/** Where the acknowledgement of a job was put. */
export interface ShownAcknowledgement {
  readonly jobId: string;
  readonly message: StoredMessage;
}

/** Lets progress be edited into acknowledgements, and reactions on them find their jobs. */
export async function saveAcknowledgements(database: Database, shown: readonly ShownAcknowledgement[]): Promise<void> {
  await sql`
    with shown as (
      select * from jsonb_to_recordset(${JSON.stringify(shown)}::jsonb) as shown ("jobId" text, message jsonb)
    ), saved as (
      update sketchbooth.jobs set ack_message = shown.message from shown where jobs.id = shown."jobId"
    )
    insert into sketchbooth.messages (platform, channel_id, message_id, job_id)
    select message ->> 'platform', message ->> 'channelId', message ->> 'messageId', "jobId" from shown
    on conflict do nothing`.execute(database);
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
