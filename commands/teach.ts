import { UserError } from '../shared/errors.ts';
import { LESSON_METHODS, type LessonJob } from '../shared/jobs.ts';
import type { Command, CommandContext, CommandOption, Invocation } from './command.ts';
import { isOwner, isSameName } from './concept-names.ts';
import { knownModel } from './picture-options.ts';
import { readOptions, shown } from './read-options.ts';

const OPTIONS = [
  { name: 'name', description: 'What you will call it in prompts', type: 'text', isRequired: true, maxLength: 32 },
  {
    name: 'class',
    description: 'What it is, in a word or two: dog, backpack, teapot',
    type: 'text',
    isRequired: true,
    maxLength: 64,
  },
  {
    name: 'photos',
    description: '3 to 5 photos of it, in different places and light',
    type: 'image',
    isRequired: true,
    minCount: 3,
    maxCount: 5,
  },
  {
    name: 'consent',
    description: 'When it is a person: who agreed to this',
    type: 'choice',
    choices: ['it is me', 'the person agreed'],
  },
  {
    name: 'method',
    description: 'How it is learned; dreambooth-lora is quick and small',
    type: 'choice',
    choices: LESSON_METHODS,
  },
  {
    name: 'steps',
    description: 'Training steps; set by method and model by default',
    type: 'integer',
    min: 1,
    max: 5000,
  },
  { name: 'model', description: 'Which model learns', type: 'text', maxLength: 200, completes: 'models' },
  {
    name: 'keep_photos',
    description: 'Keep the photos after the lesson; they are deleted by default',
    type: 'boolean',
  },
] as const satisfies readonly CommandOption[];

export const teach = {
  name: 'teach',
  description: 'Teach the model a subject from 3 to 5 photos',
  options: OPTIONS,
  act(invocation, context) {
    if (!context.settings.mayTeach)
      throw new UserError('Cannot teach: lessons are switched off here, ask an administrator');
    const values = readOptions('teach', OPTIONS, invocation);
    checkName(values.name, values.class);
    refuseTaken(values.name, { invocation, context });
    const consent = consentOf(values.class, values.consent);
    const job: LessonJob = {
      kind: 'lesson',
      conceptId: context.newId(),
      name: values.name,
      classNoun: values.class,
      model: knownModel('teach', values.model ?? context.settings.model, context.models),
      method: values.method ?? 'dreambooth-lora',
      photos: [...values.photos],
      maxTrainSteps: values.steps,
      seed: context.randomSeed(),
      isKeepingPhotos: values.keep_photos ?? false,
      ...(consent === undefined ? {} : { consent }),
    };
    const { parentJobId } = invocation;
    return { kind: 'enqueue', job, ...(parentJobId === undefined ? {} : { parentJobId }) };
  },
} satisfies Command;

/**
 * Checks what a subject may be called: prompts find it by this name, so it must not be a word that they need otherwise.
 * @throws UserError
 */
export function checkName(name: string, classNoun: string): void {
  if (!/^\p{L}[\p{L}\p{N}' _-]{0,30}[\p{L}\p{N}]$/u.test(name)) {
    throw new UserError(
      `Cannot teach: name must be 2 to 32 letters, digits, spaces or hyphens, a letter first, got ${shown(name)}`,
    );
  }
  if (isSameName(name, classNoun)) {
    throw new UserError(
      `Cannot teach: name must differ from class, or every ${classNoun} would become this one, got ${shown(name)}`,
    );
  }
}

function refuseTaken(name: string, { invocation, context }: { invocation: Invocation; context: CommandContext }): void {
  const isTaken = context.concepts.some(
    (concept) => isSameName(concept.name, name) && isOwner(concept, invocation.actor),
  );
  if (isTaken)
    throw new UserError(
      `Cannot teach: name must be new among your concepts, got ${shown(name)}; rename or forget the old one`,
    );
}

const PERSON_WORDS = new Set(
  (
    'person people human face man men woman women boy boys girl girls child children kid kids baby babies toddler teen teenager ' +
    'adult guy gentleman lady ladies male female self selfie me myself portrait head mother father mom mum dad parent brother ' +
    'sister son daughter husband wife friend boyfriend girlfriend grandmother grandfather grandma grandpa bride groom couple ' +
    'family celebrity actor actress singer model politician player athlete doctor teacher student soldier coworker colleague boss'
  ).split(' '),
);

/** Whether a class means people; errs towards asking. */
export function isPersonClass(classNoun: string): boolean {
  return (classNoun.toLowerCase().match(/\p{L}+/gu) ?? []).some((word) => PERSON_WORDS.has(word));
}

function consentOf(classNoun: string, consent: 'it is me' | 'the person agreed' | undefined): LessonJob['consent'] {
  if (consent !== undefined) return consent === 'it is me' ? 'self' : 'given';
  if (!isPersonClass(classNoun)) return undefined;
  throw new UserError(
    `Cannot teach a ${classNoun}: consent must say that it is you or that the person agreed, got none`,
  );
}
