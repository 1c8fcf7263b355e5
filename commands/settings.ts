import { UserError } from '../shared/errors.ts';
import type { Command, CommandOption, PlaceSettings } from './command.ts';
import { knownModel } from './picture-options.ts';
import { readOptions } from './read-options.ts';

const OPTIONS = [
  {
    name: 'scope',
    description: 'Where it holds; this channel by default',
    type: 'choice',
    choices: ['channel', 'server'],
  },
  { name: 'model', description: 'The model that draws by default', type: 'text', maxLength: 200, completes: 'models' },
  { name: 'steps', description: 'Steps by default', type: 'integer', min: 1, max: 150 },
  { name: 'guidance', description: 'Guidance by default', type: 'number', min: 1, max: 30 },
  { name: 'negative', description: 'What no picture must show, by default', type: 'text', maxLength: 2000 },
  { name: 'max_count', description: 'Most pictures of one command', type: 'integer', min: 1, max: 4 },
  { name: 'max_steps', description: 'Most steps of one picture', type: 'integer', min: 1, max: 150 },
  { name: 'max_jobs', description: 'Most jobs of one person, waiting and running', type: 'integer', min: 1, max: 100 },
  { name: 'teach', description: 'Whether people may teach', type: 'boolean' },
] as const satisfies readonly CommandOption[];

export const settings = {
  name: 'settings',
  description: 'Show or change defaults and limits (administrators)',
  options: OPTIONS,
  isForAdministrators: true,
  act(invocation, context) {
    if (!invocation.isAdministrator)
      throw new UserError('Cannot change the settings: you must be an administrator here');
    const values = readOptions('change the settings', OPTIONS, invocation);
    const model =
      values.model === undefined ? undefined : knownModel('change the settings', values.model, context.models);
    const changes = withoutUndefined({
      model,
      numInferenceSteps: values.steps,
      guidanceScale: values.guidance,
      negativePrompt: values.negative,
      maxCount: values.max_count,
      maxSteps: values.max_steps,
      maxJobsPerUser: values.max_jobs,
      mayTeach: values.teach,
    });
    if (Object.keys(changes).length === 0) return { kind: 'show-settings' };
    const scope = values.scope ?? 'channel';
    if (scope === 'server' && invocation.place.serverId === undefined) {
      throw new UserError('Cannot change the settings: scope server needs a server, got a direct message');
    }
    checkAgreement({ ...context.settings, ...changes });
    return { kind: 'change-settings', scope, changes };
  },
} satisfies Command;

type Given<T> = { [K in keyof T]?: Exclude<T[K], undefined> };

function withoutUndefined<T extends object>(values: T): Given<T> {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined)) as Given<T>;
}

function checkAgreement({ numInferenceSteps, maxSteps }: PlaceSettings): void {
  if (numInferenceSteps !== undefined && numInferenceSteps > maxSteps) {
    throw new UserError(
      `Cannot change the settings: steps must be at most max_steps, got ${numInferenceSteps} with ${maxSteps}`,
    );
  }
}
