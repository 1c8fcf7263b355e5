import { join } from 'node:path';
import type { Config } from '../../shared/config.ts';
import type { JobProgress } from '../../shared/jobs.ts';
import type { BlobStore } from '../../shared/store.ts';
import type { Device } from '../runtime/session.ts';
import type { LessonSteering } from './lesson-steering.ts';
import type { ModelCache } from './model-cache.ts';

/** What a job runs with. */
export interface JobContext {
  readonly jobId: string;
  readonly config: Config;
  readonly store: BlobStore;
  readonly models: ModelCache;
  readonly device: Device;
  /** Aborted when somebody cancels the job: it is looked at between steps. */
  readonly signal: AbortSignal;
  readonly steering: LessonSteering;
  readonly onProgress: (progress: JobProgress) => void;
}

/** Folder of all lessons that are at work. */
export function lessonsFolder({ dataDir }: Pick<Config, 'dataDir'>): string {
  return join(dataDir, 'lessons');
}

/** Folder of one, for photos, checkpoints and result. */
export function lessonFolder(config: Pick<Config, 'dataDir'>, jobId: string): string {
  return join(lessonsFolder(config), jobId);
}

/** Folder of a concept's weights on this machine. */
export function conceptFolder({ dataDir }: Pick<Config, 'dataDir'>, conceptId: string): string {
  return join(dataDir, 'concepts', conceptId.replace(/[^\w-]/g, '_'));
}
