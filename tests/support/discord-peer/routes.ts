/** The part of Discord's REST API, version 10, that a picture bot uses. */
import { ApplicationCommandType } from 'discord.js';
import {
  ApplicationCommandUpdateRequestSchema,
  CreatePrivateChannelRequestSchema,
  MessageCreateRequestSchema,
  MessageEditRequestPartialSchema,
} from 'discord-api-spec/zod';
import * as z from 'zod/mini';
import { apiError } from './api-error.ts';
import type { PeerInteraction } from './interactions.ts';
import { answer, deleteOriginal, editOriginal, followUp, originalOf } from './interactions.ts';
import type { MessageBody } from './message-rules.ts';
import { createMessage, demand, editMessage, findMessage, visibleChannel } from './messages.ts';
import { checkBody, type SentBody } from './request-body.ts';
import { apiChannel, apiMember, apiUser, type PeerChannel, permissionsIn, type World } from './world.ts';

export interface RegisteredCommand {
  readonly id: string;
  readonly name: string;
  readonly type: ApplicationCommandType;
  readonly default_member_permissions: string | null;
  readonly contexts: readonly number[] | null;
  readonly options: readonly RegisteredOption[];
}

export interface RegisteredOption {
  readonly type: number;
  readonly name: string;
  readonly required?: boolean;
  readonly autocomplete?: boolean;
  readonly choices?: readonly { readonly name: string; readonly value: string | number }[];
}

export interface RouteState {
  readonly world: World;
  readonly interactions: Map<string, PeerInteraction>;
  /** By scope: a guild's id, or 'global'. */
  readonly commands: Map<string, RegisteredCommand[]>;
  /** How often commands were written. */
  registrations: number;
  /** People who do not take direct messages. */
  readonly closedToDirect: Set<string>;
  readonly directChannel: (userId: string) => PeerChannel;
}

export interface Call {
  readonly params: readonly string[];
  readonly query: URLSearchParams;
  readonly sent: SentBody;
}

export interface Route {
  readonly method: string;
  readonly path: RegExp;
  /** Interactions are answered by their token alone. */
  readonly isOpen?: boolean;
  /** @returns what is answered; undefined answers 204 */
  readonly answer: (state: RouteState, call: Call) => unknown;
}

export const ROUTES: readonly Route[] = [
  {
    method: 'GET',
    path: /^\/gateway\/bot$/,
    answer: ({ world }) => ({
      url: `${world.origin.replace('http', 'ws')}/gateway`,
      shards: 1,
      session_start_limit: { total: 1000, remaining: 999, reset_after: 14_400_000, max_concurrency: 1 },
    }),
  },
  { method: 'GET', path: /^\/users\/@me$/, answer: ({ world }) => apiUser(world.bot) },
  {
    method: 'GET',
    path: /^\/users\/@me\/guilds$/,
    answer: ({ world }) => [
      { id: world.guild.id, name: world.guild.name, owner: false, permissions: guildPermissions(world) },
    ],
  },
  {
    method: 'GET',
    path: /^\/applications\/@me$/,
    answer: ({ world }) => ({
      id: world.applicationId,
      name: 'Sketchbooth',
      description: '',
      flags: 0,
      bot_public: true,
      interactions_endpoint_url: world.interactionsEndpoint,
    }),
  },
  {
    method: 'GET',
    path: /^\/applications\/(\d+)(?:\/guilds\/(\d+))?\/commands$/,
    answer: ({ commands }, { params: [, guildId] }) => commands.get(guildId ?? 'global') ?? [],
  },
  {
    method: 'PUT',
    path: /^\/applications\/(\d+)(?:\/guilds\/(\d+))?\/commands$/,
    answer: putCommands,
  },
  { method: 'POST', path: /^\/users\/@me\/channels$/, answer: openDirectChannel },
  {
    method: 'GET',
    path: /^\/guilds\/(\d+)\/members\/(\d+)$/,
    answer: ({ world }, { params: [, userId] }) => {
      const member = world.members.get(userId!);
      if (member === undefined) throw apiError('unknownMember');
      return apiMember(world, member.user);
    },
  },
  { method: 'GET', path: /^\/channels\/(\d+)\/messages$/, answer: listMessages },
  { method: 'POST', path: /^\/channels\/(\d+)\/messages$/, answer: postMessage },
  {
    method: 'GET',
    path: /^\/channels\/(\d+)\/messages\/(\d+)$/,
    answer: ({ world }, { params: [channelId, messageId] }) =>
      findMessage(visibleChannel(world, channelId!), messageId!).api,
  },
  { method: 'PATCH', path: /^\/channels\/(\d+)\/messages\/(\d+)$/, answer: patchMessage },
  { method: 'DELETE', path: /^\/channels\/(\d+)\/messages\/(\d+)$/, answer: deleteMessage },
  { method: 'POST', path: /^\/interactions\/(\d+)\/([\w-]+)\/callback$/, isOpen: true, answer: callback },
  {
    method: 'GET',
    path: /^\/webhooks\/(\d+)\/([\w-]+)\/messages\/(?:@|%40)original$/,
    isOpen: true,
    answer: (state, call) => originalOf(state.world, interactionOf(state, call)).api,
  },
  {
    method: 'PATCH',
    path: /^\/webhooks\/(\d+)\/([\w-]+)\/messages\/(?:@|%40)original$/,
    isOpen: true,
    answer: (state, call) => editOriginal(state.world, interactionOf(state, call), call.sent).api,
  },
  {
    method: 'DELETE',
    path: /^\/webhooks\/(\d+)\/([\w-]+)\/messages\/(?:@|%40)original$/,
    isOpen: true,
    answer: (state, call) => deleteOriginal(state.world, interactionOf(state, call)),
  },
  {
    method: 'POST',
    path: /^\/webhooks\/(\d+)\/([\w-]+)$/,
    isOpen: true,
    answer: (state, call) => followUp(state.world, interactionOf(state, call), call.sent).api,
  },
];

