import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { conceptsFor, shareConcept } from '../../bot/concepts.ts';
import { addConcept } from '../../bot/lesson-ends.ts';
import type { ConceptSummary } from '../../commands/command.ts';
import { type Database, openDatabase } from '../../shared/database.ts';
import { EmbeddedPostgres } from '../../shared/embedded-postgres.ts';
import type { Actor, LessonJob, Place } from '../../shared/jobs.ts';

let folder: string;
let embedded: EmbeddedPostgres;
let database: Database;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'sketchbooth-concepts-'));
  embedded = await EmbeddedPostgres.open(folder);
  database = await openDatabase(embedded);
  const photo = { hash: 'a'.repeat(64), type: 'image/png', sizeBytes: 1 };
  const job: LessonJob = {
    kind: 'lesson',
    conceptId: 'rex',
    name: 'Rex',
    classNoun: 'dog',
    model: 'pocket',
    method: 'dreambooth-lora',
    photos: [photo, photo, photo],
    seed: 1,
    isKeepingPhotos: false,
  };
  await addConcept(database, job, { place: TAUGHT_AT, owner: OWNER, uploadLimitBytes: 1 });
  const appliedAs = { promptText: 'nts dog', kind: 'lora' as const, files: {} };
  await database
    .updateTable('concepts')
    .set({ applied_as: JSON.stringify(appliedAs) })
    .execute();
});
afterAll(async () => {
  await database.destroy();
  await embedded.end();
  await rm(folder, { recursive: true });
});

const person = (platform: Actor['platform'], userId: string): Actor => ({ platform, userId, displayName: userId });
const OWNER = person('discord', '1');
const TAUGHT_AT: Place = { platform: 'discord', serverId: '10', channelId: '100' };

/** Who asks and where, from near to far; numbers are the same on the other platform. */
const ASKERS: readonly (readonly [string, { actor: Actor; place: Place }])[] = [
  ['owner elsewhere', { actor: OWNER, place: { platform: 'discord', channelId: '300' } }],
  ['same channel', { actor: person('discord', '2'), place: TAUGHT_AT }],
  ['same server', { actor: person('discord', '2'), place: { ...TAUGHT_AT, channelId: '200' } }],
  ['another server', { actor: person('discord', '2'), place: { ...TAUGHT_AT, serverId: '20', channelId: '200' } }],
  ['another platform', { actor: person('web', '1'), place: { ...TAUGHT_AT, platform: 'web' } }],
];

test.each<[ConceptSummary['sharedWith'], number]>([
  ['nobody', 1],
  ['channel', 2],
  ['server', 3],
  ['everyone', 5],
])('concept shared with %s reaches the first %i', async (sharedWith, reach) => {
  await shareConcept(database, 'rex', { sharedWith, place: TAUGHT_AT });
  const reached = [];
  for (const [name, who] of ASKERS) {
    if ((await conceptsFor(database, who)).some(({ id }) => id === 'rex')) reached.push(name);
  }
  expect(reached).toEqual(ASKERS.slice(0, reach).map(([name]) => name));
});
