import type { Config } from '../../shared/config.ts';
import type { JobProgress } from '../../shared/jobs.ts';
import type { BlobStore } from '../../shared/store.ts';
import type { Device } from '../runtime/session.ts';
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
  readonly onProgress: (progress: JobProgress) => void;
}
