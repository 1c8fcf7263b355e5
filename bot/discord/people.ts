/** People and places of Discord as ours. */
import { type BaseInteraction, type Client, type GuildMember, PermissionFlagsBits } from 'discord.js';
import type { Actor, Place } from '../../shared/jobs.ts';

export function actorOf({ user, member }: BaseInteraction): Actor {
  const nick =
    member === null ? undefined : ((member as GuildMember).nickname ?? (member as { nick?: string | null }).nick);
  return { platform: 'discord', userId: user.id, displayName: nick ?? user.displayName };
}

export function placeOf(interaction: BaseInteraction): Place {
  if (interaction.channelId === null) throw new Error(`Cannot tell where it was said: no channel in ${interaction.id}`);
  return placeInChannel(interaction.client, interaction.channelId, interaction.guildId ?? undefined);
}

/** A thread belongs to its channel, whose settings it shares. */
export function placeInChannel(client: Client, id: string, serverId: string | undefined): Place {
  const channel = client.channels.cache.get(id);
  const parentId = channel?.isThread() ? channel.parentId : null;
  return {
    platform: 'discord',
    ...(serverId !== undefined && { serverId }),
    ...(parentId === null ? { channelId: id } : { channelId: parentId, threadId: id }),
  };
}

/** Discord's channel of a place: a thread is one of its own. */
export function channelIdOf({ channelId, threadId }: { channelId: string; threadId?: string | undefined }): string {
  return threadId ?? channelId;
}

export function isAdministrator({ memberPermissions }: BaseInteraction): boolean {
  return memberPermissions?.has(PermissionFlagsBits.ManageGuild) ?? false;
}

export function isModerator({ memberPermissions }: BaseInteraction): boolean {
  return memberPermissions?.has(PermissionFlagsBits.ManageMessages) ?? false;
}
