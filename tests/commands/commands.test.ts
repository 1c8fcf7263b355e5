import { expect, test } from 'vitest';
import type { Action, CommandContext, ConceptSummary, Invocation, OptionValue } from '../../commands/command.ts';
import { COMMANDS } from '../../commands/index.ts';
import { optionsOfJob } from '../../commands/options-of-job.ts';
import { SPANS } from '../../commands/sketch.ts';
import { UserError } from '../../shared/errors.ts';
import { type BlobRef, type Job, jobSchema, type LessonJob, type PictureJob } from '../../shared/jobs.ts';

const ada = { platform: 'web', userId: 'ada', displayName: 'Ada' } as const;
const bob = { platform: 'web', userId: 'bob', displayName: 'Bob' } as const;

function picture(digit: number): BlobRef {
  return { hash: String(digit).repeat(64), type: 'image/png', sizeBytes: 100 + digit };
}

function concept(name: string, rest: Partial<ConceptSummary> = {}): ConceptSummary {
  return {
    id: `id of ${name}`,
    name,
    owner: ada,
    sharedWith: 'nobody',
    classNoun: 'dog',
    model: 'pocket',
    method: 'dreambooth-lora',
    promptText: 'nts dog',
    kind: 'lora',
    files: { 'lora.safetensors': picture(9) },
    ...rest,
  };
}

const context: CommandContext = {
  settings: {
    model: 'pocket',
    numInferenceSteps: undefined,
    guidanceScale: undefined,
    negativePrompt: undefined,
    maxCount: 4,
    maxSteps: 60,
    maxJobsPerUser: 5,
    mayTeach: true,
  },
  models: ['pocket', 'sd15'],
  concepts: [],
  controls: [
    { model: 'pocket', kind: 'sketch', method: 'controlnet' },
    { model: 'pocket', kind: 'sketch', method: 't2i-adapter' },
    { model: 'pocket', kind: 'depth', method: 't2i-adapter' },
  ],
  randomSeed: () => 42,
  newId: () => 'new-id',
};

interface Given {
  options?: Record<string, OptionValue>;
  images?: Record<string, readonly BlobRef[]>;
  context?: Partial<CommandContext>;
  invocation?: Partial<Invocation>;
}

function act(name: string, given: Given = {}): Action {
  const command = COMMANDS.find((candidate) => candidate.name === name);
  if (!command) throw new Error(`Cannot act: no command ${name}`);
  const invocation: Invocation = {
    id: 'i1',
    command: name,
    options: given.options ?? {},
    images: given.images ?? {},
    actor: ada,
    isAdministrator: false,
    place: { platform: 'web', serverId: 's', channelId: 'c' },
    uploadLimitBytes: 10_000_000,
    ...given.invocation,
  };
  return command.act(invocation, { ...context, ...given.context });
}

function jobOf(action: Action): Job {
  if (action.kind !== 'enqueue') throw new Error(`Expected a job, got ${action.kind}`);
  return jobSchema.parse(action.job);
}

function pictureOf(name: 'imagine' | 'sketch', given: Given): PictureJob {
  const job = jobOf(act(name, given));
  if (job.kind !== 'picture') throw new Error('Expected a picture');
  return job;
}

function lessonOf(given: Given): LessonJob {
  const job = jobOf(act('teach', given));
  if (job.kind !== 'lesson') throw new Error('Expected a lesson');
  return job;
}

const photos = { photos: [picture(1), picture(2), picture(3), picture(4)] };

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

test('imagine leaves to model and place what nobody said', () => {
  expect(pictureOf('imagine', { options: { prompt: ' a red car ' } })).toEqual({
    kind: 'picture',
    prompt: 'a red car',
    model: 'pocket',
    seed: 42,
    count: 1,
    controls: [],
    concepts: [],
  });
});

test('imagine takes over every option, seed 0 included, numbers as text too', () => {
  const options = {
    prompt: 'a car',
    negative: 'people',
    size: '512x768',
    steps: '20',
    guidance: 5.5,
    seed: 0,
    count: 3,
    model: 'SD15',
  };
  const job = pictureOf('imagine', { options: { ...options, strength: '0,6' }, images: { image: [picture(1)] } });
  expect(job).toMatchObject({ width: 512, height: 768, numInferenceSteps: 20, guidanceScale: 5.5, seed: 0, count: 3 });
  expect(job).toMatchObject({ model: 'sd15', negativePrompt: 'people', image: picture(1), strength: 0.6 });
});

