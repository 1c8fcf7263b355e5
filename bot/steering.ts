/** What people want of lessons that run. It is written down first: a worker that takes a lesson over is told again. */
import type { JobSteering } from '../shared/database.ts';
import type { BotContext } from './context.ts';
import type { JobRow } from './job-rows.ts';

/** Tells the worker of a lesson which sample is liked, or that it has learned enough. */
export async function steerLesson(context: BotContext, row: JobRow, steering: JobSteering): Promise<void> {
  const changes = { steering: JSON.stringify(steering) };
  await context.database.updateTable('jobs').set(changes).where('id', '=', row.id).execute();
  await tell(context, row.id, steering);
}

/** Tells the workers of all lessons that run what is wanted of them; they obey once. */
export async function repeatSteering(context: BotContext): Promise<void> {
  const rows = await context.database
    .selectFrom('jobs')
    .select(['id', 'steering'])
    .where('kind', '=', 'lesson')
    .where('state', '=', 'running')
    .where('steering', 'is not', null)
    .execute();
  for (const { id, steering } of rows) if (steering) await tell(context, id, steering);
}

function tell({ signal }: BotContext, jobId: string, { kind, step }: JobSteering): Promise<void> {
  return signal('lesson', { kind: 'steer', jobId, what: kind, ...(step !== undefined && { step }) });
}
