/** What people do with commands, buttons and forms. */
import type {
  AutocompleteInteraction,
  ButtonInteraction,
  ChatInputCommandInteraction,
  Interaction,
  MessageContextMenuCommandInteraction,
  ModalSubmitInteraction,
  RepliableInteraction,
} from 'discord.js';
import type { Command, Invocation, OptionValue, ResultAction } from '../../commands/command.ts';
import type { BlobRef } from '../../shared/jobs.ts';
import { type ButtonMeaning, decodeButton } from '../button-value.ts';
import { sayFailure } from '../failure.ts';
import type { Press } from '../platform.ts';
import type { AttachedFile } from './attachments.ts';
import { type Bridge, keepAttachments } from './bridge.ts';
import { MESSAGE_COMMANDS } from './command-payload.ts';
import { decodeForm } from './custom-id.ts';
import type { FormDraft } from './form-drafts.ts';
import { draftForm, draftNew, readSubmission, toModal } from './forms.ts';
import { type AttachedImages, fillSlots, imageSlots, openSlots } from './images.ts';
import { actorOf, isAdministrator, isModerator, placeOf } from './people.ts';
import { missingPermissions, permissionText } from './permissions.ts';
import { type Deferral, defer, deferAndShow, replyPrivately, show, showForm } from './respond.ts';

/** Answers to these are for the person who asked; all other commands make jobs, which everybody sees. */
const PRIVATE_COMMANDS = new Set(['concepts', 'status', 'cancel', 'settings', 'help']);

export async function onInteraction(bridge: Bridge, interaction: Interaction): Promise<void> {
  if (interaction.isAutocomplete()) return complete(bridge, interaction);
  if (interaction.isChatInputCommand()) return slashCommand(bridge, interaction);
  if (interaction.isMessageContextMenuCommand()) return messageCommand(bridge, interaction);
  if (interaction.isButton()) return button(bridge, interaction);
  if (interaction.isModalSubmit()) return submit(bridge, interaction);
}

async function slashCommand(bridge: Bridge, interaction: ChatInputCommandInteraction): Promise<void> {
  const command = bridge.commands.get(interaction.commandName);
  if (command === undefined) return refuseUnknown(bridge, interaction);
  const problem = postingProblem(command, interaction);
  if (problem !== undefined) return replyPrivately(bridge, interaction, problem);
  const options = optionsOf(command, interaction);
  const attachments = attachmentsOf(command, interaction);
  if (openSlots(command, attachments).needed > 0) {
    return ask(bridge, interaction, { draft: draftNew(command, options, attachments), command });
  }
  await invoke(bridge, interaction, { command, options, attachments });
}

function optionsOf(command: Command, { options }: ChatInputCommandInteraction): Record<string, OptionValue> {
  const values: Record<string, OptionValue> = {};
  for (const { name, type } of command.options) {
    const value = type === 'image' ? undefined : options.get(name)?.value;
    if (value !== undefined) values[name] = value;
  }
  return values;
}

function attachmentsOf(command: Command, { options }: ChatInputCommandInteraction): AttachedImages {
  const attached: Record<string, AttachedFile[]> = {};
  for (const { name, option } of imageSlots(command)) {
    const file = options.getAttachment(name);
    if (file === null) continue;
    attached[option.name] = [...(attached[option.name] ?? []), { url: file.url, name: file.name, size: file.size }];
  }
  return attached;
}

interface Asked {
  readonly command: Command;
  readonly options: Readonly<Record<string, OptionValue>>;
  readonly attachments: AttachedImages;
  /** In the store already. */
  readonly images?: Readonly<Record<string, readonly BlobRef[]>>;
  readonly parentJobId?: string | undefined;
}

async function invoke(bridge: Bridge, interaction: RepliableInteraction, asked: Asked): Promise<void> {
  const { command, options, attachments, images = {}, parentJobId } = asked;
  await deferAndShow(bridge, interaction, {
    deferral: PRIVATE_COMMANDS.has(command.name) ? 'private' : 'public',
    work: async () => {
      const invocation: Invocation = {
        id: interaction.id,
        command: command.name,
        options,
        images: { ...images, ...(await keepAttachments(bridge, attachments)) },
        actor: actorOf(interaction),
        isAdministrator: isAdministrator(interaction),
        place: placeOf(interaction),
        uploadLimitBytes: interaction.attachmentSizeLimit,
        ...(parentJobId !== undefined && { parentJobId }),
      };
      return bridge.inbox.invoke(invocation);
    },
  });
}

/** Why a result could not be posted here; said before any work is done. */
function postingProblem(command: Command, interaction: RepliableInteraction): string | undefined {
  if (PRIVATE_COMMANDS.has(command.name) || !interaction.inGuild()) return undefined;
  const where = placeOf(interaction).threadId === undefined ? 'channel' : 'thread';
  const missing = missingPermissions(interaction.appPermissions, where);
  return missing.length > 0 ? permissionText(missing) : undefined;
}

async function refuseUnknown(bridge: Bridge, interaction: RepliableInteraction): Promise<void> {
  await replyPrivately(
    bridge,
    interaction,
    'Cannot do this: this bot is of a version that has no such command any more',
  );
}

/** Shows a form for what is missing. */
async function ask(
  bridge: Bridge,
  interaction: RepliableInteraction,
  { draft, command }: { draft: FormDraft; command: Command },
): Promise<void> {
  await showForm(bridge, interaction, toModal(draft, command, await bridge.drafts.keep(draft)));
}

