/** People and places of Slack as ours. */
import type { Actor, Place } from '../../shared/jobs.ts';
import type { Bridge } from './bridge.ts';

export function actorOf(userId: string, displayName: string): Actor {
  return { platform: 'slack', userId, displayName };
}

export interface Facts {
  readonly displayName: string;
  /** Of the workspace: they decide over its settings and over others' results. */
  readonly isAdministrator: boolean;
}

/** What Slack knows of a person. */
export async function factsOf({ client }: Pick<Bridge, 'client'>, userId: string): Promise<Facts> {
  const { user } = await client.users.info({ user: userId });
  return {
    displayName: user?.profile?.display_name || user?.real_name || user?.name || userId,
    isAdministrator: (user?.is_admin ?? false) || (user?.is_owner ?? false),
  };
}

export function placeOf(teamId: string | undefined, channelId: string, threadId?: string): Place {
  // Conversations of one person with the bot begin with D and belong to no channel settings of the workspace.
  const isDirect = channelId.startsWith('D');
  return {
    platform: 'slack',
    channelId,
    ...(teamId !== undefined && !isDirect && { serverId: teamId }),
    ...(threadId !== undefined && { threadId }),
  };
}
