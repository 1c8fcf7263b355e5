/** What the peer knows: people, a guild with roles and channels, their messages and files. Plain data and its rules. */
import { type APIMessage, type APIRole, ChannelType, OverwriteType, PermissionFlagsBits } from 'discord.js';

export interface PeerUser {
  readonly id: string;
  readonly username: string;
  readonly isBot: boolean;
}

export interface Overwrite {
  readonly id: string;
  readonly type: OverwriteType;
  allow: bigint;
  deny: bigint;
}

export interface PeerChannel {
  readonly id: string;
  readonly type: ChannelType.GuildText | ChannelType.PublicThread | ChannelType.DM;
  readonly name: string;
  /** Undefined for direct messages. */
  readonly guildId: string | undefined;
  /** Of a thread. */
  readonly parentId?: string;
  /** Of direct messages with the bot: the person. */
  readonly recipient?: PeerUser;
  readonly overwrites: Overwrite[];
  /** Oldest first. */
  readonly messages: StoredMessage[];
}

export interface StoredMessage {
  /** As the API gives it away. */
  api: APIMessage;
  readonly channelId: string;
  readonly nonce: string | undefined;
  /** Whom a notification reached. */
  readonly notified: readonly string[];
  /** The only person who sees it. */
  readonly onlyFor: string | undefined;
  /** A deferred response that shows "thinking" until it is filled. */
  isDeferred: boolean;
  readonly createdAtMs: number;
}

export interface World {
  readonly origin: string;
  readonly applicationId: string;
  readonly token: string;
  readonly bot: PeerUser;
  readonly guild: { readonly id: string; readonly name: string; readonly ownerId: string; readonly roles: APIRole[] };
  readonly members: Map<string, { readonly user: PeerUser; readonly roles: string[] }>;
  readonly channels: Map<string, PeerChannel>;
  readonly files: Map<string, { readonly bytes: Uint8Array; readonly type: string }>;
  /** Where interactions go instead of the gateway, if somebody set that. */
  interactionsEndpoint: string | null;
  /** Largest file of an upload; boosts raise it. */
  readonly attachmentSizeLimit: number;
  /** Milliseconds since 1970 by the peer's own clock, which tests move on. */
  readonly now: () => number;
  readonly newId: () => string;
}

const DISCORD_EPOCH_MS = 1_420_070_400_000;

/** Makes ids as Discord does: milliseconds since its epoch, and a number that counts. */
export function snowflakes(now: () => number): () => string {
  let count = 0n;
  return () => ((BigInt(now() - DISCORD_EPOCH_MS) << 22n) | (count++ & 0xfffn)).toString();
}

const ALL_PERMISSIONS = Object.values(PermissionFlagsBits).reduce((all, bit) => all | bit, 0n);

/** What a member may do in a channel. Source: Discord's documentation, Permissions, "Permission Overwrites". */
export function permissionsIn(world: World, channel: PeerChannel, userId: string): bigint {
  if (channel.guildId === undefined) return ALL_PERMISSIONS;
  const { guild } = world;
  const member = world.members.get(userId);
  if (member === undefined) return 0n;
  const roles = guild.roles.filter((role) => role.id === guild.id || member.roles.includes(role.id));
  const base = roles.reduce((sum, role) => sum | BigInt(role.permissions), 0n);
  if (guild.ownerId === userId || (base & PermissionFlagsBits.Administrator) !== 0n) return ALL_PERMISSIONS;
  const parent = channel.parentId === undefined ? channel : world.channels.get(channel.parentId)!;
  const ofEveryone = parent.overwrites.filter((entry) => entry.id === guild.id);
  const ofRoles = parent.overwrites.filter((entry) => member.roles.includes(entry.id));
  const ofMember = parent.overwrites.filter((entry) => entry.id === userId);
  return [ofEveryone, ofRoles, ofMember].reduce(applied, base);
}

function applied(permissions: bigint, overwrites: readonly Overwrite[]): bigint {
  const deny = overwrites.reduce((sum, entry) => sum | entry.deny, 0n);
  const allow = overwrites.reduce((sum, entry) => sum | entry.allow, 0n);
  return (permissions & ~deny) | allow;
}

/** Takes a permission from one member in one channel. */
export function denyIn(channel: PeerChannel, userId: string, permission: keyof typeof PermissionFlagsBits): void {
  channel.overwrites.push({
    id: userId,
    type: OverwriteType.Member,
    allow: 0n,
    deny: PermissionFlagsBits[permission],
  });
}

export function apiUser(user: PeerUser) {
  return {
    id: user.id,
    username: user.username,
    discriminator: user.isBot ? '0001' : '0',
    global_name: user.isBot ? null : user.username,
    avatar: null,
    bot: user.isBot,
    public_flags: 0,
    flags: 0,
    primary_guild: null,
  };
}

export function apiMember(world: World, user: PeerUser) {
  return {
    user: apiUser(user),
    nick: null,
    avatar: null,
    banner: null,
    roles: world.members.get(user.id)?.roles ?? [],
    joined_at: '2024-01-01T00:00:00.000000+00:00',
    premium_since: null,
    communication_disabled_until: null,
    pending: false,
    deaf: false,
    mute: false,
    flags: 0,
  };
}

export function apiChannel(channel: PeerChannel) {
  const shared = { id: channel.id, type: channel.type, last_message_id: null };
  if (channel.type === ChannelType.DM) return { ...shared, flags: 0, recipients: [apiUser(channel.recipient!)] };
  return {
    ...shared,
    name: channel.name,
    guild_id: channel.guildId,
    parent_id: channel.parentId ?? null,
    position: 0,
    nsfw: false,
    permission_overwrites: channel.overwrites.map((entry) => ({
      id: entry.id,
      type: entry.type,
      allow: entry.allow.toString(),
      deny: entry.deny.toString(),
    })),
    ...(channel.type === ChannelType.PublicThread && {
      owner_id: channel.id,
      message_count: 0,
      member_count: 1,
      thread_metadata: {
        archived: false,
        auto_archive_duration: 1440,
        archive_timestamp: '2024-01-01T00:00:00.000000+00:00',
        locked: false,
      },
    }),
  };
}

/** How long a signed address of a file is good: a day, as Discord's are. */
const ADDRESS_LIFETIME_MS = 24 * 60 * 60 * 1000;

/** Keeps a file and gives its signed address, which expires. */
export function storeFile(world: World, at: { channelId: string; name: string; type: string }, bytes: Uint8Array) {
  const id = world.newId();
  const path = `/attachments/${at.channelId}/${id}/${encodeURIComponent(at.name)}`;
  world.files.set(path, { bytes, type: at.type });
  const expires = Math.floor((world.now() + ADDRESS_LIFETIME_MS) / 1000).toString(16);
  const url = `${world.origin}${path}?ex=${expires}&is=${Math.floor(world.now() / 1000).toString(16)}&hm=${id}`;
  return { id, filename: at.name, size: bytes.byteLength, url, proxy_url: url, content_type: at.type };
}

/** A stored file by its signed address; undefined if the address is wrong or has expired. */
export function fileAt(world: World, address: URL) {
  const file = world.files.get(address.pathname);
  const isSigned = address.searchParams.get('hm') === address.pathname.split('/')[3];
  const expiresAtMs = Number.parseInt(address.searchParams.get('ex') ?? '0', 16) * 1000;
  return file !== undefined && isSigned && expiresAtMs > world.now() ? file : undefined;
}
