import { join } from 'node:path';
import {
  Client,
  DiscordjsErrorCodes,
  Events,
  GatewayDispatchEvents,
  GatewayIntentBits,
  Options,
  Routes,
} from 'discord.js';
import type { Logger } from 'pino';
import type { Command } from '../../commands/command.ts';
import type { DiscordConfig } from '../../shared/config.ts';
import { UserError } from '../../shared/errors.ts';
import type { ReplyTo } from '../../shared/jobs.ts';
import { createPendingWork } from '../pending-work.ts';
import { type BotInbox, type MessageRef, type Platform, type Reply, UnreachableError } from '../platform.ts';
import { isCode, isUnreachable, request } from './api-errors.ts';
import { type Bridge, messageOf, postMessage } from './bridge.ts';
import { commandPayloads } from './command-payload.ts';
import { sendDirect } from './direct.ts';
import { findPosted } from './find-posted.ts';
import { createFormDrafts } from './form-drafts.ts';
import { onInteraction } from './interactions.ts';
import { channelIdOf } from './people.ts';
import { missingInChannel, permissionText } from './permissions.ts';
import { onReaction } from './reactions.ts';
import { registerCommands } from './register-commands.ts';

export interface DiscordOptions {
  readonly config: DiscordConfig;
  readonly commands: readonly Command[];
  /** Folder for forms that are open on somebody's screen. */
  readonly dataDir: string;
  readonly maxUploadBytes: number;
  readonly log: Logger;
}

/** None of them is privileged: contents of messages are not read. */
const INTENTS = [
  GatewayIntentBits.Guilds,
  GatewayIntentBits.GuildMessageReactions,
  GatewayIntentBits.DirectMessageReactions,
];
const REQUEST_TIMEOUT_MS = 30_000;
const LARGE_UPLOAD_REFUSED = 40005;
/** Every server takes files of this size. */
const SMALLEST_LIMIT_BYTES = 8 * 2 ** 20;
const UNKNOWN_MESSAGE = 10008;

/** Discord as a chat platform. */
export function createDiscordPlatform(options: DiscordOptions): Platform {
  const { config, log } = options;
  const pending = createPendingWork(log);
  let bridge: Bridge | undefined;
  const connected = (): Bridge => {
    if (bridge === undefined) throw new Error('Cannot use Discord: the platform must be started first');
    return bridge;
  };

  function listen(to: Bridge): void {
    const { client } = to;
    client.on(Events.InteractionCreate, (interaction) =>
      pending.track('answer an interaction', onInteraction(to, interaction)),
    );
    client.ws.on(GatewayDispatchEvents.MessageReactionAdd, (data) =>
      pending.track('answer a reaction', onReaction(to, data)),
    );
    client.on(Events.Error, (error) => log.error({ err: error }, 'Discord connection failed'));
    client.on(Events.ShardDisconnect, ({ code }, shard) => log.error({ code, shard }, 'Discord closed the connection'));
    client.on(Events.ShardReconnecting, (shard) => log.info({ shard }, 'Connecting to Discord again'));
  }

  async function start(inbox: BotInbox): Promise<void> {
    const client = createClient(options);
    const ready = new Promise<void>((resolve) => client.once(Events.ClientReady, () => resolve()));
    bridge = {
      client,
      inbox,
      commands: new Map(options.commands.map((command) => [command.name, command])),
      drafts: createFormDrafts(join(options.dataDir, 'discord-forms')),
      log,
      maxUploadBytes: options.maxUploadBytes,
      testOrigin: config.api === undefined ? undefined : new URL(config.api).origin,
    };
    listen(bridge);
    try {
      await login(client, config.token);
      await ready;
      const scope = { applicationId: client.application!.id, serverId: config.serverId };
      const isWritten = await registerCommands(client.rest, scope, commandPayloads(options.commands));
      log.info({ isWritten, servers: client.guilds.cache.size }, 'Connected to Discord');
    } catch (error) {
      // The next start takes a client of its own.
      await client.destroy();
      throw isUnreachable(error)
        ? new UnreachableError(`Cannot reach Discord: ${error.message}`, { cause: error })
        : error;
    }
  }

  return {
    name: 'discord',
    start,
    post: (to, reply, key) => post(connected(), to, { reply, key }),
    findPosted: (to, key) => findPosted(connected(), to, key),
    edit: (message, reply) => edit(connected(), message, reply),
    remove: (message) => remove(connected().client, message),
    sendDirect: async (to, reply) => {
      await sendDirect(connected(), to, reply);
    },
    isReady: () => bridge?.client.isReady() ?? false,
    stop: async () => {
      bridge?.client.removeAllListeners(Events.InteractionCreate);
      bridge?.client.ws.removeAllListeners(GatewayDispatchEvents.MessageReactionAdd);
      await pending.settle();
      await bridge?.client.destroy();
    },
  };
}

