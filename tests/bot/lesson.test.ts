import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import type { BlobRef } from '../../shared/jobs.ts';
import { POCKET_FOLDER } from '../../worker/pocket/folder.ts';
import { BOB } from '../support/chat-platform.ts';
import { type RunningBot, startTinyBot } from '../support/running-bot.ts';

let bot: RunningBot;
let photos: BlobRef[];

beforeAll(async () => {
  bot = await startTinyBot({ withStudent: true });
  const names = ['1.png', '2.png', '3.png', '4.png'];
  const files = await Promise.all(names.map((name) => readFile(join(POCKET_FOLDER, 'examples', 'dog', name))));
  photos = await Promise.all(files.map((file, i) => bot.chat.inbox.keepUpload(file, names[i]!)));
});
afterAll(() => bot.stop());

const IN_TIME = { timeout: 100_000, interval: 200 };
const lesson = { name: 'Rex', class: 'dog', steps: 120, model: 'student' };

test('four photos become a concept with samples on the way, and the photos are gone', async () => {
  const { chat, services } = bot;
  const answer = await chat.type('teach', lesson, { images: { photos } });
  expect(answer).toMatchObject({ jobId: expect.any(String) });
  const acknowledgement = chat.messages.at(-1)!;
  await vi.waitFor(() => expect(chat.ends()).toHaveLength(1), IN_TIME);
  const end = chat.ends()[0]!.shown[0]!;
  expect(end.text).toMatch(/\*\*Rex\*\* is learned: write `Rex` in a prompt\n120 steps · loss/);
  expect(end.pictures.length).toBeGreaterThan(1);
  expect(acknowledgement.shown.some(({ lesson: shown }) => (shown?.samples.length ?? 0) > 0)).toBe(true);
  await vi.waitFor(() => expect(acknowledgement.shown.at(-1)!.text).toMatch(/^Done/), IN_TIME);
  const last = acknowledgement.shown.at(-1)!.lesson!;
  expect(end.text).toContain(`${last.step} steps · loss ${last.loss!.toFixed(3)}`);
  for (const photo of photos) expect(await services.store.has(photo)).toBe(false);
  expect(existsSync(join(bot.config.dataDir, 'lessons', (answer as { jobId: string }).jobId))).toBe(false);
});

test('the concept draws: by its owner, by others once it is shared, by nobody once it is forgotten', async () => {
  const { chat, services } = bot;
  const draw = { prompt: 'Rex on a beach', size: '64x64', steps: 1, seed: 3 };
  await chat.type('imagine', draw);
  await vi.waitFor(() => expect(chat.ends()).toHaveLength(2), IN_TIME);
  const details = await chat.press({ action: 'details', target: { message: chat.ends()[1]!.ref } });
  expect(details).toMatchObject({ reply: { text: expect.stringContaining('concept **Rex**: 1') } });
  const picture = (i: number) => chat.ends()[i]!.shown[0]!.pictures[0]!.blob.hash;
  await chat.type('imagine', { ...draw, model: 'student' }, { actor: BOB });
  await vi.waitFor(() => expect(chat.ends()).toHaveLength(3), IN_TIME);
  expect(picture(2)).not.toBe(picture(1));
  await chat.type('concepts', { do: 'share', name: 'rex', with: 'server' });
  await chat.type('imagine', draw, { actor: BOB });
  await vi.waitFor(() => expect(chat.ends()).toHaveLength(4), IN_TIME);
  expect(picture(3)).toBe(picture(1));
  const row = await services.database.selectFrom('concepts').selectAll().executeTakeFirstOrThrow();
  const weights = Object.values(row.applied_as!.files);
  const said = await chat.type('concepts', { do: 'forget', name: 'Rex' });
  expect(said).toMatchObject({ reply: { text: expect.stringMatching(/is forgotten: 1 files of weights, 0 photos/) } });
  for (const file of weights) expect(await services.store.has(file)).toBe(false);
  await vi.waitFor(() => expect(existsSync(join(bot.config.dataDir, 'concepts', row.id))).toBe(false), IN_TIME);
});

test('a person in the photos must have agreed, and that is recorded', async () => {
  const { chat, services } = bot;
  const upload = await readFile(join(POCKET_FOLDER, 'examples', 'dog', '1.png'));
  const again = await Promise.all([1, 2, 3].map(() => chat.inbox.keepUpload(upload, 'me.png')));
  const refused = await chat.type('teach', { ...lesson, name: 'Eve', class: 'woman' }, { images: { photos: again } });
  expect(refused).toMatchObject({ reply: { text: expect.stringContaining('consent') } });
  const same = await chat.type('teach', { ...lesson, name: 'Eve' }, { images: { photos: again } });
  expect(same).toMatchObject({ reply: { text: expect.stringContaining('photo 2 is photo 1 once more') } });
  const waiting = await services.database
    .selectFrom('concepts')
    .select('id')
    .where('forgotten_at', 'is', null)
    .execute();
  expect(waiting).toEqual([]);
});
