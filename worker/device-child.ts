/** The process that computes; its parent sends jobs and kills it if it does not obey. It ends with its parent. */
import { setPriority } from 'node:os';
import { disableOnnxRuntimeTelemetry } from '../shared/config.ts';
import { UserError } from '../shared/errors.ts';
import type { Job, JobOutcome, JobProgress } from '../shared/jobs.ts';
import { openStore } from '../shared/store.ts';
import type { FromDevice, ToDevice } from './device-messages.ts';
import type { JobContext } from './pipelines/job-context.ts';

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
  let present: AbortController | undefined;
  process.on('message', (message: ToDevice) => {
    if (message.kind === 'cancel') present?.abort();
    if (message.kind !== 'run') return;
    present = new AbortController();
    const { jobId, job } = message;
    const onProgress = (progress: JobProgress) => send({ kind: 'progress', progress });
    void run(job, { ...shared, jobId, signal: present.signal, onProgress });
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
  const { runPictureJob } = await import('./pipelines/picture-job.ts');
  if (job.kind === 'picture') return { kind: 'done', result: await runPictureJob(job, context) };
  throw new UserError('Cannot teach: this worker has no lessons yet');
}

function describe(error: unknown, signal: AbortSignal): FromDevice {
  if (signal.aborted) return { kind: 'ended', outcome: { kind: 'cancelled' } };
  if (error instanceof UserError) return { kind: 'ended', outcome: { kind: 'refused', reason: error.message } };
  const fault = error instanceof Error ? error : new Error(String(error));
  return { kind: 'fault', message: fault.message, stack: fault.stack };
}
