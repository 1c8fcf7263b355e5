import { expect, test } from 'vitest';
import type { OptionValue } from '../../commands/command.ts';
import { COMMANDS } from '../../commands/index.ts';
import { optionsOfJob } from '../../commands/options-of-job.ts';
import { UserError } from '../../shared/errors.ts';
import { type BlobRef, jobSchema } from '../../shared/jobs.ts';
import { act, concept, jobOf, photos, picture } from '../support/given-commands.ts';

test('option tables keep within Discord’s limits', () => {
  const names = COMMANDS.map((command) => command.name);
  expect(names).toEqual(['imagine', 'sketch', 'teach', 'concepts', 'status', 'cancel', 'settings', 'help']);
  for (const { name, description, options } of COMMANDS) {
    expect(options.length, name).toBeLessThanOrEqual(25);
    expect(new Set(options.map((option) => option.name)).size).toBe(options.length);
    const required = options.map((option) => Boolean(option.isRequired));
    expect(required, `${name}: required options come first`).toEqual(
      required.toSorted((a, b) => Number(b) - Number(a)),
    );
    for (const item of [{ name, description }, ...options]) {
      expect(item.name).toMatch(/^[a-z0-9_-]{1,32}$/);
      expect(item.description.length, `${name} ${item.name}`).toBeLessThanOrEqual(100);
    }
    for (const option of options) if (option.type === 'choice') expect(option.choices.length).toBeLessThanOrEqual(25);
  }
});

test('settings are for administrators and change what was said only', () => {
  const administrator = { invocation: { isAdministrator: true } };
  expect(() => act('settings')).toThrow(/must be an administrator/);
  expect(act('settings', administrator)).toEqual({ kind: 'show-settings' });
  const options = { model: 'SD15', max_jobs: 2, teach: false };
  expect(act('settings', { options, ...administrator })).toEqual({
    kind: 'change-settings',
    scope: 'channel',
    changes: { model: 'sd15', maxJobsPerUser: 2, mayTeach: false },
  });
  expect(() => act('settings', { options: { steps: 61 }, ...administrator })).toThrow(
    /at most max_steps, got 61 with 60/,
  );
});

test('cancel takes the job id off a completion; status and help need nothing', () => {
  expect(act('cancel')).toEqual({ kind: 'cancel', jobId: undefined });
  expect(act('cancel', { options: { job: 'j17 a red car' } })).toEqual({ kind: 'cancel', jobId: 'j17' });
  expect(act('status')).toEqual({ kind: 'show-status' });
  expect(act('help')).toMatchObject({ kind: 'say', text: expect.stringContaining('**/sketch**') });
  expect(act('help', { options: { command: 'teach' } })).toMatchObject({
    text: expect.stringContaining('`photos` (needed)'),
  });
  const { text } = act('help', { options: { command: 'sketch' } }) as { text: string };
  expect(text).toMatch(/`during`: Start and end/);
  expect(text).toMatch(/`image2`, `kind2`.*: the same for further images\nSuch as: `\/sketch prompt: .* during: 0-0.6/);
});

test('an edited job becomes the same job again when nothing is edited', () => {
  const concepts = [concept('rex')];
  const images = { image: [picture(1)], image2: [picture(2)] };
  const jobs = [
    jobOf(
      act('imagine', {
        options: { prompt: 'rex', size: '64x128', steps: 9, likeness: 0.5, seed: 7 },
        images: { image: [picture(5)] },
        context: { concepts },
      }),
    ),
    jobOf(
      act('sketch', {
        options: { prompt: 'a', kind2: 'depth', during2: '0.1-0.9', source: 'picture', count: 2 },
        images,
      }),
    ),
    jobOf(
      act('teach', {
        options: { name: 'Bo', class: 'boy', consent: 'the person agreed', steps: 30, keep_photos: true },
        images: photos,
      }),
    ),
  ];
  for (const job of jobs) {
    const { command, ...asked } = optionsOfJob(job);
    expect(jobOf(act(command, { ...asked, context: { concepts } }))).toEqual(job);
  }
});

test('any options give a job that the schema takes, another action, or a UserError', () => {
  const random = randomNumbers(5);
  const pick = <T>(items: readonly T[]): T => items[Math.floor(random() * items.length)] as T;
  const oddValues = [
    '',
    ' ',
    '0',
    '-1',
    'NaN',
    'a',
    'x'.repeat(3000),
    '1e9',
    '\u0000',
    0,
    -1,
    0.5,
    1,
    3,
    2 ** 40,
    Number.NaN,
    Infinity,
    true,
    false,
    '64x64',
    '0-1',
    'rex',
    'auto',
  ];
  const oddImages = [[], [picture(1)], photos.photos, [...photos.photos, ...photos.photos]];
  const outcomes = { job: 0, action: 0, error: 0 };
  for (let round = 0; round < 6000; round++) {
    const command = pick(COMMANDS);
    const options: Record<string, OptionValue> = {};
    const images: Record<string, readonly BlobRef[]> = {};
    for (const option of command.options) {
      if (!option.isRequired && random() < 0.75) continue;
      if (option.type === 'image') images[option.name] = pick(oddImages);
      else options[option.name] = option.type === 'choice' && random() < 0.8 ? pick(option.choices) : pick(oddValues);
    }
    try {
      const invocation = { isAdministrator: random() < 0.8 };
      const action = act(command.name, { options, images, invocation, context: { concepts: [concept('rex')] } });
      if (action.kind === 'enqueue') jobSchema.parse(action.job);
      outcomes[action.kind === 'enqueue' ? 'job' : 'action']++;
    } catch (error) {
      if (!(error instanceof UserError)) throw error;
      outcomes.error++;
    }
  }
  expect(Math.min(outcomes.job, outcomes.action, outcomes.error)).toBeGreaterThan(50);
});

/** Lehmer's generator, so that a failure comes back. */
function randomNumbers(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state * 48_271) % 2_147_483_647;
    return state / 2_147_483_647;
  };
}
