/** Taught subjects: who may use them, and what it takes to forget one. */
import { type Selectable, sql } from 'kysely';
import type { ConceptSummary } from '../commands/command.ts';
import type { ConceptsTable, Database } from '../shared/database.ts';
import { UserError } from '../shared/errors.ts';
import type { Actor, BlobRef, Place } from '../shared/jobs.ts';
import type { BlobStore } from '../shared/store.ts';

type ConceptRow = Selectable<ConceptsTable>;

interface Person {
  readonly actor: Actor;
  readonly place: Place;
}

/** Concepts that a person may use at a place: their own, and those shared with its channel, its server or everyone. */
export async function conceptsFor(database: Database, person: Person): Promise<readonly ConceptSummary[]> {
  return (await conceptsForEach(database, [person]))[0] ?? [];
}

/** The same for several people in one statement; people, channels and servers are known by the numbers of their platform. */
export async function conceptsForEach(database: Database, people: readonly Person[]): Promise<ConceptSummary[][]> {
  const asked = people.map(({ actor, place }, i) => ({ i, ...actor, ...place, platform: actor.platform }));
  const { rows } = await sql<ConceptRow & { i: number }>`
    select person.i, concepts.* from jsonb_to_recordset(${JSON.stringify(asked)}::jsonb)
      as person (i integer, platform text, "userId" text, "channelId" text, "serverId" text)
    join sketchbooth.concepts on forgotten_at is null and applied_as is not null and (
      shared_with = 'everyone' or concepts.platform = person.platform and (
        owner_id = "userId"
        or shared_with = 'channel' and channel_id = "channelId"
        or shared_with = 'server' and server_id = "serverId"
      )
    ) order by name`.execute(database);
  return people.map((_, i) => rows.filter((row) => row.i === i).flatMap((row) => summaryOf(row) ?? []));
}

function summaryOf(row: ConceptRow): ConceptSummary | undefined {
  if (!row.applied_as) return undefined;
  return {
    id: row.id,
    name: row.name,
    owner: row.owner,
    sharedWith: row.shared_with,
    classNoun: row.class_noun,
    model: row.model,
    method: row.method,
    ...row.applied_as,
  };
}

/**
 * A concept that a person may change: their own, or any for an administrator.
 * @throws UserError
 */
export async function ownConcept(
  database: Database,
  id: string,
  actor: Actor,
  { isAdministrator = false } = {},
): Promise<ConceptRow> {
  const row = await database
    .selectFrom('concepts')
    .selectAll()
    .where('id', '=', id)
    .where('forgotten_at', 'is', null)
    .executeTakeFirst();
  if (!row) throw new UserError('Cannot find the concept: it has been forgotten');
  const isOwn = row.platform === actor.platform && row.owner_id === actor.userId;
  if (!isOwn && !isAdministrator) {
    throw new UserError(`Cannot change ${row.name}: only ${row.owner.displayName}, who taught it, may do that`);
  }
  return row;
}

export async function shareConcept(
  database: Database,
  id: string,
  { sharedWith, place }: { sharedWith: ConceptSummary['sharedWith']; place: Place },
): Promise<void> {
  await database
    .updateTable('concepts')
    .set({ shared_with: sharedWith, channel_id: place.channelId, server_id: place.serverId ?? null })
    .where('id', '=', id)
    .execute();
}

export async function renameConcept(database: Database, id: string, name: string): Promise<void> {
  await database.updateTable('concepts').set({ name }).where('id', '=', id).execute();
}

/** Removes weights, photos and samples of a concept; the row stays as a record that it was forgotten. */
export async function forgetConcept(
  { database, store }: { database: Database; store: BlobStore },
  concept: ConceptRow,
): Promise<{ weights: number; photos: number; samples: number }> {
  const weights = Object.values(concept.applied_as?.files ?? {});
  const photos = [...(concept.photos ?? [])];
  const samples = (concept.samples ?? []).map(({ picture }) => picture);
  await database
    .updateTable('concepts')
    .set({ forgotten_at: sql<Date>`now()`, applied_as: null, photos: null, samples: null })
    .where('id', '=', concept.id)
    .execute();
  await removeUnused({ database, store }, [...weights, ...photos, ...samples]);
  return { weights: weights.length, photos: photos.length, samples: samples.length };
}

/** Removes blobs that no other concept refers to: the same photo may have been used for two. */
export async function removeUnused(
  { database, store }: { database: Database; store: BlobStore },
  blobs: readonly BlobRef[],
): Promise<void> {
  for (const blob of blobs) {
    const needle = `%${blob.hash}%`;
    const { rows } = await sql<{ used: boolean }>`
      select exists (
        select from sketchbooth.concepts where forgotten_at is null
          and (applied_as::text like ${needle} or photos::text like ${needle} or samples::text like ${needle})
      ) as used`.execute(database);
    if (!rows[0]?.used) await store.remove(blob);
  }
}