test.each<[string, Given, RegExp]>([
  ['no prompt', {}, /prompt is missing/],
  ['a blank prompt', { options: { prompt: '  ' } }, /prompt is missing/],
  ['an odd size', { options: { prompt: 'a', size: '100x100' } }, /multiple of 8.*got "100x100"/],
  ['a huge size', { options: { prompt: 'a', size: '4096x4096' } }, /from 64 to 2048/],
  ['half a step', { options: { prompt: 'a', steps: 2.5 } }, /steps must be a whole number from 1 to 150, got "2.5"/],
  ['more steps than the place allows', { options: { prompt: 'a', steps: 61 } }, /at most 60 here, got 61/],
  [
    'more pictures than the place allows',
    { options: { prompt: 'a', count: 3 }, context: { settings: { ...context.settings, maxCount: 2 } } },
    /at most 2 here/,
  ],
  ['a seed out of range', { options: { prompt: 'a', seed: 2 ** 32 } }, /seed must be/],
  ['a model nobody has', { options: { prompt: 'a', model: 'x' } }, /one of pocket, sd15, got "x"/],
  ['an unknown option', { options: { prompt: 'a', sed: 1 } }, /no option "sed"/],
  ['strength without an image', { options: { prompt: 'a', strength: 0.5 } }, /strength needs an image/],
  [
    'two pictures to start from',
    { options: { prompt: 'a' }, images: { image: [picture(1), picture(2)] } },
    /image must be one picture, got 2/,
  ],
  [
    'an option named like a property of objects',
    { options: { prompt: 'a', constructor: 1 } },
    /no option "constructor"/,
  ],
])('imagine refuses %s', (_, given, problem) => {
  expect(() => act('imagine', given)).toThrow(UserError);
  expect(() => act('imagine', given)).toThrow(problem);
});

test('prompts name concepts by whole words in any case, the longest name first', () => {
  const rex = concept('rex');
  const big = concept('Big Rex');
  const named = (prompt: string) =>
    pictureOf('imagine', { options: { prompt }, context: { concepts: [rex, big] } }).concepts.map(({ name }) => name);
  expect(named('REX on a beach')).toEqual(['rex']);
  expect(named('rex’s hat, t-rex')).toEqual(['rex']);
  expect(named('Trex and rexes')).toEqual([]);
  expect(named('big  rex at home')).toEqual(['Big Rex']);
  expect(named('big rex and rex')).toEqual(['Big Rex', 'rex']);
});

test('of two concepts with one name the own one is meant', () => {
  const concepts = [concept('rex', { id: 'theirs', owner: bob }), concept('rex', { id: 'mine' })];
  const job = pictureOf('imagine', { options: { prompt: 'rex', likeness: 0.7 }, context: { concepts } });
  expect(job.concepts).toMatchObject([{ conceptId: 'mine', scale: 0.7, promptText: 'nts dog' }]);
});

test('a concept draws with the model that it was taught on, and says so', () => {
  const concepts = [concept('rex', { model: 'sd15' }), concept('tom')];
  const action = act('imagine', { options: { prompt: 'rex' }, context: { concepts } });
  expect(jobOf(action).model).toBe('sd15');
  expect(action).toMatchObject({ note: expect.stringContaining('sd15') });
  expect(() => act('imagine', { options: { prompt: 'rex', model: 'pocket' }, context: { concepts } })).toThrow(
    /must be sd15/,
  );
  expect(() => act('imagine', { options: { prompt: 'rex and tom' }, context: { concepts } })).toThrow(
    /rex on sd15, tom on pocket/,
  );
});

test('sketch takes three maps without JSON, each with its own settings', () => {
  const options = {
    prompt: 'a',
    kind: 'sketch',
    strength: 0.8,
    during: '0-60%',
    kind2: 'depth',
    during2: '.2 to 1',
    method3: 't2i-adapter',
  };
  const images = { image: [picture(1)], image2: [picture(2)], image3: [picture(3)] };
  const { controls } = pictureOf('sketch', { options, images });
  const auto = { source: 'auto', conditioningScale: 1, controlGuidanceStart: 0, controlGuidanceEnd: 1 };
  expect(controls).toEqual([
    {
      ...auto,
      image: picture(1),
      kind: 'sketch',
      method: 'controlnet',
      conditioningScale: 0.8,
      controlGuidanceEnd: 0.6,
    },
    { ...auto, image: picture(2), kind: 'depth', method: 't2i-adapter', controlGuidanceStart: 0.2 },
    { ...auto, image: picture(3), kind: 'auto', method: 't2i-adapter' },
  ]);
});

test('spans that are suggested can be taken as they are', () => {
  const starts = SPANS.map((during) => {
    const { controls } = pictureOf('sketch', { options: { prompt: 'a', during }, images: { image: [picture(1)] } });
    return [controls[0]?.controlGuidanceStart, controls[0]?.controlGuidanceEnd];
  });
  expect(starts).toEqual([
    [0, 1],
    [0, 0.5],
    [0, 0.8],
    [0.2, 1],
  ]);
});

