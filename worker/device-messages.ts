/** What a worker and the child process that computes for it say to each other. */
import type { Config } from '../shared/config.ts';
import type { Job, JobOutcome, JobProgress } from '../shared/jobs.ts';

export type ToDevice =
  /** Comes first. */
  | { readonly kind: 'start'; readonly config: Config; readonly niceness: number }
  | { readonly kind: 'run'; readonly jobId: string; readonly job: Job }
  | { readonly kind: 'cancel' }
  | { readonly kind: 'steer'; readonly what: 'use-sample' | 'stop-here'; readonly step?: number };

export type FromDevice =
  | { readonly kind: 'ready'; readonly device: string; readonly reason: string }
  | { readonly kind: 'loaded'; readonly models: readonly string[] }
  | { readonly kind: 'progress'; readonly progress: JobProgress }
  | { readonly kind: 'ended'; readonly outcome: JobOutcome }
  /** A fault of the program or the machine. */
  | { readonly kind: 'fault'; readonly message: string; readonly stack?: string | undefined };
