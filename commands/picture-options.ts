/** What /imagine and /sketch have in common: the options of a picture, and the job that they make. */
import { UserError } from '../shared/errors.ts';
import type { Control, PictureJob } from '../shared/jobs.ts';
import type { Action, CommandContext, CommandOption, ConceptSummary, Invocation } from './command.ts';
import { appliedConcept, conceptsInPrompt } from './concept-names.ts';
import { type OptionValues, shown } from './read-options.ts';

export const MAX_SEED = 2 ** 32 - 1;

export const PROMPT_OPTION = {
  name: 'prompt',
  description: 'What the picture shows; names of taught concepts are understood',
  type: 'text',
  isRequired: true,
  maxLength: 2000,
} as const satisfies CommandOption;

export const PICTURE_OPTIONS = [
  { name: 'negative', description: 'What the picture must not show', type: 'text', maxLength: 2000 },
  {
    name: 'size',
    description: 'Width x height in pixels, such as 512x768; the model’s own size by default',
    type: 'text',
    maxLength: 20,
  },
  {
    name: 'steps',
    description: 'Steps of denoising; more are slower and often finer',
    type: 'integer',
    min: 1,
    max: 150,
  },
  {
    name: 'guidance',
    description: 'How closely the prompt is followed; 1 is off, 7.5 is usual',
    type: 'number',
    min: 1,
    max: 30,
  },
  {
    name: 'seed',
    description: 'The same seed with the same options gives the same picture',
    type: 'integer',
    min: 0,
    max: MAX_SEED,
  },
  { name: 'count', description: 'How many pictures', type: 'integer', min: 1, max: 4 },
  { name: 'model', description: 'Which model draws', type: 'text', maxLength: 200, completes: 'models' },
  { name: 'likeness', description: 'How strongly taught concepts show; 1 as taught', type: 'number', min: 0, max: 2 },
] as const satisfies readonly CommandOption[];

type PictureValues = OptionValues<typeof PICTURE_OPTIONS> & { readonly prompt: string };

/**
 * The action that enqueues a picture.
 * @param rest  what only one of the commands has
 * @throws UserError where the place or the model does not allow what is asked
 */
export function enqueuePicture(
  values: PictureValues,
  { invocation, context }: { invocation: Invocation; context: CommandContext },
  rest: Pick<PictureJob, 'image' | 'strength'> & { controlsFor?: (model: string) => Control[] } = {},
): Action {
  const { settings } = context;
  const concepts = conceptsInPrompt(values.prompt, context.concepts, invocation.actor);
  const model = chooseModel(values.model, concepts, context);
  const { controlsFor, ...ofCommand } = rest;
  const job: PictureJob = {
    kind: 'picture',
    prompt: values.prompt,
    negativePrompt: values.negative ?? settings.negativePrompt,
    model,
    ...readSize(values.size),
    numInferenceSteps: limited('steps', values.steps ?? settings.numInferenceSteps, settings.maxSteps),
    guidanceScale: values.guidance ?? settings.guidanceScale,
    seed: values.seed ?? context.randomSeed(),
    count: limited('count', values.count, settings.maxCount) ?? 1,
    ...ofCommand,
    controls: controlsFor?.(model) ?? [],
    concepts: concepts.map((concept) => appliedConcept(concept, values.likeness ?? 1)),
  };
  return { kind: 'enqueue', job, ...parentOf(invocation), ...noteOf(model, { asked: values.model, settings }) };
}

function parentOf({ parentJobId }: Invocation): { parentJobId?: string } {
  return parentJobId === undefined ? {} : { parentJobId };
}

function noteOf(
  model: string,
  { asked, settings }: { asked: string | undefined; settings: CommandContext['settings'] },
) {
  const isByConcept = asked === undefined && model !== settings.model;
  return isByConcept ? { note: `Drawn with \`${model}\`, on which the concept was taught` } : {};
}

function chooseModel(asked: string | undefined, concepts: readonly ConceptSummary[], context: CommandContext): string {
  const taughtOn = [...new Set(concepts.map((concept) => concept.model))];
  if (taughtOn.length > 1) {
    const pairs = concepts.map(({ name, model }) => `${name} on ${model}`).join(', ');
    throw new UserError(`Cannot draw: the concepts in one prompt must be taught on one model, got ${pairs}`);
  }
  if (concepts.filter((concept) => concept.kind === 'model').length > 1) {
    const names = concepts.map((concept) => concept.name).join(' and ');
    throw new UserError(`Cannot draw: of concepts taught by full DreamBooth only one fits in a prompt, got ${names}`);
  }
  const [required] = taughtOn;
  const model = knownModel('draw', asked ?? required ?? context.settings.model, context.models);
  if (required !== undefined && required !== model) {
    const names = concepts.map((concept) => concept.name).join(' and ');
    throw new UserError(`Cannot draw ${names}: the model must be ${required}, on which it was taught, got ${model}`);
  }
  return model;
}

/**
 * The model's name as workers spell it. While no worker has said what it offers, any name is taken.
 * @throws UserError that lists the models
 */
export function knownModel(doing: string, asked: string, models: readonly string[]): string {
  const known = models.find((name) => name.toLowerCase() === asked.toLowerCase());
  if (known === undefined && models.length > 0) {
    throw new UserError(
      `Cannot ${doing}: the model must be one of ${models.slice(0, 10).join(', ')}, got ${shown(asked)}`,
    );
  }
  return known ?? asked;
}

function limited(name: string, value: number | undefined, most: number): number | undefined {
  if (value !== undefined && value > most) {
    throw new UserError(`Cannot draw: ${name} must be at most ${most} here, got ${value}`);
  }
  return value;
}

const MIN_SIDE = 64;
const MAX_SIDE = 2048;

function readSize(text: string | undefined): { width?: number; height?: number } {
  if (text === undefined) return {};
  const match = /^(\d{1,5})\s*[x×*]\s*(\d{1,5})$/iu.exec(text);
  const sides = [Number(match?.[1]), Number(match?.[2])];
  if (!sides.every((side) => side >= MIN_SIDE && side <= MAX_SIDE && side % 8 === 0)) {
    throw new UserError(
      `Cannot draw: size must be width x height, each a multiple of 8 from ${MIN_SIDE} to ${MAX_SIDE}, got ${shown(text)}`,
    );
  }
  const [width = 0, height = 0] = sides;
  return { width, height };
}
