/** Answers interactions: deferred before anything else, then filled with what the bot says. */
import {
  type ButtonInteraction,
  ButtonStyle,
  ComponentType,
  type DiscordAPIError,
  MessageFlags,
  RESTJSONErrorCodes,
  type RepliableInteraction,
  Routes,
} from 'discord.js';
import { sayFailure } from '../failure.ts';
import type { Acknowledgement } from '../platform.ts';
import { sayPrivately } from '../wording.ts';
import { isCode, isUnanswerable } from './api-errors.ts';
import { type Bridge, messageOf, type PostedMessage } from './bridge.ts';
import { encodeForm } from './custom-id.ts';
import { draftForm } from './forms.ts';
import type { DiscordMessage } from './message.ts';
import { placeOf } from './people.ts';

/**
 * How an interaction is deferred, which cannot be changed afterwards: with a message for everybody, with one for the
 * person alone, or with none, where a button changes what is there.
 */
export type Deferral = 'public' | 'private' | 'none';

/**
 * Defers, does the work, and shows what came of it. An interaction that was answered already is a duplicate delivery, and
 * one that is unknown came too late: nothing is done for either.
 */
export async function deferAndShow(
  bridge: Bridge,
  interaction: RepliableInteraction,
  { deferral, work }: { deferral: Deferral; work: () => Promise<Acknowledgement> },
): Promise<void> {
  if (!(await defer(bridge, interaction, deferral))) return;
  const outcome = await work().catch((error: unknown) => sayFailure(bridge.log, interaction.id, error));
  await show(bridge, interaction, { deferral, outcome });
}

/** @returns whether the interaction is ours to answer */
export async function defer(bridge: Bridge, interaction: RepliableInteraction, deferral: Deferral): Promise<boolean> {
  try {
    if (deferral === 'none') await (interaction as ButtonInteraction).deferUpdate();
    else await interaction.deferReply(deferral === 'private' ? { flags: MessageFlags.Ephemeral } : {});
    return true;
  } catch (error) {
    if (!isUnanswerable(error)) throw error;
    logUnanswerable(bridge, interaction, error);
    return false;
  }
}

/** Shows the outcome in an interaction that is deferred. */
export async function show(
  bridge: Bridge,
  interaction: RepliableInteraction,
  { deferral, outcome }: { deferral: Deferral; outcome: Acknowledgement },
): Promise<void> {
  if (outcome.kind === 'silence') {
    if (deferral !== 'none') await interaction.deleteReply();
    return;
  }
  const isForm = outcome.kind === 'form';
  const reply = isForm ? sayPrivately('The form is ready') : outcome.reply;
  const uploadLimitBytes = interaction.attachmentSizeLimit;
  const message = await messageOf(bridge, reply, { uploadLimitBytes });
  if (isForm) addFormButton(message, await bridge.drafts.keep(draftForm(outcome.form)));
  const posted = await place(interaction, message, { deferral, isPrivate: reply.isPrivate });
  if (isForm || outcome.jobId === undefined) return;
  const { threadId, channelId } = placeOf(interaction);
  await bridge.inbox.acknowledged(outcome.jobId, {
    platform: 'discord',
    channelId,
    messageId: posted.id,
    ...(threadId !== undefined && { threadId }),
  });
}

/**
 * A deferral decides who sees the first message. Where the outcome is for others, the first message goes and another one
 * comes: a follow-up beside an empty first message would only fill it.
 */
async function place(
  interaction: RepliableInteraction,
  message: DiscordMessage,
  { deferral, isPrivate }: { deferral: Deferral; isPrivate: boolean },
): Promise<PostedMessage> {
  const { body, files } = message;
  const { applicationId, token, client } = interaction;
  if (deferral === (isPrivate ? 'private' : 'public')) {
    const route = Routes.webhookMessage(applicationId, token, '@original');
    return (await client.rest.patch(route, { body, files, auth: false })) as PostedMessage;
  }
  if (deferral !== 'none') await interaction.deleteReply();
  const flags = body.flags | (isPrivate ? MessageFlags.Ephemeral : 0);
  const route = Routes.webhook(applicationId, token);
  return (await client.rest.post(route, { body: { ...body, flags }, files, auth: false })) as PostedMessage;
}

/** Answers at once, to the person alone, in an interaction that is not deferred. */
export async function replyPrivately(bridge: Bridge, interaction: RepliableInteraction, text: string): Promise<void> {
  const { body } = await messageOf(bridge, sayPrivately(text));
  await callBack(bridge, interaction, { type: 4, data: { ...body, flags: body.flags | MessageFlags.Ephemeral } });
}

/** Opens a form, which only a first answer can do. */
export async function showForm(bridge: Bridge, interaction: RepliableInteraction, modal: object): Promise<void> {
  await callBack(bridge, interaction, { type: 9, data: modal });
}

async function callBack(
  bridge: Bridge,
  interaction: RepliableInteraction,
  body: { type: number; data: object },
): Promise<void> {
  try {
    const { id, token } = interaction;
    await bridge.client.rest.post(Routes.interactionCallback(id, token), { body, auth: false });
  } catch (error) {
    if (!isUnanswerable(error)) throw error;
    logUnanswerable(bridge, interaction, error);
  }
}

/** One that came twice is usual; one that came too late means that this machine is too slow. */
function logUnanswerable({ log }: Bridge, { id }: RepliableInteraction, error: DiscordAPIError): void {
  const level = isCode(error, RESTJSONErrorCodes.InteractionHasAlreadyBeenAcknowledged) ? 'info' : 'warn';
  log[level]({ err: error, interactionId: id }, 'Cannot answer an interaction');
}

/** The button that opens a form which came too late to be opened at once. */
function addFormButton({ body }: DiscordMessage, draftId: string): void {
  (body.components as object[]).push({
    type: ComponentType.ActionRow,
    components: [
      {
        type: ComponentType.Button,
        style: ButtonStyle.Primary,
        custom_id: encodeForm('open-form', draftId),
        label: 'Open the form',
      },
    ],
  });
}
