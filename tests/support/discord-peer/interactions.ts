/** What becomes of an interaction: answered within 3 seconds, then for 15 minutes through its token. */
import {
  type APIModalInteractionResponseCallbackData,
  ComponentType,
  InteractionResponseType,
  InteractionType,
  MessageFlags,
  MessageType,
} from 'discord.js';
import {
  ApplicationCommandAutocompleteCallbackRequestSchema,
  CreateMessageInteractionCallbackRequestSchema,
  IncomingWebhookInteractionRequestSchema,
  IncomingWebhookUpdateRequestPartialSchema,
  ModalInteractionCallbackRequestSchema,
  UpdateMessageInteractionCallbackRequestSchema,
} from 'discord-api-spec/zod';
import type { ZodMiniType } from 'zod/mini';
import { apiError } from './api-error.ts';
import type { MessageBody } from './message-rules.ts';
import { createMessage, editMessage, isEphemeral } from './messages.ts';
import { checkBody, type SentBody } from './request-body.ts';
import type { PeerChannel, PeerUser, StoredMessage, World } from './world.ts';

export interface PeerInteraction {
  readonly id: string;
  readonly token: string;
  readonly type: InteractionType;
  readonly user: PeerUser;
  readonly channel: PeerChannel;
  /** As it was dispatched. */
  readonly payload: unknown;
  /** Of a pressed button: the message that carries it. */
  readonly message: StoredMessage | undefined;
  readonly isFromModal: boolean;
  readonly createdAtMs: number;
  readonly sentAt: number;
  state: 'waiting' | 'answered' | 'missed';
  answeredAfterMs?: number;
  /** The message that answers it; undefined where the answer is none or was deleted. */
  original: StoredMessage | undefined;
  readonly followUps: StoredMessage[];
  modal?: APIModalInteractionResponseCallbackData;
  choices?: readonly { readonly name: string; readonly value: string | number }[];
}

const TOKEN_LIFETIME_MS = 15 * 60 * 1000;

interface Callback {
  readonly type: InteractionResponseType;
  readonly data?: MessageBody & APIModalInteractionResponseCallbackData & { choices?: PeerInteraction['choices'] };
}

const CALLBACK_SCHEMAS: Partial<Record<InteractionResponseType, ZodMiniType>> = {
  [InteractionResponseType.ChannelMessageWithSource]: CreateMessageInteractionCallbackRequestSchema,
  [InteractionResponseType.DeferredChannelMessageWithSource]: CreateMessageInteractionCallbackRequestSchema,
  [InteractionResponseType.DeferredMessageUpdate]: UpdateMessageInteractionCallbackRequestSchema,
  [InteractionResponseType.UpdateMessage]: UpdateMessageInteractionCallbackRequestSchema,
  [InteractionResponseType.ApplicationCommandAutocompleteResult]: ApplicationCommandAutocompleteCallbackRequestSchema,
  [InteractionResponseType.Modal]: ModalInteractionCallbackRequestSchema,
};

/**
 * Takes the first answer to an interaction.
 * @throws ApiError for a second answer, one that is late, or one that does not fit the interaction
 */
export function answer(world: World, interaction: PeerInteraction, sent: SentBody): void {
  const callback = sent.json as Callback;
  const schema = CALLBACK_SCHEMAS[callback.type];
  if (schema === undefined) throw apiError('invalidFormBody', [`type: got ${callback.type}`]);
  checkBody(schema, callback);
  if (interaction.state === 'missed') throw apiError('unknownInteraction');
  if (interaction.state === 'answered') throw apiError('alreadyAcknowledged');
  checkFits(interaction, callback);
  apply(world, interaction, { callback, sent });
  interaction.state = 'answered';
  interaction.answeredAfterMs = performance.now() - interaction.sentAt;
}

