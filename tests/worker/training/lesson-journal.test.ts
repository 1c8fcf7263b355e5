import { appendFile, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import {
  LessonJournal,
  readRecords,
  type SampleRecord,
  type StepRecord,
} from '../../../worker/training/lesson-journal.ts';
import { temporaryFolder } from '../../support/tiny-models.ts';

const stepRecord = (step: number): StepRecord => ({
  kind: 'step',
  step,
  loss: 1 / step,
  learningRate: 1e-4,
  gradNorm: 0.5,
  seconds: 0.25,
});
const sample = (step: number): SampleRecord => ({
  kind: 'sample',
  step,
  pictures: [`samples/${step}.png`],
  seconds: 1,
});

async function openJournal(file: string, step: number): Promise<LessonJournal> {
  const journal = await LessonJournal.open(file, step);
  onTestFinished(() => journal.close());
  return journal;
}

test('a journal keeps what belongs to a checkpoint when its process was killed later, and repairs half a line', async () => {
  const file = join(await temporaryFolder(), 'lesson', 'lesson.jsonl');
  const first = await openJournal(file, 0);
  await first.append([1, 2, 3].map(stepRecord));
  await first.append([sample(2), stepRecord(4)]);
  await appendFile(file, '{"kind":"step","step":5,"lo');
  expect((await readRecords(file)).map(({ step }) => step)).toEqual([1, 2, 3, 2, 4]);
  const resumed = await openJournal(file, 2);
  expect(resumed.records).toEqual([stepRecord(1), stepRecord(2), sample(2)]);
  await resumed.append([stepRecord(3)]);
  const lines = (await readFile(file, 'utf8')).trimEnd().split('\n');
  expect(lines.map((line) => JSON.parse(line))).toEqual([stepRecord(1), stepRecord(2), sample(2), stepRecord(3)]);
  expect(resumed.steps.map(({ step }) => step)).toEqual([1, 2, 3]);
  expect(resumed.samples).toEqual([sample(2)]);
});

test('a journal that is not there begins empty', async () => {
  const journal = await openJournal(join(await temporaryFolder(), 'lesson.jsonl'), 7);
  expect(journal.records).toEqual([]);
});
