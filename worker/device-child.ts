/** The process that computes; its parent sends jobs and kills it if it does not obey. It ends with its parent. */
import { setPriority } from 'node:os';
import { disableOnnxRuntimeTelemetry } from '../shared/config.ts';
import { UserError } from '../shared/errors.ts';
import type { Job, JobOutcome, JobProgress } from '../shared/jobs.ts';
import { openStore } from '../shared/store.ts';
import type { FromDevice, ToDevice } from './device-messages.ts';
import type { JobContext } from './pipelines/job-context.ts';
import { LessonSteering } from './pipelines/lesson-steering.ts';

disableOnnxRuntimeTelemetry();

process.once('message', (message: ToDevice) => {
  if (message.kind === 'start') void start(message);
});
process.on('disconnect', () => process.exit(0));

async function start({ config, niceness }: Extract<ToDevice, { kind: 'start' }>): Promise<void> {
  setPriority(niceness);
  const { chooseDevice } = await import('./runtime/device.ts');
  const { ModelCache } = await import('./pipelines/model-cache.ts');
  const { device, reason } = await chooseDevice(config.worker.device);
  const shared = { config, store: openStore(config), models: new ModelCache(config, device), device };
  let present: { cancel: AbortController; steering: LessonSteering } | undefined;
  process.on('message', (message: ToDevice) => {
    if (message.kind === 'cancel') present?.cancel.abort();
    if (message.kind === 'steer') present?.steering.hear(message);
    if (message.kind !== 'run') return;
    present = { cancel: new AbortController(), steering: new LessonSteering() };
    const { jobId, job } = message;
    const onProgress = (progress: JobProgress) => send({ kind: 'progress', progress });
    void run(job, { ...shared, jobId, signal: present.cancel.signal, steering: present.steering, onProgress });
  });
  send({ kind: 'ready', device, reason });
}

function send(message: FromDevice): void {
  // A parent that is gone needs no answer.
  if (process.connected) process.send?.(message);
}

async function run(job: Job, context: JobContext): Promise<void> {
  const end = await runJob(job, context).then(
    (outcome): FromDevice => ({ kind: 'ended', outcome }),
    (error: unknown) => describe(error, context.signal),
  );
  send({ kind: 'loaded', models: context.models.names() });
  send(end);
}

async function runJob(job: Job, context: JobContext): Promise<JobOutcome> {
  if (job.kind === 'picture') {
    const { runPictureJob } = await import('./pipelines/picture-job.ts');
    return { kind: 'done', result: await runPictureJob(job, context) };
  }
  const { runLessonJob } = await import('./pipelines/lesson-job.ts');
  return { kind: 'done', result: await runLessonJob(job, context) };
}

function describe(error: unknown, signal: AbortSignal): FromDevice {
  if (signal.aborted) return { kind: 'ended', outcome: { kind: 'cancelled' } };
  if (error instanceof UserError) return { kind: 'ended', outcome: { kind: 'refused', reason: error.message } };
  const fault = error instanceof Error ? error : new Error(String(error));
  return { kind: 'fault', message: fault.message, stack: fault.stack };
}
