/** What the bot must be allowed to do where it posts. */
import { type Client, PermissionFlagsBits, type PermissionsBitField } from 'discord.js';

/** Permissions by the name that Discord's settings show. */
export const NEEDED_PERMISSIONS = {
  'View Channel': PermissionFlagsBits.ViewChannel,
  'Send Messages': PermissionFlagsBits.SendMessages,
  'Send Messages in Threads': PermissionFlagsBits.SendMessagesInThreads,
  'Attach Files': PermissionFlagsBits.AttachFiles,
  'Read Message History': PermissionFlagsBits.ReadMessageHistory,
} as const;

/** The sum of them, for an invitation. */
export const INVITE_PERMISSIONS = Object.values(NEEDED_PERMISSIONS).reduce((sum, bit) => sum | bit, 0n);

type Where = 'channel' | 'thread' | 'anywhere';

/** Messages in threads have a permission of their own. */
const UNNEEDED: Readonly<Record<Where, string | undefined>> = {
  channel: 'Send Messages in Threads',
  thread: 'Send Messages',
  anywhere: undefined,
};

/** Names of the permissions that are missing. */
export function missingPermissions(has: Readonly<PermissionsBitField>, where: Where): string[] {
  return Object.entries(NEEDED_PERMISSIONS).flatMap(([name, bit]) =>
    name === UNNEEDED[where] || has.has(bit) ? [] : [name],
  );
}

/** The same for a channel that the connection knows; undefined where it does not know it. */
export function missingInChannel(client: Client, channelId: string): string[] | undefined {
  const channel = client.channels.cache.get(channelId);
  if (channel === undefined || channel.isDMBased() || client.user === null) return undefined;
  const permissions = channel.permissionsFor(client.user);
  return permissions === null ? undefined : missingPermissions(permissions, channel.isThread() ? 'thread' : 'channel');
}

/** A sentence for people: which permission to give, and where. */
export function permissionText(missing: readonly string[]): string {
  const names = missing.map((name) => `**${name}**`).join(', ');
  return `Cannot post here: the bot needs ${names} in this channel; whoever manages the server can give it in the channel's settings, Permissions`;
}
