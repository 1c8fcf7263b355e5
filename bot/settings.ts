/** Defaults and limits: the channel's, the server's, ours. */

import { sql } from 'kysely';
import type { PlaceSettings } from '../commands/command.ts';
import type { Database } from '../shared/database.ts';
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
export async function settingsAt({ statements, config }: BotContext, place: Place): Promise<PlaceSettings> {
  return { ...usualSettings(config.defaultModel), ...(await statements.changedSettings(place)) };
}

/** What was changed at each of several places: the channel's changes go before its server's. */
export async function changesAtEach(database: Database, places: readonly Place[]): Promise<Partial<PlaceSettings>[]> {
  const asked = places.map((place, i) => ({ i, ...place }));
  const { rows } = await sql<{ i: number; scope: 'channel' | 'server'; changes: Partial<PlaceSettings> }>`
    select place.i, scope, changes from jsonb_to_recordset(${JSON.stringify(asked)}::jsonb)
      as place (i integer, platform text, "channelId" text, "serverId" text)
    join sketchbooth.settings on settings.platform = place.platform and (
      scope = 'channel' and scope_id = "channelId" or scope = 'server' and scope_id = "serverId"
    )`.execute(database);
  return places.map((_, i) => {
    const changes = (scope: 'channel' | 'server') => rows.find((row) => row.i === i && row.scope === scope)?.changes;
    return { ...changes('server'), ...changes('channel') };
  });
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