function guildPermissions(world: World): string {
  const text = [...world.channels.values()].find((channel) => channel.guildId !== undefined)!;
  return permissionsIn(world, { ...text, overwrites: [] }, world.bot.id).toString();
}

function putCommands(state: RouteState, { params: [, guildId], sent }: Call) {
  checkBody(z.array(ApplicationCommandUpdateRequestSchema), sent.json);
  const scope = guildId ?? 'global';
  const earlier = state.commands.get(scope) ?? [];
  const written = (sent.json as Partial<RegisteredCommand>[]).map((command) => {
    const type = command.type ?? ApplicationCommandType.ChatInput;
    const known = earlier.find((one) => one.name === command.name && one.type === type);
    const permissions = command.default_member_permissions;
    return {
      id: known?.id ?? state.world.newId(),
      application_id: state.world.applicationId,
      version: state.world.newId(),
      nsfw: false,
      dm_permission: true,
      description: '',
      integration_types: [0],
      name_localizations: null,
      description_localizations: null,
      contexts: null,
      options: [],
      ...command,
      name: command.name!,
      type,
      default_member_permissions: permissions === undefined || permissions === null ? null : String(permissions),
    };
  });
  state.commands.set(scope, written);
  state.registrations += 1;
  return written;
}

function openDirectChannel({ directChannel }: RouteState, { sent }: Call) {
  checkBody(CreatePrivateChannelRequestSchema, sent.json);
  return apiChannel(directChannel((sent.json as { recipient_id: string }).recipient_id));
}

function listMessages({ world }: RouteState, { params: [channelId], query }: Call) {
  const channel = visibleChannel(world, channelId!);
  demand(world, channel, 'ReadMessageHistory');
  const limit = Number(query.get('limit') ?? 50);
  if (!(limit >= 1 && limit <= 100)) throw apiError('invalidFormBody', [`limit: must be 1 to 100, got ${limit}`]);
  const before = query.get('before');
  const end = before === null ? undefined : channel.messages.findIndex((message) => message.api.id === before);
  const visible = channel.messages.slice(0, end).filter((message) => message.onlyFor === undefined);
  // A nonce comes back to the sender only when the message is created.
  return visible
    .slice(-limit)
    .reverse()
    .map(({ api: { nonce, ...message } }) => message);
}

function postMessage({ world, closedToDirect }: RouteState, { params: [channelId], sent }: Call) {
  checkBody(MessageCreateRequestSchema, sent.json);
  const channel = visibleChannel(world, channelId!);
  if (closedToDirect.has(channel.recipient?.id ?? '')) throw apiError('cannotSendToUser');
  demand(world, channel, channel.parentId === undefined ? 'SendMessages' : 'SendMessagesInThreads');
  if (sent.files.length > 0) demand(world, channel, 'AttachFiles');
  const answered = (sent.json as MessageBody).message_reference?.message_id;
  if (answered !== undefined) {
    demand(world, channel, 'ReadMessageHistory');
    findMessage(channel, answered);
  }
  return createMessage(world, { channel, author: world.bot, sent }).api;
}

function patchMessage({ world }: RouteState, { params: [channelId, messageId], sent }: Call) {
  checkBody(MessageEditRequestPartialSchema, sent.json);
  const channel = visibleChannel(world, channelId!);
  const message = findMessage(channel, messageId!);
  if (message.api.author.id !== world.bot.id) throw apiError('notYourMessage');
  if (sent.files.length > 0) demand(world, channel, 'AttachFiles');
  editMessage(world, message, sent);
  return message.api;
}

function deleteMessage({ world }: RouteState, { params: [channelId, messageId] }: Call): void {
  const channel = visibleChannel(world, channelId!);
  const message = findMessage(channel, messageId!);
  if (message.api.author.id !== world.bot.id) demand(world, channel, 'ManageMessages');
  channel.messages.splice(channel.messages.indexOf(message), 1);
}

function callback(state: RouteState, { params: [id, token], query, sent }: Call) {
  const interaction = state.interactions.get(token!);
  if (interaction === undefined || interaction.id !== id) throw apiError('unknownInteraction');
  answer(state.world, interaction, sent);
  if (query.get('with_response') !== 'true') return undefined;
  const { original, type } = interaction;
  return {
    interaction: { id, type, ...(original && { response_message_id: original.api.id }) },
    resource: { type: (sent.json as { type: number }).type, ...(original && { message: original.api }) },
  };
}

function interactionOf({ world, interactions }: RouteState, { params: [applicationId, token] }: Call): PeerInteraction {
  const interaction = interactions.get(token!);
  if (applicationId !== world.applicationId || interaction === undefined) throw apiError('unknownWebhook');
  return interaction;
}
