import { type ChildProcess, fork } from 'node:child_process';
import { join } from 'node:path';
import type { Config } from '../shared/config.ts';
import type { Job, JobOutcome, JobProgress } from '../shared/jobs.ts';
import type { FromDevice, ToDevice } from './device-messages.ts';

/** A child process that computes: `session.run` blocks its thread, and a crash in native code ends a process. */
export interface DeviceProcess {
  /** Which device it chose and why; waits until it has started. */
  readonly ready: Promise<{ device: string; reason: string }>;
  /** Models that it has loaded, newest last. */
  loaded(): readonly string[];
  /**
   * Runs one job at a time; the child stays for the next.
   * @param signal  cancels it: the child is asked first, and killed if it does not obey within a second
   * @throws Error if the child reports a fault, or dies
   */
  run(jobId: string, job: Job, options: RunOptions): Promise<JobOutcome>;
  steer(message: Extract<ToDevice, { kind: 'steer' }>): void;
  stop(): Promise<void>;
}

export interface RunOptions {
  readonly signal: AbortSignal;
  readonly onProgress: (progress: JobProgress) => void;
}

export interface DeviceOptions {
  readonly config: Config;
  /** Niceness of the child: a lesson stands back behind pictures. */
  readonly niceness: number;
}

const OBEY_MS = 1000;
const STOP_MS = 5000;

export function startDeviceProcess(options: DeviceOptions): DeviceProcess {
  let child = startChild(options);
  let loaded: readonly string[] = [];
  const send = (message: ToDevice) => {
    if (child.process.connected) child.process.send(message);
  };
  return {
    get ready() {
      return child.ready;
    },
    loaded: () => loaded,
    steer: send,
    run: async (jobId, job, { signal, onProgress }) => {
      if (child.process.exitCode !== null || child.process.signalCode !== null) {
        loaded = [];
        child = startChild(options);
      }
      const { process: own } = child;
      await child.ready;
      return new Promise<JobOutcome>((resolve, reject) => {
        let killTimer: NodeJS.Timeout | undefined;
        const hear = (message: FromDevice) => {
          if (message.kind === 'progress') onProgress(message.progress);
          else if (message.kind === 'loaded') loaded = message.models;
          else if (message.kind === 'ended') settle(() => resolve(message.outcome));
          else if (message.kind === 'fault') settle(() => reject(faultOf(message)));
        };
        const die = (code: number | null, by: NodeJS.Signals | null) =>
          settle(() => {
            if (signal.aborted) resolve({ kind: 'cancelled' });
            else reject(new Error(`Cannot run the job: its worker died with ${by ?? `code ${code}`}`));
          });
        const cancel = () => {
          send({ kind: 'cancel' });
          killTimer = setTimeout(() => own.kill('SIGKILL'), OBEY_MS);
        };
        const settle = (finish: () => void) => {
          clearTimeout(killTimer);
          own.off('message', hear);
          own.off('exit', die);
          signal.removeEventListener('abort', cancel);
          finish();
        };
        own.on('message', hear);
        own.on('exit', die);
        signal.addEventListener('abort', cancel);
        send({ kind: 'run', jobId, job });
        if (signal.aborted) cancel();
      });
    },
    stop: async () => {
      const { process: own } = child;
      if (own.exitCode !== null || own.signalCode !== null) return;
      const gone = new Promise((resolve) => own.once('exit', resolve));
      const timer = setTimeout(() => own.kill('SIGKILL'), STOP_MS);
      own.disconnect();
      await gone;
      clearTimeout(timer);
    },
  };
}

function startChild({ config, niceness }: DeviceOptions): { process: ChildProcess; ready: DeviceProcess['ready'] } {
  const child = fork(join(import.meta.dirname, 'device-child.ts'), {
    execArgv: ['--import', 'tsx'],
    // Ctrl-C reaches the whole group; the parent decides when its child ends.
    detached: true,
    serialization: 'advanced',
  });
  const ready = new Promise<{ device: string; reason: string }>((resolve, reject) => {
    child.on('message', (message: FromDevice) => {
      if (message.kind === 'ready') resolve(message);
    });
    child.once('exit', (code, by) => reject(new Error(`Cannot start a worker: it died with ${by ?? `code ${code}`}`)));
  });
  child.send({ kind: 'start', config, niceness } satisfies ToDevice);
  // Whoever runs a job hears of it; until then it is nobody's rejection.
  ready.catch(() => undefined);
  return { process: child, ready };
}

function faultOf({ message, stack }: Extract<FromDevice, { kind: 'fault' }>): Error {
  const error = new Error(message);
  if (stack !== undefined) error.stack = stack;
  return error;
}
