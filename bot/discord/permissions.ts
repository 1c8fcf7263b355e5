/** What the bot must be allowed to do where it posts. */
import { type Client, PermissionFlagsBits, type PermissionsBitField } from 'discord.js';

/** Permissions by the name that Discord's settings show. */
export const NEEDED_PERMISSIONS = {
  'View Channel': PermissionFlagsBits.ViewChannel,
  'Send Messages': PermissionFlagsBits.SendMessages,
  'Send Messages in Threads': PermissionFlagsBits.SendMessagesInThreads,
  'Attach Files': PermissionFlagsBits.AttachFiles,
  'Embed Links': PermissionFlagsBits.EmbedLinks,
  'Read Message History': PermissionFlagsBits.ReadMessageHistory,
} as const;

/** The sum of them, for an invitation. */
export const INVITE_PERMISSIONS = Object.values(NEEDED_PERMISSIONS).reduce((sum, bit) => sum | bit, 0n);

/** Names of the permissions that are missing in a channel or thread. */
export function missingPermissions(has: Readonly<PermissionsBitField>, isThread: boolean): string[] {
  const unneeded = isThread ? 'Send Messages' : 'Send Messages in Threads';
  return Object.entries(NEEDED_PERMISSIONS).flatMap(([name, bit]) => (name === unneeded || has.has(bit) ? [] : [name]));
}

/** The same for a channel that the connection knows; undefined where it does not know it. */
export function missingInChannel(client: Client, channelId: string): string[] | undefined {
  const channel = client.channels.cache.get(channelId);
  if (channel === undefined || channel.isDMBased() || client.user === null) return undefined;
  const permissions = channel.permissionsFor(client.user);
  return permissions === null ? undefined : missingPermissions(permissions, channel.isThread());
}

/** A sentence for people: which permission to give. */
export function permissionText(missing: readonly string[], channelId: string): string {
  const names = missing.map((name) => `**${name}**`).join(', ');
  return `Cannot post in this channel: I have not the permission ${names} here. Someone who manages the server can give it to my role in the settings of channel ${channelId}`;
}