async function login(client: Client, token: string): Promise<void> {
  try {
    await client.login(token);
  } catch (cause) {
    const isWrong = (cause as { code?: unknown }).code === DiscordjsErrorCodes.TokenInvalid;
    if (!isWrong) throw cause;
    throw new UserError('Cannot connect to Discord: DISCORD_TOKEN must be the token of a bot, got another one', {
      cause,
    });
  }
}

function createClient({ config }: DiscordOptions): Client {
  const { shards } = config;
  return new Client({
    intents: INTENTS,
    allowedMentions: { parse: [] },
    // Messages are found in our own tables, and members are asked for where they matter.
    makeCache: Options.cacheWithLimits({ ...Options.DefaultMakeCacheSettings, MessageManager: 0, ReactionManager: 0 }),
    rest: { timeout: REQUEST_TIMEOUT_MS, ...(config.api !== undefined && { api: config.api }) },
    ...(shards === undefined ? { shards: 'auto' as const } : { shards: [...shards.ids], shardCount: shards.count }),
  });
}

/** A result as a message of its own, which names its owner. Discord makes a message of one nonce once in a few minutes. */
async function post(bridge: Bridge, to: ReplyTo, { reply, key }: { reply: Reply; key: string }): Promise<MessageRef> {
  const id = channelIdOf(to.place);
  const send = async (uploadLimitBytes: number) => {
    const { body, files } = await messageOf(bridge, reply, { uploadLimitBytes, isMentioning: true, key });
    return postMessage(bridge, id, { body: { ...body, nonce: key, enforce_nonce: true }, files });
  };
  const posted = await request(
    'post a result',
    () =>
      send(to.uploadLimitBytes).catch((error: unknown) => {
        // A server that lost its boosts takes less than it said.
        if (!isCode(error, LARGE_UPLOAD_REFUSED)) throw error;
        return send(SMALLEST_LIMIT_BYTES);
      }),
    () => missingText(bridge, id),
  );
  const { channelId, threadId } = to.place;
  return { platform: 'discord', channelId, messageId: posted.id, threadId };
}

function missingText({ client }: Bridge, channelId: string): string | undefined {
  const missing = missingInChannel(client, channelId) ?? [];
  return missing.length > 0 ? permissionText(missing) : undefined;
}

/** Edits with the bot's own token, which does not run out after 15 minutes. */
async function edit(bridge: Bridge, message: MessageRef, reply: Reply): Promise<void> {
  const { body, files } = await messageOf(bridge, reply);
  const route = Routes.channelMessage(channelIdOf(message), message.messageId);
  await request('edit a message', () => bridge.client.rest.patch(route, { body, files }));
}

async function remove(client: Client, message: MessageRef): Promise<void> {
  const route = Routes.channelMessage(channelIdOf(message), message.messageId);
  await request('delete a message', () =>
    client.rest.delete(route).catch((error: unknown) => {
      if (!isCode(error, UNKNOWN_MESSAGE)) throw error;
    }),
  );
}
