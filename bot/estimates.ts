/** How long jobs take, learned from those that ran: what the fair queue counts and what people are told. */
import type { Database } from '../shared/database.ts';
import type { Job, JobKind } from '../shared/jobs.ts';

/** Seconds: half of all jobs take at most the first, nine in ten at most the second. */
export type SecondsRange = readonly [typical: number, long: number];

export interface Estimates {
  secondsFor(job: Job): SecondsRange;
  /** Takes note of a job that ran. */
  learn(job: Job, seconds: number): Promise<void>;
}

/** Newest jobs of a kind and model that count. */
const SAMPLES = 50;
/** Seconds per unit where nothing has been measured yet: a step of SD 1.5 on two CPU cores, and a lesson's step. */
const UNKNOWN: { readonly [K in JobKind]: SecondsRange } = { picture: [0.5, 3], lesson: [0.5, 3] };
/** Steps that a model takes where the job leaves it open. */
const USUAL_STEPS = 20;
const USUAL_LESSON_STEPS: { readonly [M in Extract<Job, { kind: 'lesson' }>['method']]: number } = {
  'dreambooth-lora': 500,
  dreambooth: 800,
  'textual-inversion': 3000,
};
const USUAL_SIDE = 512;

/** Steps that a job takes, those of larger pictures and further controls counted as more. */
export function unitsOf(job: Job): number {
  if (job.kind === 'lesson') return job.maxTrainSteps ?? USUAL_LESSON_STEPS[job.method];
  const steps = (job.numInferenceSteps ?? USUAL_STEPS) * (job.image ? (job.strength ?? 1) : 1);
  const area = ((job.width ?? USUAL_SIDE) * (job.height ?? USUAL_SIDE)) / USUAL_SIDE ** 2;
  // What surrounds the steps, text encoder and VAE, costs about two of them.
  return job.count * (steps * area * (1 + 0.4 * job.controls.length) + 2);
}

export async function openEstimates(database: Database): Promise<Estimates> {
  const rates = new Map<string, number[]>();
  const ratesOf = (kind: JobKind, model: string) => {
    const key = `${kind} ${model}`;
    const known = rates.get(key) ?? [];
    rates.set(key, known);
    return known;
  };
  const keep = (kind: JobKind, model: string, rate: number) => {
    const known = ratesOf(kind, model);
    known.push(rate);
    if (known.length > SAMPLES) known.shift();
  };
  for (const { kind, model, units, seconds } of await newestTimings(database)) keep(kind, model, seconds / units);
  return {
    secondsFor: (job) => {
      const [typical, long] = range(ratesOf(job.kind, job.model)) ?? UNKNOWN[job.kind];
      const units = unitsOf(job);
      return [typical * units, long * units];
    },
    learn: async (job, seconds) => {
      const units = unitsOf(job);
      keep(job.kind, job.model, seconds / units);
      await database.insertInto('timings').values({ kind: job.kind, model: job.model, units, seconds }).execute();
    },
  };
}

async function newestTimings(database: Database) {
  const rows = await database.selectFrom('timings').selectAll().orderBy('id', 'desc').limit(1000).execute();
  return rows.reverse();
}

/** Median and ninth decile; undefined before the first measurement. */
function range(rates: readonly number[]): SecondsRange | undefined {
  if (rates.length === 0) return undefined;
  const sorted = rates.toSorted((a, b) => a - b);
  const at = (share: number) => sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))]!;
  return [at(0.5), at(0.9)];
}
