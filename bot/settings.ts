/** Defaults and limits: the channel's, the server's, ours. */

import type { PlaceSettings } from '../commands/command.ts';
import type { Place } from '../shared/jobs.ts';
import type { BotContext } from './context.ts';

/** Jobs of one server that wait or run, so that no server fills the queue of a bot that serves several. */
export const MAX_JOBS_PER_SERVER = 500;

export function usualSettings(defaultModel: string): PlaceSettings {
  return {
    model: defaultModel,
    numInferenceSteps: undefined,
    guidanceScale: undefined,
    negativePrompt: undefined,
    maxCount: 4,
    maxSteps: 50,
    maxJobsPerUser: 10,
    mayTeach: true,
  };
}

/** What holds at a place. */
export async function settingsAt({ database, config }: BotContext, place: Place): Promise<PlaceSettings> {
  const rows = await database
    .selectFrom('settings')
    .select(['scope', 'changes'])
    .where('platform', '=', place.platform)
    .where((where) =>
      where.or([
        where.and([where('scope', '=', 'channel'), where('scope_id', '=', place.channelId)]),
        where.and([where('scope', '=', 'server'), where('scope_id', '=', place.serverId ?? '')]),
      ]),
    )
    .execute();
  const changes = (scope: 'channel' | 'server') => rows.find((row) => row.scope === scope)?.changes;
  return { ...usualSettings(config.defaultModel), ...changes('server'), ...changes('channel') };
}

/** Changes some settings of a place; those that are undefined go back to what holds without them. */
export async function changeSettings(
  { database }: BotContext,
  place: Place,
  { scope, changes }: { scope: 'channel' | 'server'; changes: Partial<PlaceSettings> },
): Promise<void> {
  const scopeId = scope === 'channel' ? place.channelId : (place.serverId ?? '');
  const row = await database
    .selectFrom('settings')
    .select('changes')
    .where('platform', '=', place.platform)
    .where('scope', '=', scope)
    .where('scope_id', '=', scopeId)
    .executeTakeFirst();
  // JSON leaves out what is undefined.
  const merged = { changes: JSON.stringify({ ...row?.changes, ...changes }) };
  await database
    .insertInto('settings')
    .values({ platform: place.platform, scope, scope_id: scopeId, ...merged })
    .onConflict((conflict) => conflict.columns(['platform', 'scope', 'scope_id']).doUpdateSet(merged))
    .execute();
}