function checkFits({ type, message, isFromModal }: PeerInteraction, callback: Callback): void {
  const isAutocomplete = type === InteractionType.ApplicationCommandAutocomplete;
  const isChoices = callback.type === InteractionResponseType.ApplicationCommandAutocompleteResult;
  if (isAutocomplete !== isChoices) throw apiError('invalidFormBody', ['type: choices answer autocompletion only']);
  if (callback.type === InteractionResponseType.Modal) {
    if (isFromModal) throw apiError('invalidFormBody', ['type: a form cannot answer a form']);
    const count = callback.data?.components.length ?? 0;
    // Discord's documentation, "Modal": between 1 and 5 components; its description says 40.
    if (count > 5) throw apiError('invalidFormBody', [`data.components: must be 5 or fewer in length, got ${count}`]);
    for (const part of callback.data?.components ?? []) checkRequired(part);
  }
  const isUpdate = [InteractionResponseType.DeferredMessageUpdate, InteractionResponseType.UpdateMessage];
  if (isUpdate.includes(callback.type) && message === undefined)
    throw apiError('invalidFormBody', ['type: there is no message to update']);
  if (callback.type === InteractionResponseType.DeferredChannelMessageWithSource) {
    const others = (callback.data?.flags ?? 0) & ~MessageFlags.Ephemeral;
    if (others !== 0) throw apiError('invalidFormBody', ['data.flags: a deferral may be EPHEMERAL only']);
  }
}

/** Discord's documentation, "String Select" and "File Upload": what is required must not have min_values of 0. */
function checkRequired(part: APIModalInteractionResponseCallbackData['components'][number]): void {
  if (part.type !== ComponentType.Label) return;
  const { required = true, min_values = 1 } = part.component as { required?: boolean; min_values?: number };
  if (required && min_values === 0)
    throw apiError('invalidFormBody', [`${part.label}: min_values must be 1 if required`]);
}

function apply(
  world: World,
  interaction: PeerInteraction,
  { callback, sent }: { callback: Callback; sent: SentBody },
): void {
  const { data } = callback;
  const body = { json: data ?? {}, files: sent.files };
  switch (callback.type) {
    case InteractionResponseType.ChannelMessageWithSource:
      interaction.original = respond(world, interaction, body);
      break;
    case InteractionResponseType.DeferredChannelMessageWithSource:
      interaction.original = respond(world, interaction, { json: { ...data, content: '…' }, files: [] });
      interaction.original.isDeferred = true;
      break;
    case InteractionResponseType.UpdateMessage:
      editMessage(world, interaction.message!, body);
      interaction.original = interaction.message;
      break;
    case InteractionResponseType.DeferredMessageUpdate:
      interaction.original = interaction.message;
      break;
    case InteractionResponseType.Modal:
      interaction.modal = data!;
      break;
    default:
      interaction.choices = data?.choices ?? [];
  }
}

function respond(world: World, { channel, user, type }: PeerInteraction, sent: SentBody): StoredMessage {
  const onlyFor = isEphemeral((sent.json as MessageBody).flags) ? user.id : undefined;
  const kind = type === InteractionType.ApplicationCommand ? MessageType.ChatInputCommand : MessageType.Reply;
  return createMessage(world, { channel, author: world.bot, sent, onlyFor, type: kind });
}

/** @throws ApiError for a token that has run out, 15 minutes after the interaction */
function demandFresh(world: World, interaction: PeerInteraction): void {
  if (world.now() - interaction.createdAtMs > TOKEN_LIFETIME_MS) throw apiError('invalidWebhookToken');
  if (interaction.state !== 'answered') throw apiError('unknownWebhook');
}

export function originalOf(world: World, interaction: PeerInteraction): StoredMessage {
  demandFresh(world, interaction);
  if (interaction.original === undefined) throw apiError('unknownMessage');
  return interaction.original;
}

export function editOriginal(world: World, interaction: PeerInteraction, sent: SentBody): StoredMessage {
  checkBody(IncomingWebhookUpdateRequestPartialSchema, sent.json);
  const original = originalOf(world, interaction);
  if (original.isDeferred) clearPlaceholder(original);
  editMessage(world, original, sent);
  return original;
}

export function deleteOriginal(world: World, interaction: PeerInteraction): void {
  const original = originalOf(world, interaction);
  interaction.channel.messages.splice(interaction.channel.messages.indexOf(original), 1);
  interaction.original = undefined;
}

/** A follow-up; where the deferred response is still empty it fills that one, and is as private as that one was. */
export function followUp(world: World, interaction: PeerInteraction, sent: SentBody): StoredMessage {
  checkBody(IncomingWebhookInteractionRequestSchema, sent.json);
  demandFresh(world, interaction);
  const { original } = interaction;
  if (original?.isDeferred === true) {
    clearPlaceholder(original);
    editMessage(world, original, sent);
    return original;
  }
  const message = respond(world, interaction, sent);
  interaction.followUps.push(message);
  return message;
}

function clearPlaceholder(message: StoredMessage): void {
  message.api = { ...message.api, content: '' };
}
