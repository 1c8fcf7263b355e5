/** A Discord of its own on this machine: what people do there is called here, and what the bot did can be seen. */
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { setTimeout as setTimeoutAsync } from 'node:timers/promises';
import {
  type APIRole,
  ApplicationCommandType,
  ChannelType,
  ComponentType,
  GatewayDispatchEvents,
  GatewayIntentBits,
  type InteractionType,
  PermissionFlagsBits,
  type RoleFlags,
} from 'discord.js';
import { type ApiServer, createApiServer, type Fault } from './api-server.ts';
import { createGateway, type Gateway } from './gateway.ts';
import {
  autocompleteData,
  type GivenFile,
  INTERACTION_TYPES,
  interactionPayload,
  modalSubmitData,
  reactionPayload,
  type Scene,
  slashCommandData,
} from './interaction-payload.ts';
import type { PeerInteraction } from './interactions.ts';
import { textOf } from './message-rules.ts';
import { createMessage } from './messages.ts';
import type { RegisteredCommand, RouteState } from './routes.ts';
import {
  denyIn,
  fileAt,
  type PeerChannel,
  type PeerUser,
  type StoredMessage,
  snowflakes,
  type World,
} from './world.ts';

export type { Fault } from './api-server.ts';
export type { GivenFile } from './interaction-payload.ts';
export type { PeerInteraction } from './interactions.ts';
export type { PeerChannel, PeerUser, StoredMessage } from './world.ts';

export interface PeerOptions {
  readonly attachmentSizeLimit?: number;
  /** How long an interaction may stay unanswered; Discord's is 3 seconds. */
  readonly answerLimitMs?: number;
}

/** Where and by whom something is done; the first channel and the first person unless told otherwise. */
export interface Who {
  readonly user?: PeerUser;
  readonly channel?: PeerChannel;
}

export interface DiscordPeer {
  /** What the bot takes as its API. */
  readonly api: string;
  readonly token: string;
  readonly bot: PeerUser;
  readonly guildId: string;
  readonly channel: PeerChannel;
  /** A person without special permissions. */
  readonly ada: PeerUser;
  readonly ben: PeerUser;
  /** May manage messages. */
  readonly moderator: PeerUser;
  readonly gateway: Gateway;
  readonly requests: ApiServer['requests'];
  readonly violations: readonly string[];
  commands(scope?: string): readonly RegisteredCommand[];
  registrations(): number;
  slashCommand(
    name: string,
    given?: Who & {
      options?: Readonly<Record<string, string | number | boolean>>;
      attachments?: Readonly<Record<string, GivenFile>>;
      /** Delivered twice, as Discord may. */
      isTwice?: boolean;
    },
  ): PeerInteraction;
  messageCommand(name: string, message: StoredMessage, who?: Who): PeerInteraction;
  /** Presses the button whose label or custom id begins so. */
  press(message: StoredMessage, button: string, who?: Who): PeerInteraction;
  submitModal(
    form: PeerInteraction,
    values: Readonly<Record<string, string | boolean | readonly GivenFile[]>>,
  ): PeerInteraction;
  autocomplete(command: string, option: string, typed: string, who?: Who): PeerInteraction;
  react(message: StoredMessage, emoji: string, options?: Who & { isBurst?: boolean }): void;
  /** A person writes a message with files. */
  say(text: string, files: readonly GivenFile[], who?: Who): StoredMessage;
  /** Messages that everybody sees, oldest first. */
  messages(channel?: PeerChannel): readonly StoredMessage[];
  /** Messages that only this person sees, oldest first. */
  privateMessages(user: PeerUser, channel?: PeerChannel): readonly StoredMessage[];
  directChannel(user: PeerUser): PeerChannel;
  closeDirect(user: PeerUser): void;
  thread(name: string): PeerChannel;
  deny(permission: keyof typeof PermissionFlagsBits, channel?: PeerChannel): void;
  removeMessage(message: StoredMessage): void;
  text(message: StoredMessage): string;
  /** The bytes of a message's attachments. */
  files(message: StoredMessage): readonly { name: string; description: string | undefined; bytes: Uint8Array }[];
  fail(fault: Fault): void;
  /** What only whoever owns application and server can change. */
  readonly world: Pick<World, 'guild' | 'interactionsEndpoint'>;
  /** Moves the peer's clock on. */
  advance(ms: number): void;
  /** Waits until there is something. @throws Error after the time */
  until<T>(look: () => T | undefined | false, what: string, timeoutMs?: number): Promise<T>;
  close(): Promise<void>;
}

const TOKEN = 'MTAwMDAwMDAwMDAwMDAwMDAx.GpeerA.the-token-of-the-test-peer-000000000000';
const MEBIBYTE = 2 ** 20;
const LOOK_MS = 10;
const BOT_PERMISSIONS =
  PermissionFlagsBits.ViewChannel |
  PermissionFlagsBits.SendMessages |
  PermissionFlagsBits.SendMessagesInThreads |
  PermissionFlagsBits.AttachFiles |
  PermissionFlagsBits.EmbedLinks |
  PermissionFlagsBits.ReadMessageHistory |
  PermissionFlagsBits.AddReactions;