test.each<[string, Given, RegExp]>([
  ['no image', { options: { prompt: 'a' } }, /image is missing: attach one picture/],
  [
    'a second kind without a second image',
    { options: { prompt: 'a', kind2: 'pose' }, images: { image: [picture(1)] } },
    /kind2 needs image2/,
  ],
  [
    'a kind that the model has no network for',
    { options: { prompt: 'a', kind: 'pose' }, images: { image: [picture(1)] } },
    /one that pocket has \(sketch by controlnet, .*got pose/,
  ],
  [
    'a method that the kind has no network for',
    { options: { prompt: 'a', kind: 'depth', method: 'controlnet' }, images: { image: [picture(1)] } },
    /got depth by controlnet/,
  ],
  [
    'any control on a model without networks',
    { options: { prompt: 'a', model: 'sd15' }, images: { image: [picture(1)] } },
    /it has none/,
  ],
  [
    'an end before the start',
    { options: { prompt: 'a', during: '0.6-0.2' }, images: { image: [picture(1)] } },
    /during must be start-end/,
  ],
])('sketch refuses %s', (_, given, problem) => {
  expect(() => act('sketch', given)).toThrow(UserError);
  expect(() => act('sketch', given)).toThrow(problem);
});

test('teach makes a lesson of a DreamBooth LoRA that deletes its photos', () => {
  const lesson = lessonOf({ options: { name: 'Rex', class: 'dog' }, images: photos });
  expect(lesson).toEqual({
    kind: 'lesson',
    conceptId: 'new-id',
    name: 'Rex',
    classNoun: 'dog',
    model: 'pocket',
    method: 'dreambooth-lora',
    photos: photos.photos,
    seed: 42,
    isKeepingPhotos: false,
  });
});

test('teach asks for consent where the class is a person, and records it', () => {
  const lesson = { name: 'Ada', class: 'young woman' };
  expect(() => act('teach', { options: lesson, images: photos })).toThrow(/consent must say/);
  expect(lessonOf({ options: { ...lesson, consent: 'it is me' }, images: photos }).consent).toBe('self');
  expect(lessonOf({ options: { ...lesson, consent: 'The person agreed' }, images: photos }).consent).toBe('given');
});

test.each<[string, Given, RegExp]>([
  [
    'two photos',
    { options: { name: 'Rex', class: 'dog' }, images: { photos: photos.photos.slice(0, 2) } },
    /3 to 5 pictures, got 2/,
  ],
  ['no photos', { options: { name: 'Rex', class: 'dog' } }, /photos is missing: attach 3 to 5/],
  ['a name like the class', { options: { name: 'Dog', class: 'dog' }, images: photos }, /must differ from class/],
  ['a name of signs', { options: { name: '$$', class: 'dog' }, images: photos }, /2 to 32 letters/],
  [
    'a name that is taken',
    { options: { name: 'REX', class: 'dog' }, images: photos, context: { concepts: [concept('rex')] } },
    /must be new among your concepts/,
  ],
  [
    'lessons where they are off',
    {
      options: { name: 'Rex', class: 'dog' },
      images: photos,
      context: { settings: { ...context.settings, mayTeach: false } },
    },
    /switched off here/,
  ],
])('teach refuses %s', (_, given, problem) => {
  expect(() => act('teach', given)).toThrow(UserError);
  expect(() => act('teach', given)).toThrow(problem);
});

test('concepts are listed, shared, renamed and forgotten by their owner', () => {
  const known = { context: { concepts: [concept('rex')] } };
  expect(act('concepts')).toEqual({ kind: 'list-concepts' });
  expect(act('concepts', { options: { do: 'share', name: 'Rex' }, ...known })).toEqual({
    kind: 'share-concept',
    conceptId: 'id of rex',
    sharedWith: 'channel',
  });
  expect(act('concepts', { options: { do: 'rename', name: 'rex', to: 'Max' }, ...known })).toEqual({
    kind: 'rename-concept',
    conceptId: 'id of rex',
    name: 'Max',
  });
  expect(act('concepts', { options: { do: 'forget', name: 'rex' }, ...known })).toEqual({
    kind: 'forget-concept',
    conceptId: 'id of rex',
  });
  expect(() => act('concepts', { options: { do: 'forget', name: 'tom' }, ...known })).toThrow(
    /got "tom" \(there are rex\)/,
  );
});

test('another person’s concept is forgotten by administrators only', () => {
  const given = { options: { do: 'forget', name: 'rex' }, context: { concepts: [concept('rex', { owner: bob })] } };
  expect(() => act('concepts', given)).toThrow(/must be yours, but Bob taught it/);
  expect(act('concepts', { ...given, invocation: { isAdministrator: true } })).toMatchObject({
    kind: 'forget-concept',
  });
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
