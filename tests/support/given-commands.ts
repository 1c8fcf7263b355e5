/** Commands as people give them, on a place with two models and a few control networks. */
import type { Action, CommandContext, ConceptSummary, Invocation, OptionValue } from '../../commands/command.ts';
import { COMMANDS } from '../../commands/index.ts';
import { type BlobRef, type Job, jobSchema, type LessonJob, type PictureJob } from '../../shared/jobs.ts';

const ada = { platform: 'web', userId: 'ada', displayName: 'Ada' } as const;
export const bob = { platform: 'web', userId: 'bob', displayName: 'Bob' } as const;

export function picture(digit: number): BlobRef {
  return { hash: String(digit).repeat(64), type: 'image/png', sizeBytes: 100 + digit };
}

export function concept(name: string, rest: Partial<ConceptSummary> = {}): ConceptSummary {
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

export const context: CommandContext = {
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

export interface Given {
  options?: Record<string, OptionValue>;
  images?: Record<string, readonly BlobRef[]>;
  context?: Partial<CommandContext>;
  invocation?: Partial<Invocation>;
}

export function act(name: string, given: Given = {}): Action {
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

export function jobOf(action: Action): Job {
  if (action.kind !== 'enqueue') throw new Error(`Expected a job, got ${action.kind}`);
  return jobSchema.parse(action.job);
}

export function pictureOf(name: 'imagine' | 'sketch', given: Given): PictureJob {
  const job = jobOf(act(name, given));
  if (job.kind !== 'picture') throw new Error('Expected a picture');
  return job;
}

export function lessonOf(given: Given): LessonJob {
  const job = jobOf(act('teach', given));
  if (job.kind !== 'lesson') throw new Error('Expected a lesson');
  return job;
}

export const photos = { photos: [picture(1), picture(2), picture(3), picture(4)] };