const PERSON_PERMISSIONS = BOT_PERMISSIONS | PermissionFlagsBits.UseApplicationCommands;

/** Starts a peer on a free port. */
export async function startDiscordPeer({
  attachmentSizeLimit = 10 * MEBIBYTE,
  answerLimitMs = 3000,
}: PeerOptions = {}): Promise<DiscordPeer> {
  let aheadMs = 0;
  const now = () => Date.now() + aheadMs;
  const newId = snowflakes(now);
  const timers = new Set<NodeJS.Timeout>();
  const stateHolder: { state?: RouteState } = {};
  const served = createApiServer(() => stateHolder.state!);
  served.server.listen(0, '127.0.0.1');
  await once(served.server, 'listening');
  const origin = `http://127.0.0.1:${(served.server.address() as AddressInfo).port}`;

  const person = (username: string, isBot = false): PeerUser => ({ id: newId(), username, isBot });
  const [bot, ada, ben, moderator] = [person('sketchbooth', true), person('ada'), person('ben'), person('mod')];
  const guildId = newId();
  const moderators = newId();
  const world: World = {
    origin,
    applicationId: newId(),
    token: TOKEN,
    bot,
    guild: {
      id: guildId,
      name: 'Studio',
      ownerId: newId(),
      roles: [
        role(guildId, '@everyone', PERSON_PERMISSIONS),
        role(moderators, 'moderators', PERSON_PERMISSIONS | PermissionFlagsBits.ManageMessages),
      ],
    },
    members: new Map([bot, ada, ben, moderator].map((user) => [user.id, { user, roles: [] as string[] }])),
    channels: new Map(),
    files: new Map(),
    interactionsEndpoint: null,
    attachmentSizeLimit,
    now,
    newId,
  };
  world.members.get(moderator.id)!.roles.push(moderators);
  const channel = addChannel({ type: ChannelType.GuildText, name: 'sketches', guildId });
  const state: RouteState = {
    world,
    interactions: new Map(),
    commands: new Map(),
    registrations: 0,
    closedToDirect: new Set(),
    directChannel: (userId) => directChannel(world.members.get(userId)!.user),
  };
  stateHolder.state = state;
  const gateway = createGateway(world, served.server);

  function addChannel(fields: Omit<PeerChannel, 'id' | 'overwrites' | 'messages'>): PeerChannel {
    const added: PeerChannel = { id: newId(), overwrites: [], messages: [], ...fields };
    world.channels.set(added.id, added);
    return added;
  }

  function directChannel(user: PeerUser): PeerChannel {
    const known = [...world.channels.values()].find((one) => one.recipient === user);
    return known ?? addChannel({ type: ChannelType.DM, name: user.username, guildId: undefined, recipient: user });
  }

  function scene({ user = ada, channel: where = channel }: Who): Scene {
    return { world, user, channel: where };
  }

  function interact(
    kind: keyof typeof INTERACTION_TYPES,
    at: Scene,
    { data, message, isFromModal = false, isTwice = false }: Interacting,
  ): PeerInteraction {
    const id = newId();
    const token = `aW50ZXJhY3Rpb24-${id}`;
    const type: InteractionType = INTERACTION_TYPES[kind];
    const payload = {
      ...interactionPayload(at, id, token),
      type,
      data,
      ...(message && { message: message.api }),
    };
    const interaction: PeerInteraction = {
      id,
      token,
      type,
      user: at.user,
      channel: at.channel,
      payload,
      message,
      isFromModal,
      createdAtMs: now(),
      sentAt: performance.now(),
      state: 'waiting',
      original: undefined,
      followUps: [],
    };
    state.interactions.set(token, interaction);
    const timer = setTimeout(() => {
      timers.delete(timer);
      if (interaction.state !== 'waiting') return;
      interaction.state = 'missed';
      served.violations.push(`interaction ${kind} was not answered within ${answerLimitMs} ms`);
    }, answerLimitMs);
    timers.add(timer);
    for (let count = isTwice ? 2 : 1; count > 0; count--) {
      gateway.dispatch(GatewayDispatchEvents.InteractionCreate, payload, {
        isInGuild: at.channel.guildId !== undefined,
      });
    }
    return interaction;
  }

  function commandNamed(name: string): RegisteredCommand {
    const command = [...state.commands.values()].flat().find((one) => one.name === name);
    if (command === undefined) throw new Error(`No command ${name} is registered`);
    return command;
  }

  const peer: DiscordPeer = {
    api: `${origin}/api`,
    token: TOKEN,
    bot,
    guildId,
    channel,
    ada,
    ben,
    moderator,
    gateway,
    requests: served.requests,
    violations: served.violations,
    commands: (scope = 'global') => state.commands.get(scope) ?? [],
    registrations: () => state.registrations,
    slashCommand(name, { options = {}, attachments = {}, isTwice = false, ...who } = {}) {
      const at = scene(who);
      const data = slashCommandData(at, commandNamed(name), { options, attachments });
      return interact('command', at, { data, isTwice });
    },
    messageCommand(name, message, who = {}) {
      const at = scene({ channel: world.channels.get(message.channelId)!, ...who });
      const command = commandNamed(name);
      if (command.type !== ApplicationCommandType.Message) throw new Error(`${name} is no message command`);
      const { id, type } = command;
      const resolved = { messages: { [message.api.id]: message.api } };
      return interact('command', at, { data: { id, name, type, target_id: message.api.id, resolved } });
    },
    press(message, button, who = {}) {
      const at = scene({ channel: world.channels.get(message.channelId)!, ...who });
      const found = buttonsOf(message).find((one) => one.label === button || one.custom_id.startsWith(button));
      if (found === undefined) throw new Error(`The message has no button ${button}`);
      const data = { component_type: ComponentType.Button, custom_id: found.custom_id };
      return interact('press', at, { data, message });
    },
    submitModal(form, values) {
      if (form.modal === undefined) throw new Error('The interaction showed no form');
      const at = scene(form);
      const data = modalSubmitData(at, form.modal, values);
      return interact('modal', at, { data, message: form.message, isFromModal: true });
    },
    autocomplete(command, option, typed, who = {}) {
      return interact('autocomplete', scene(who), { data: autocompleteData(commandNamed(command), option, typed) });
    },
    react(message, emoji, { isBurst = false, ...who } = {}) {
      const at = scene({ channel: world.channels.get(message.channelId)!, ...who });
      const target = { id: message.api.id, authorId: message.api.author.id };
      const isInGuild = at.channel.guildId !== undefined;
      const intent = isInGuild ? GatewayIntentBits.GuildMessageReactions : GatewayIntentBits.DirectMessageReactions;
      const data = reactionPayload(at, target, { name: emoji, isBurst });
      gateway.dispatch(GatewayDispatchEvents.MessageReactionAdd, data, { isInGuild, intent });
    },
    say(text, files, who = {}) {
      const { user, channel: where } = scene(who);
      const sent = {
        json: { content: text, allowed_mentions: { parse: [] } },
        files: files.map((file, index) => ({ index, ...file })),
      };
      return createMessage(world, { channel: where, author: user, sent });
    },
    messages: (where = channel) => where.messages.filter((message) => message.onlyFor === undefined),
    privateMessages: (user, where = channel) => where.messages.filter((message) => message.onlyFor === user.id),
    directChannel,
    closeDirect: (user) => void state.closedToDirect.add(user.id),
    thread: (name) => addChannel({ type: ChannelType.PublicThread, name, guildId, parentId: channel.id }),
    deny: (permission, where = channel) => denyIn(where, bot.id, permission),
    removeMessage(message) {
      const { messages } = world.channels.get(message.channelId)!;
      messages.splice(messages.indexOf(message), 1);
    },
    text: (message) => textOf(message.api as Parameters<typeof textOf>[0]),
    files: (message) =>
      message.api.attachments.map(({ filename, description, url }) => {
        const { bytes } = fileAt(world, new URL(url))!;
        return { name: filename, description, bytes };
      }),
    world,
    fail: (fault) => void served.faults.push(fault),
    advance(ms) {
      aheadMs += ms;
    },
    async until<T>(look: () => T | undefined | false, what: string, timeoutMs = 10_000): Promise<T> {
      const endsAt = performance.now() + timeoutMs;
      while (performance.now() < endsAt) {
        const found = look();
        if (found !== undefined && found !== false) return found;
        await setTimeoutAsync(LOOK_MS);
      }
      throw new Error(`Waited ${timeoutMs} ms for ${what}; violations: ${served.violations.join('; ')}`);
    },
    async close() {
      for (const timer of timers) clearTimeout(timer);
      await gateway.close();
      served.server.closeAllConnections();
      await new Promise((resolve) => served.server.close(resolve));
    },
  };
  return peer;
}

interface Interacting {
  readonly data: unknown;
  readonly message?: StoredMessage | undefined;
  readonly isFromModal?: boolean;
  readonly isTwice?: boolean;
}

function role(id: string, name: string, permissions: bigint): APIRole {
  return {
    id,
    name,
    permissions: permissions.toString(),
    color: 0,
    colors: { primary_color: 0, secondary_color: null, tertiary_color: null },
    hoist: false,
    position: 0,
    managed: false,
    mentionable: false,
    flags: 0 as RoleFlags,
  };
}

/** The buttons under a message, in their order. */
export function buttonsOf(message: StoredMessage): { label: string; custom_id: string }[] {
  return (message.api.components ?? []).flatMap((row) =>
    row.type === ComponentType.ActionRow
      ? row.components.flatMap((part) => ('custom_id' in part ? [part as { label: string; custom_id: string }] : []))
      : [],
  );
}
