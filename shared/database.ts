import { type ColumnType, CompiledQuery, type Generated, Kysely, PostgresDialect, type PostgresPool } from 'kysely';
import pg from 'pg';
import type { EmbeddedPostgres } from './embedded-postgres.ts';
import type {
  Actor,
  AppliedConcept,
  BlobRef,
  Job,
  JobKind,
  JobProgress,
  JobResult,
  JobState,
  LessonJob,
  PlatformName,
  ReplyTo,
} from './jobs.ts';
import { MIGRATIONS } from './migrations.ts';

/** Written as text of JSON, read as what it means. */
type Json<T> = ColumnType<T, string, string>;
type NullableJson<T> = ColumnType<T | null, string | null | undefined, string | null>;
type Moment = ColumnType<Date, Date | undefined, Date>;
type NullableMoment = ColumnType<Date | null, Date | null | undefined, Date | null>;

/** A message of ours, as its platform finds it again; see bot/platform.ts. */
export interface StoredMessage {
  readonly platform: PlatformName;
  readonly channelId: string;
  readonly messageId: string;
  readonly threadId?: string | undefined;
}

/** What a person wants of a lesson: that it ends there, or with the sample of a step. */
export interface JobSteering {
  readonly kind: 'use-sample' | 'stop-here';
  readonly step?: number | undefined;
}

export interface JobsTable {
  id: string;
  kind: JobKind;
  job: Json<Job>;
  state: Generated<JobState>;
  reply_to: Json<ReplyTo>;
  platform: PlatformName;
  owner_id: string;
  server_id: string | null;
  channel_id: string;
  parent_job_id: string | null;
  note: string | null;
  tag: number;
  cost_seconds: number;
  is_cancel_requested: Generated<boolean>;
  /** Times that a worker died while it ran the job. */
  worker_deaths: Generated<number>;
  progress: NullableJson<JobProgress>;
  result: NullableJson<JobResult>;
  /** For the person. */
  error: string | null;
  created_at: Moment;
  enqueued_at: NullableMoment;
  started_at: NullableMoment;
  finished_at: NullableMoment;
  ack_message: NullableJson<StoredMessage>;
  is_ack_settled: Generated<boolean>;
  steering: NullableJson<JobSteering>;
}

export const POST_STATES = ['pending', 'posting', 'posted', 'failed', 'removed'] as const;

/** What is to be posted of a job's end: one row, one post. */
export interface PostsTable {
  job_id: string;
  platform: PlatformName;
  state: Generated<(typeof POST_STATES)[number]>;
  message: NullableJson<StoredMessage>;
  attempts: Generated<number>;
  next_attempt_at: Moment;
  claimed_by: string | null;
  claimed_until: NullableMoment;
  error: string | null;
  created_at: Moment;
  posted_at: NullableMoment;
}

export interface MessagesTable {
  platform: PlatformName;
  channel_id: string;
  message_id: string;
  job_id: string;
}

export interface InvocationsTable {
  id: string;
  outcome: Json<unknown>;
  received_at: Moment;
}

export interface FairLanesTable {
  lane: string;
  virtual_time: Generated<number>;
}

export interface FairSharesTable {
  lane: string;
  owner: string;
  last_tag: number;
}

/** Who said that the person in the photos agrees, and when. */
export interface ConsentRecord {
  readonly statedBy: Actor;
  readonly statedAt: string;
  readonly words: string;
}

export interface ConceptsTable {
  id: string;
  name: string;
  owner: Json<Actor>;
  platform: PlatformName;
  owner_id: string;
  server_id: string | null;
  channel_id: string;
  shared_with: Generated<'nobody' | 'channel' | 'server' | 'everyone'>;
  class_noun: string;
  model: string;
  method: LessonJob['method'];
  /** Null until its lesson has ended well. */
  applied_as: NullableJson<Pick<AppliedConcept, 'promptText' | 'kind' | 'files'>>;
  samples: NullableJson<readonly { readonly step: number; readonly picture: BlobRef }[]>;
  photos: NullableJson<readonly BlobRef[]>;
  consent: NullableJson<ConsentRecord>;
  created_at: Moment;
  forgotten_at: NullableMoment;
}

export interface SettingsTable {
  platform: PlatformName;
  scope: 'channel' | 'server';
  scope_id: string;
  changes: Json<Readonly<Record<string, unknown>>>;
}

export interface TimingsTable {
  id: Generated<number>;
  kind: JobKind;
  model: string;
  units: number;
  seconds: number;
  measured_at: Moment;
}

export interface WorkersTable {
  name: string;
  offer: Json<unknown>;
  seen_at: Moment;
}

export interface Tables {
  jobs: JobsTable;
  posts: PostsTable;
  messages: MessagesTable;
  invocations: InvocationsTable;
  fair_lanes: FairLanesTable;
  fair_shares: FairSharesTable;
  concepts: ConceptsTable;
  settings: SettingsTable;
  timings: TimingsTable;
  workers: WorkersTable;
}

export type Database = Kysely<Tables>;

/** Kept apart from BullMQ's tables, which may lie in the same database. */
export const SCHEMA = 'sketchbooth';
/** Any number of our own: two processes that start at once must not both change the tables. */
const MIGRATION_LOCK = 7_240_116;

/**
 * Opens the tables, making or changing them where they are not those of this version.
 * @param source  where they lie: the embedded database, which stays its owner's, or the URL of a Postgres
 */
export async function openDatabase(source: EmbeddedPostgres | string): Promise<Database> {
  const options = `-c search_path=${SCHEMA},public`;
  const pool =
    typeof source === 'string' ? new pg.Pool({ connectionString: source, max: 10, options }) : shared(source);
  const database = new Kysely<Tables>({ dialect: new PostgresDialect({ pool }) });
  await migrate(database);
  return database;
}

/** The queue uses the embedded database too, so closing the tables must not close it. */
function shared(embedded: EmbeddedPostgres): PostgresPool {
  const pool = { connect: () => embedded.connect(), end: async () => undefined };
  return pool as unknown as PostgresPool;
}

async function migrate(database: Kysely<Tables>): Promise<void> {
  await database.transaction().execute(async (transaction) => {
    const run = (text: string) => transaction.executeQuery(CompiledQuery.raw(text));
    await run(`select pg_advisory_xact_lock(${MIGRATION_LOCK})`);
    await run(`create schema if not exists ${SCHEMA}`);
    await run(`create table if not exists ${SCHEMA}.table_versions (version integer primary key)`);
    const { rows } = await run(`select coalesce(max(version), 0)::int as version from ${SCHEMA}.table_versions`);
    const [{ version }] = rows as [{ version: number }];
    if (version > MIGRATIONS.length) {
      throw new Error(
        `Cannot open the database: its tables must be those of version ${MIGRATIONS.length} or older, got ${version}`,
      );
    }
    await run(`set local search_path to ${SCHEMA}`);
    for (const [i, statements] of MIGRATIONS.entries()) {
      if (i < version) continue;
      await run(statements);
      await run(`insert into table_versions (version) values (${i + 1})`);
    }
  });
}
