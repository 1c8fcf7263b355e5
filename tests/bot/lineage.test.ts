import { expect, test } from 'vitest';
import { differences } from '../../bot/lineage.ts';
import { optionsOfJob } from '../../commands/options-of-job.ts';
import type { BlobRef, PictureJob } from '../../shared/jobs.ts';

const blob = (digit: string): BlobRef => ({ hash: digit.repeat(64), type: 'image/png', sizeBytes: 1 });

const job: PictureJob = {
  kind: 'picture',
  prompt: 'a red car',
  model: 'pocket',
  seed: 7,
  count: 1,
  controls: [
    {
      image: blob('a'),
      kind: 'sketch',
      method: 'controlnet',
      source: 'auto',
      conditioningScale: 1,
      controlGuidanceStart: 0,
      controlGuidanceEnd: 1,
    },
  ],
  concepts: [],
};

function changed(changes: Partial<PictureJob>): string[] {
  return differences(optionsOfJob(job), optionsOfJob({ ...job, ...changes }));
}

test('what differs from a picture’s origin is told in the words of the command', () => {
  const [control] = job.controls;
  expect(changed({ seed: 9 })).toEqual(['seed 7 → 9']);
  expect(changed({ controls: [{ ...control!, conditioningScale: 1.25, image: blob('b') }] })).toEqual([
    'strength 1 → 1.25',
    'another image',
  ]);
  expect(changed({ numInferenceSteps: 20, prompt: `a blue ${'very '.repeat(20)}long car` })).toEqual([
    expect.stringMatching(/^prompt a red car → a blue (very )+ve…$/),
    'steps as usual → 20',
  ]);
  expect(changed({})).toEqual([]);
});
