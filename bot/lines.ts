/** Where jobs stand that wait: near places are counted, far ones estimated. */
import { sql } from 'kysely';
import type { Database } from '../shared/database.ts';
import type { JobKind } from '../shared/jobs.ts';
import { type AddedJob, COUNTED_PLACES, type JobRow, type Place } from './job-rows.ts';

export interface PlaceInLine extends Place {
  /** Whether it was estimated, since more than COUNTED_PLACES jobs are ahead. */
  readonly isAbout: boolean;
}

export interface Lines {
  placeOf(row: Pick<JobRow, 'id' | 'kind' | 'tag'>): Promise<PlaceInLine>;
  /** The same for a job whose near place is known from adding it. */
  placeOfAdded(kind: JobKind, added: Extract<AddedJob, { kind: 'added' }>): Promise<PlaceInLine>;
}

/** Every so many jobs, how many and how dear those before it are. */
type Milestone = Place & { readonly tag: number };

const MILESTONE_JOBS = 100;
/** How old an estimate may be. */
const MILESTONES_MS = 2000;

export function openLines(database: Database): Lines {
  const milestones = new Map<JobKind, { readonly at: number; readonly read: Promise<readonly Milestone[]> }>();
  const recentMilestones = (kind: JobKind) => {
    const known = milestones.get(kind);
    if (known && Date.now() - known.at < MILESTONES_MS) return known.read;
    const read = readMilestones(database, kind);
    milestones.set(kind, { at: Date.now(), read });
    return read;
  };
  const nearOrFar = async ({ kind, tag }: Pick<JobRow, 'kind' | 'tag'>, near: Place): Promise<PlaceInLine> => {
    const isAbout = near.ahead >= COUNTED_PLACES;
    const far = isAbout ? (await recentMilestones(kind)).findLast((milestone) => milestone.tag <= tag) : undefined;
    const { ahead, aheadSeconds } = far && far.ahead > near.ahead ? far : near;
    return { ahead, aheadSeconds, isAbout };
  };
  return {
    placeOf: async (row) => nearOrFar(row, await countNear(database, row)),
    placeOfAdded: (kind, added) => nearOrFar({ kind, tag: added.tag }, added),
  };
}

async function countNear(database: Database, { id, kind, tag }: Pick<JobRow, 'id' | 'kind' | 'tag'>): Promise<Place> {
  const { rows } = await sql<{ ahead: number; seconds: number }>`
    select count(*)::int as ahead, coalesce(sum(cost_seconds), 0)::float8 as seconds from (
      select cost_seconds from sketchbooth.jobs
      where kind = ${kind} and state in ('queued', 'running') and tag <= ${tag}::float8 and id <> ${id}
      order by tag limit ${COUNTED_PLACES}
    ) as line`.execute(database);
  return { ahead: rows[0]!.ahead, aheadSeconds: rows[0]!.seconds };
}

async function readMilestones(database: Database, kind: JobKind): Promise<Milestone[]> {
  const { rows } = await sql<{ tag: number; ahead: number; seconds: number }>`
    select tag, ahead::int, seconds from (
      select tag, row_number() over line - 1 as ahead, sum(cost_seconds) over line - cost_seconds as seconds
      from sketchbooth.jobs where kind = ${kind} and state in ('queued', 'running')
      window line as (order by tag rows unbounded preceding)
    ) as places where ahead % ${MILESTONE_JOBS} = 0 order by ahead`.execute(database);
  return rows.map(({ tag, ahead, seconds }) => ({ tag, ahead, aheadSeconds: seconds }));
}
