import { UserError } from '../shared/errors.ts';
import type { Action, Command, CommandContext, CommandOption, ConceptSummary, Invocation } from './command.ts';
import { conceptByName, isOwner, isSameName } from './concept-names.ts';
import { type OptionValues, readOptions, shown } from './read-options.ts';
import { checkName } from './teach.ts';

const OPTIONS = [
  {
    name: 'do',
    description: 'What to do; list by default',
    type: 'choice',
    choices: ['list', 'share', 'rename', 'forget'],
  },
  { name: 'name', description: 'Which concept', type: 'text', maxLength: 64, completes: 'concepts' },
  {
    name: 'with',
    description: 'Share: who else may use it; everyone is wherever this bot is',
    type: 'choice',
    choices: ['nobody', 'channel', 'server', 'everyone'],
  },
  { name: 'to', description: 'Rename: its new name', type: 'text', maxLength: 32 },
] as const satisfies readonly CommandOption[];

type ConceptValues = OptionValues<typeof OPTIONS>;

export const concepts = {
  name: 'concepts',
  description: 'List, share, rename or forget taught concepts',
  options: OPTIONS,
  act(invocation, context) {
    const values = readOptions('change concepts', OPTIONS, invocation);
    const action = values.do ?? 'list';
    return action === 'list' ? { kind: 'list-concepts' } : changes[action](values, { invocation, context });
  },
} satisfies Command;

interface Setting {
  readonly invocation: Invocation;
  readonly context: CommandContext;
}

const changes: Record<'share' | 'rename' | 'forget', (values: ConceptValues, setting: Setting) => Action> = {
  share(values, setting) {
    const concept = ownConcept('share', values.name, setting);
    const sharedWith = values.with ?? 'channel';
    if (sharedWith === 'server' && setting.invocation.place.serverId === undefined) {
      throw new UserError('Cannot share: sharing with the server needs a server, got a direct message');
    }
    return { kind: 'share-concept', conceptId: concept.id, sharedWith };
  },
  rename(values, setting) {
    const concept = ownConcept('rename', values.name, setting);
    if (values.to === undefined)
      throw new UserError(`Cannot rename ${concept.name}: the option to must give its new name`);
    checkName(values.to, concept.classNoun);
    refuseTaken(values.to, concept, setting);
    return { kind: 'rename-concept', conceptId: concept.id, name: values.to };
  },
  forget(values, setting) {
    return { kind: 'forget-concept', conceptId: ownConcept('forget', values.name, setting).id };
  },
};

/** Administrators may forget what others taught, since it may show someone who did not agree. */
function ownConcept(doing: 'share' | 'rename' | 'forget', name: string | undefined, setting: Setting): ConceptSummary {
  const { invocation, context } = setting;
  if (name === undefined) throw new UserError(`Cannot ${doing}: name must say which concept`);
  const concept = conceptByName(doing, name, { concepts: context.concepts, actor: invocation.actor });
  const isAllowed = isOwner(concept, invocation.actor) || (doing === 'forget' && invocation.isAdministrator);
  if (!isAllowed)
    throw new UserError(
      `Cannot ${doing} ${concept.name}: it must be yours, but ${concept.owner.displayName} taught it`,
    );
  return concept;
}

function refuseTaken(name: string, concept: ConceptSummary, { invocation, context }: Setting): void {
  const isTaken = context.concepts.some(
    (other) => other.id !== concept.id && isSameName(other.name, name) && isOwner(other, invocation.actor),
  );
  if (isTaken)
    throw new UserError(
      `Cannot rename ${concept.name}: the new name must be new among your concepts, got ${shown(name)}`,
    );
}
