/** From a checked job to a durable row, with an honest word on when it will be done. */
import { randomBytes, randomInt } from 'node:crypto';
import type { CommandContext } from '../commands/command.ts';
import { UserError } from '../shared/errors.ts';
import { type Actor, CONTROL_KINDS, type Job, type LessonJob, type Place } from '../shared/jobs.ts';
import type { BotContext } from './context.ts';
import type { SecondsRange } from './estimates.ts';
import { findJob } from './job-rows.ts';
import { addConcept, dropConcept } from './lesson-ends.ts';
import type { Outbox } from './outbox.ts';
import { checkPhotos } from './photo-check.ts';
import type { Acknowledgement } from './platform.ts';
import { MAX_JOBS_PER_SERVER, settingsAt } from './settings.ts';
import { joinLines, queuedReply } from './wording.ts';

export type Dispatch = BotContext & { readonly outbox: Outbox };

/** What a command may know at its place. */
export async function commandContext(
  context: BotContext,
  who: { actor: Actor; place: Place },
): Promise<CommandContext> {
  const [settings, concepts] = await Promise.all([settingsAt(context, who.place), context.statements.concepts(who)]);
  const workers = context.workers.alive();
  const controls = new Map(workers.flatMap((worker) => worker.controls).map((one) => [JSON.stringify(one), one]));
  return {
    settings,
    models: [...new Set(workers.flatMap(({ models }) => models.map(({ name }) => name)))].sort(),
    concepts,
    controls: [...controls.values()].flatMap(({ model, kind, method }) => {
      const known = CONTROL_KINDS.find((name) => name === kind);
      return known ? [{ model, kind: known, method }] : [];
    }),
    randomSeed: () => randomInt(2 ** 32),
    newId,
  };
}

/** Short, and neither a number nor with a colon, which the queue does not take as names. */
export function newId(): string {
  return `j${BigInt(`0x${randomBytes(8).toString('hex')}`).toString(36)}`;
}

export interface Enqueuing {
  /** Of the delivery. */
  readonly id: string;
  readonly job: Job;
  readonly actor: Actor;
  readonly place: Place;
  readonly uploadLimitBytes: number;
  readonly parentJobId?: string | undefined;
  readonly note?: string | undefined;
  readonly maxJobsPerUser: number;
}

/** Makes a job durable and says where it stands; the queue gets it right after. */
export async function enqueue(dispatch: Dispatch, asked: Enqueuing): Promise<Acknowledgement> {
  const { database, estimates, lines, outbox, statements } = dispatch;
  const { actor, place, job, uploadLimitBytes, maxJobsPerUser, parentJobId } = asked;
  const jobId = newId();
  const [typical, long] = estimates.secondsFor(job);
  const replyTo = { place, owner: actor, uploadLimitBytes };
  const warnings = job.kind === 'lesson' ? await checkLesson(dispatch, job) : [];
  const note = joinLines(asked.note, ...warnings) || undefined;
  if (job.kind === 'lesson') await addConcept(database, job, replyTo);
  const added = await statements.addJob({
    id: jobId,
    invocationId: asked.id,
    job,
    replyTo,
    parentJobId,
    note,
    costSeconds: typical,
    maxJobsPerUser,
    maxJobsPerServer: MAX_JOBS_PER_SERVER,
  });
  if (added.kind !== 'added' && job.kind === 'lesson') await dropConcept(database, job);
  if (added.kind === 'duplicate') return repeatAcknowledgement(dispatch, asked.id);
  if (added.kind === 'too-many') {
    const limit = added.whose === 'user' ? maxJobsPerUser : MAX_JOBS_PER_SERVER;
    const whose = added.whose === 'user' ? 'you have' : 'this server has';
    throw new UserError(`Cannot queue more: ${whose} ${limit} jobs waiting or running, which is the limit`);
  }
  outbox.wake();
  const line = await lines.placeOfAdded(job.kind, added);
  const eta = timeLeft(dispatch, { ...line, own: [typical, long] });
  return { kind: 'message', reply: queuedReply(jobId, line, { eta, note }), jobId };
}

/** Side of pictures where no worker has said what the model makes. */
const USUAL_SIDE = 512;

async function checkLesson({ store, workers }: Dispatch, { photos, model }: LessonJob): Promise<string[]> {
  const known = workers.alive().flatMap(({ models }) => models.find(({ name }) => name === model) ?? []);
  const bytes = await Promise.all(photos.map((photo) => store.get(photo)));
  return checkPhotos(bytes, known[0]?.width ?? USUAL_SIDE);
}

/** Seconds until a job is done: those ahead of it, shared by the workers, and its own. */
export function timeLeft(
  { workers }: BotContext,
  { aheadSeconds, own: [typical, long] }: { aheadSeconds: number; own: SecondsRange },
): SecondsRange {
  const wait = aheadSeconds / Math.max(1, workers.alive().length);
  // What waits is as uncertain as the job itself.
  return [wait + typical, wait * (long / typical) + long];
}

/** A platform that sends the same delivery again gets the same answer. */
async function repeatAcknowledgement(dispatch: Dispatch, invocationId: string): Promise<Acknowledgement> {
  const { database, estimates, lines } = dispatch;
  const row = await database
    .selectFrom('invocations')
    .select('outcome')
    .where('id', '=', invocationId)
    .executeTakeFirst();
  const { jobId } = (row?.outcome ?? {}) as { jobId?: string };
  const job = jobId === undefined ? undefined : await findJob(database, jobId);
  if (!job || jobId === undefined) return { kind: 'silence' };
  const line = await lines.placeOf(job);
  const eta = timeLeft(dispatch, { ...line, own: estimates.secondsFor(job.job) });
  return { kind: 'message', reply: queuedReply(jobId, line, { eta, note: job.note }), jobId };
}
