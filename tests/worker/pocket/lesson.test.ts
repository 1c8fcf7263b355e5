import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openBench } from '../../../worker/pocket/evaluation/lesson-bench.ts';
import { dreambooth } from '../../../worker/pocket/evaluation/lessons.ts';
import { POCKET_FOLDER } from '../../../worker/pocket/folder.ts';
import { type Critic, openCritic } from '../../../worker/pocket/judges/critic.ts';

const session = { device: 'cpu' } as const;

let critic: Critic;
let workFolder: string;
beforeAll(async () => {
  critic = await openCritic(session);
  workFolder = await mkdtemp(join(tmpdir(), 'pocket-lesson-'));
});
afterAll(async () => {
  await critic.dispose();
  await rm(workFolder, { recursive: true });
});

test('the default lesson teaches the shipped model a subject, which still obeys prompts', async () => {
  const bench = openBench({ family: POCKET_FOLDER, workFolder, session, critic });
  const { measures } = await dreambooth({ bench, critic, subjects: ['backpack'], samples: 8 });
  const seen = (name: string) => measures.find((measure) => measure.name.includes(name))?.seen ?? '';
  const [taught, untaught] = seen('judged the same as its photos').split(', untaught ').map(Number.parseFloat);
  // Far below what it reaches and far above what a class picture shows.
  expect(taught).toBeGreaterThanOrEqual(50);
  expect(untaught).toBeLessThanOrEqual(25);
  expect(Number.parseFloat(seen('a new place'))).toBeGreaterThanOrEqual(50);
  expect(Number.parseFloat(seen('a new colour'))).toBeGreaterThanOrEqual(25);
}, 600_000);