/** Takes the pictures of a message into a form. */
async function messageCommand(bridge: Bridge, interaction: MessageContextMenuCommandInteraction): Promise<void> {
  const command = bridge.commands.get(MESSAGE_COMMANDS[interaction.commandName] ?? '');
  if (command === undefined) return refuseUnknown(bridge, interaction);
  const problem = postingProblem(command, interaction);
  if (problem !== undefined) return replyPrivately(bridge, interaction, problem);
  const files = [...interaction.targetMessage.attachments.values()]
    .filter(({ contentType }) => contentType?.startsWith('image/') ?? false)
    .map(({ url, name, size }) => ({ url, name, size }));
  if (files.length === 0) {
    return replyPrivately(bridge, interaction, 'Cannot use this message: it must have pictures attached, got none');
  }
  await ask(bridge, interaction, { draft: draftNew(command, {}, fillSlots(command, {}, files)), command });
}

async function submit(bridge: Bridge, interaction: ModalSubmitInteraction): Promise<void> {
  const draft = await draftNamed(bridge, decodeForm('form', interaction.customId));
  const command = bridge.commands.get(draft?.command ?? '');
  if (draft === undefined || command === undefined) {
    return replyPrivately(bridge, interaction, 'Cannot take this form: it is older than a day, give the command again');
  }
  const { options, files } = readSubmission(draft, interaction);
  await invoke(bridge, interaction, {
    command,
    options,
    images: draft.images,
    attachments: fillSlots(command, draft.attachments, files),
    parentJobId: draft.parentJobId,
  });
}

async function draftNamed({ drafts }: Bridge, id: string | undefined): Promise<FormDraft | undefined> {
  return id === undefined ? undefined : drafts.read(id);
}

/** How a pressed button is answered. A changed prompt asks in a form, which must be the first answer. */
const DEFERRALS: Readonly<Record<Exclude<ResultAction, 'edit'>, Deferral>> = {
  variants: 'public',
  vary: 'public',
  'more-control': 'public',
  'less-control': 'public',
  details: 'private',
  'send-to-me': 'private',
  delete: 'none',
  cancel: 'none',
  'use-sample': 'none',
  'stop-here': 'none',
};

async function button(bridge: Bridge, interaction: ButtonInteraction): Promise<void> {
  const draftId = decodeForm('open-form', interaction.customId);
  if (draftId !== undefined) return openForm(bridge, interaction, draftId);
  const meaning = decodeButton(interaction.customId);
  if (meaning === undefined)
    return replyPrivately(bridge, interaction, 'Cannot do this: the button is of another version');
  const press = pressOf(interaction, meaning);
  if (press.action === 'edit') return edit(bridge, interaction, press);
  await deferAndShow(bridge, interaction, {
    deferral: DEFERRALS[press.action],
    work: () => bridge.inbox.press(press),
  });
}

function pressOf(interaction: ButtonInteraction, { action, jobId, argument }: ButtonMeaning): Press {
  return {
    id: interaction.id,
    action,
    target: { jobId },
    argument,
    actor: actorOf(interaction),
    isModerator: isModerator(interaction),
    place: placeOf(interaction),
    uploadLimitBytes: interaction.attachmentSizeLimit,
  };
}

async function openForm(bridge: Bridge, interaction: ButtonInteraction, draftId: string): Promise<void> {
  const draft = await bridge.drafts.read(draftId);
  const command = bridge.commands.get(draft?.command ?? '');
  if (draft === undefined || command === undefined) {
    return replyPrivately(bridge, interaction, 'Cannot open this form: it is older than a day, press Edit again');
  }
  await showForm(bridge, interaction, toModal(draft, command, draftId));
}

/** Of the 3 seconds for a first answer, what the form may take; after that a button to open it is shown instead. */
const FORM_PATIENCE_MS = 1500;

async function edit(bridge: Bridge, interaction: ButtonInteraction, press: Press): Promise<void> {
  const outcome = bridge.inbox.press(press).catch((error: unknown) => sayFailure(bridge.log, interaction.id, error));
  const inTime = await Promise.race([outcome, later(FORM_PATIENCE_MS)]);
  const form = inTime?.kind === 'form' ? inTime.form : undefined;
  const command = bridge.commands.get(form?.command ?? '');
  if (form !== undefined && command !== undefined) {
    const draft = draftForm(form);
    return ask(bridge, interaction, { draft, command });
  }
  if (!(await defer(bridge, interaction, 'private'))) return;
  await show(bridge, interaction, { deferral: 'private', outcome: await outcome });
}

function later(ms: number): Promise<undefined> {
  return new Promise((resolve) => setTimeout(resolve, ms, undefined).unref());
}

/** Choices are at most 100 characters long, and come within 3 seconds or not at all. */
const MAX_CHOICE = 100;
const MAX_CHOICES = 25;
const CHOICES_PATIENCE_MS = 2000;

async function complete(bridge: Bridge, interaction: AutocompleteInteraction): Promise<void> {
  const { name, value } = interaction.options.getFocused(true);
  const option = bridge.commands.get(interaction.commandName)?.options.find((one) => one.name === name);
  const source = option?.type === 'text' ? option.completes : undefined;
  const who = { actor: actorOf(interaction), place: placeOf(interaction) };
  const words = source === undefined ? [] : bridge.inbox.complete(source, value, who);
  const found = (await Promise.race([words, later(CHOICES_PATIENCE_MS)])) ?? [];
  const choices = found.filter((word) => word.length <= MAX_CHOICE).slice(0, MAX_CHOICES);
  await interaction.respond(choices.map((word) => ({ name: word, value: word })));
}
