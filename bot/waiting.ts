/** Keeps the places of those who are next in line fresh in their acknowledgements. */
import type { Database } from '../shared/database.ts';
import type { JobKind } from '../shared/jobs.ts';
import { JOB_KINDS } from '../shared/queue.ts';
import type { BotContext } from './context.ts';
import type { Delivery } from './delivery.ts';
import { timeLeft } from './enqueue.ts';
import { type JobRow, UNFINISHED } from './job-rows.ts';
import type { PlaceInLine } from './lines.ts';
import { type Repeated, repeat } from './repeat.ts';
import { queuedReply } from './wording.ts';

const REFRESH_MS = 5000;
/** Of each lane: those far back move too often and wait too long for their number to matter. */
const FRONT_JOBS = 10;

type Waiting = Pick<JobRow, 'id' | 'kind' | 'job' | 'note' | 'cost_seconds'>;

/** A place is shown when it has changed since the last look; who comes to the front is shown from the next change on. */
export function startWaiting(context: BotContext, { showWaiting }: Pick<Delivery, 'showWaiting'>): Repeated {
  const known: { [K in JobKind]: ReadonlyMap<string, number> } = { picture: new Map(), lesson: new Map() };
  const refresh = async () => {
    for (const kind of JOB_KINDS) {
      const front = await frontOfLine(context.database, { kind, running: context.workers.alive().length });
      for (const { waiting, line } of front) {
        const before = known[kind].get(waiting.id);
        if (before === undefined || before === line.ahead) continue;
        const own = context.estimates.secondsFor(waiting.job);
        const eta = timeLeft(context, { ...line, own });
        showWaiting(waiting.id, queuedReply(waiting.id, line, { eta, note: waiting.note }));
      }
      known[kind] = new Map(front.map(({ waiting, line }) => [waiting.id, line.ahead]));
    }
    return false;
  };
  return repeat(refresh, { everyMs: REFRESH_MS, log: context.log, what: 'refresh places in the queue' });
}

/** @param running  how many jobs can be running, at most */
async function frontOfLine(
  database: Database,
  { kind, running }: { kind: JobKind; running: number },
): Promise<{ readonly waiting: Waiting; readonly line: PlaceInLine }[]> {
  const rows = await database
    .selectFrom('jobs')
    .select(['id', 'kind', 'state', 'job', 'note', 'cost_seconds'])
    .where('kind', '=', kind)
    .where('state', 'in', UNFINISHED)
    .orderBy('tag')
    .orderBy('created_at')
    .limit(running + FRONT_JOBS)
    .execute();
  const served = [
    ...rows.filter(({ state }) => state === 'running'),
    ...rows.filter(({ state }) => state === 'queued'),
  ];
  let aheadSeconds = 0;
  return served.flatMap((row, ahead) => {
    const line = { ahead, aheadSeconds, isAbout: false };
    aheadSeconds += row.cost_seconds;
    return row.state === 'queued' ? [{ waiting: row, line }] : [];
  });
}
