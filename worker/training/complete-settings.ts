import type { z } from 'zod';
import { UserError } from '../../shared/errors.ts';
import { defaultSettings, dependentDefaults, type ModelTraits } from './default-settings.ts';
import { type GivenSettings, settingsSchema, type TrainingSettings } from './settings.ts';

/**
 * Fills in the defaults of the method and the model, and those that depend on other settings: the steps on prior
 * preservation, alpha on the rank, the class prompt on the class noun.
 * @throws UserError that names the setting, the rule and the value received
 */
export function completeSettings(given: GivenSettings, model: ModelTraits): TrainingSettings {
  const { method } = given;
  const merged = { ...defaultSettings(method, model), ...dependentDefaults(given, model), ...given };
  const parsed = settingsSchema.safeParse(merged);
  if (!parsed.success) throw new UserError(`Cannot train with ${method}: ${describeIssue(parsed.error, merged)}`);
  checkPrompts(parsed.data);
  return parsed.data;
}

function describeIssue({ issues }: z.ZodError, values: object): string {
  const issue = issues[0]!;
  if (issue.code === 'unrecognized_keys') return `it must have settings of its own, got ${issue.keys.join(', ')}`;
  const name = String(issue.path[0]);
  return `${name} must be ${issue.message}, got ${JSON.stringify(Reflect.get(values, name)) ?? 'nothing'}`;
}

function checkPrompts(chosen: TrainingSettings): void {
  if (chosen.method !== 'dreambooth' && chosen.method !== 'dreambooth-lora') return;
  const { classNoun, instancePrompt, withPriorPreservation, diffOutputPreservation, classPrompt: prompt } = chosen;
  const refuse = (rule: string, got = 'neither') => {
    return new UserError(`Cannot train with ${chosen.method}: ${rule}, got ${got}`);
  };
  if (instancePrompt === undefined && classNoun === undefined) {
    throw refuse('there must be a class noun or an instance prompt');
  }
  if ((withPriorPreservation || diffOutputPreservation) && prompt === undefined) {
    throw refuse('prior preservation must have a class noun or a class prompt');
  }
  if (withPriorPreservation && diffOutputPreservation) {
    throw refuse('the class must be kept by class pictures or by differential output preservation', 'both');
  }
}
