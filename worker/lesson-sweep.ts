import { existsSync } from 'node:fs';
import { readdir, rm } from 'node:fs/promises';
import type { Config } from '../shared/config.ts';
import type { JobQueue } from '../shared/queue.ts';
import { lessonFolder, lessonsFolder } from './pipelines/job-context.ts';

/** A lesson that has ended without a result leaves no photos behind. */
export function removeLesson(config: Config, jobId: string): Promise<void> {
  return rm(lessonFolder(config, jobId), { recursive: true, force: true });
}

/**
 * Removes what lessons have left that this machine can no longer go on with: they were cancelled or put aside while their
 * worker was dead, or another machine has taken them over and ended them.
 * @param queue  of lessons; an entry goes when its end is in the tables
 */
export async function sweepLessons(config: Config, queue: JobQueue): Promise<void> {
  for (const jobId of await lessonsHere(config)) {
    const state = await queue.getJobState(jobId);
    if (['unknown', 'completed', 'failed'].includes(state)) await removeLesson(config, jobId);
  }
}

async function lessonsHere(config: Config): Promise<string[]> {
  const folder = lessonsFolder(config);
  return existsSync(folder) ? readdir(folder) : [];
}
