import { monitorEventLoopDelay } from 'node:perf_hooks';
import { Counter, Gauge, Histogram, Registry } from 'prom-client';

const SECONDS = [0.01, 0.05, 0.1, 0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600];

/** What a process counts of itself. People, servers and prompts are never labels. */
export type Metrics = ReturnType<typeof createMetrics>;

export function createMetrics() {
  const registry = new Registry();
  const registers = [registry];
  const lag = monitorEventLoopDelay({ resolution: 20 });
  lag.enable();
  new Gauge({
    name: 'art_event_loop_lag_seconds',
    help: 'Longest delay of the event loop since the last reading',
    registers,
    collect() {
      this.set(lag.max / 1e9);
      lag.reset();
    },
  });
  return {
    registry,
    jobs: new Counter({
      name: 'art_jobs_total',
      help: 'Jobs that ended',
      labelNames: ['kind', 'outcome'],
      registers,
    }),
    wait: new Histogram({
      name: 'art_job_wait_seconds',
      help: 'From the command to the start of work',
      labelNames: ['kind'],
      buckets: SECONDS,
      registers,
    }),
    run: new Histogram({
      name: 'art_job_run_seconds',
      help: 'From the start of work to its end',
      labelNames: ['kind', 'model'],
      buckets: SECONDS,
      registers,
    }),
    queue: new Gauge({
      name: 'art_queue_jobs',
      help: 'Jobs in the tables that have not ended',
      labelNames: ['queue', 'state'],
      registers,
    }),
    stalled: new Counter({
      name: 'art_stalled_total',
      help: 'Jobs taken back from workers that died',
      labelNames: ['kind'],
      registers,
    }),
    delivery: new Counter({
      name: 'art_delivery_total',
      help: 'Ends that were posted, or given up',
      labelNames: ['platform', 'outcome'],
      registers,
    }),
    deliveryLag: new Histogram({
      name: 'art_delivery_lag_seconds',
      help: 'From the end of a job to its post',
      labelNames: ['platform'],
      buckets: SECONDS,
      registers,
    }),
  };
}
