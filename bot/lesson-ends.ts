/** What the end of a lesson leaves: a concept with its weights, or nothing; photos go in any case unless they were to be kept. */
import { sql } from 'kysely';
import type { ConsentRecord, Database } from '../shared/database.ts';
import type { LessonJob, LessonResult, ReplyTo } from '../shared/jobs.ts';
import type { BlobStore } from '../shared/store.ts';
import { removeUnused } from './concepts.ts';
import type { JobEnd, JobRow } from './job-rows.ts';

const CONSENT_WORDS = {
  self: 'the person in the photos is the one who asks',
  given: 'the person in the photos agreed',
};

/** Notes that a subject is to be taught, from which photos, and who said that the person in them agrees. */
export async function addConcept(database: Database, job: LessonJob, { place, owner }: ReplyTo): Promise<void> {
  const consent: ConsentRecord | undefined = job.consent && {
    statedBy: owner,
    statedAt: new Date().toISOString(),
    words: CONSENT_WORDS[job.consent],
  };
  await database
    .insertInto('concepts')
    .values({
      id: job.conceptId,
      name: job.name,
      owner: JSON.stringify(owner),
      platform: owner.platform,
      owner_id: owner.userId,
      server_id: place.serverId ?? null,
      channel_id: place.channelId,
      class_noun: job.classNoun,
      model: job.model,
      method: job.method,
      photos: JSON.stringify(job.photos),
      consent: consent ? JSON.stringify(consent) : null,
    })
    .onConflict((conflict) => conflict.doNothing())
    .execute();
}

/** Comes before the lesson's row ends, and may come twice: a crash in between leaves nothing half done. */
export async function endLesson(
  places: { database: Database; store: BlobStore },
  { job }: JobRow,
  end: JobEnd,
): Promise<void> {
  if (job.kind !== 'lesson') return;
  if (end.state === 'succeeded' && end.result.kind === 'lesson') await keepLearned(places.database, job, end.result);
  else await dropConcept(places.database, job);
  if (end.state === 'succeeded' && job.isKeepingPhotos) return;
  await places.database.updateTable('concepts').set({ photos: null }).where('id', '=', job.conceptId).execute();
  await removeUnused(places, job.photos);
}

async function keepLearned(database: Database, { conceptId }: LessonJob, result: LessonResult): Promise<void> {
  await database
    .updateTable('concepts')
    .set({ applied_as: JSON.stringify(result.appliedAs), samples: JSON.stringify(result.samples) })
    .where('id', '=', conceptId)
    .where('forgotten_at', 'is', null)
    .execute();
}

/** Forgets a concept that has learned nothing. */
export async function dropConcept(database: Database, { conceptId }: LessonJob): Promise<void> {
  await database
    .updateTable('concepts')
    .set({ forgotten_at: sql<Date>`now()` })
    .where('id', '=', conceptId)
    .where('applied_as', 'is', null)
    .execute();
}
