/** Events as Discord sends them when a person does something. */
import {
  type APIModalInteractionResponseCallbackData,
  ApplicationCommandOptionType,
  ApplicationCommandType,
  ComponentType,
  InteractionContextType,
  InteractionType,
} from 'discord.js';
import type { RegisteredCommand, RegisteredOption } from './routes.ts';
import {
  apiChannel,
  apiMember,
  apiUser,
  type PeerChannel,
  type PeerUser,
  permissionsIn,
  storeFile,
  type World,
} from './world.ts';

/** A file that a person attaches. */
export interface GivenFile {
  readonly name: string;
  readonly type: string;
  readonly bytes: Uint8Array;
}

export interface Scene {
  readonly world: World;
  readonly user: PeerUser;
  readonly channel: PeerChannel;
}

/** What all interactions have. */
export function interactionPayload({ world, user, channel }: Scene, id: string, token: string) {
  const isInGuild = channel.guildId !== undefined;
  const permissions = permissionsIn(world, channel, user.id).toString();
  return {
    id,
    token,
    application_id: world.applicationId,
    version: 1,
    channel_id: channel.id,
    channel: { ...apiChannel(channel), permissions },
    ...(isInGuild
      ? {
          guild_id: channel.guildId,
          guild: { id: channel.guildId, locale: 'en-US', features: [] },
          guild_locale: 'en-US',
          member: { ...apiMember(world, user), permissions },
        }
      : { user: apiUser(user) }),
    locale: 'en-US',
    app_permissions: permissionsIn(world, channel, world.bot.id).toString(),
    entitlements: [],
    authorizing_integration_owners: { 0: isInGuild ? channel.guildId : '0' },
    context: isInGuild ? InteractionContextType.Guild : InteractionContextType.BotDM,
    attachment_size_limit: world.attachmentSizeLimit,
  };
}

/**
 * The data of a slash command, checked as Discord's own client checks it.
 * @throws Error for an option that the command has not, or a required one that is missing
 */
export function slashCommandData(
  { world, channel }: Scene,
  command: RegisteredCommand,
  given: {
    options: Readonly<Record<string, string | number | boolean>>;
    attachments: Readonly<Record<string, GivenFile>>;
  },
) {
  const names = [...Object.keys(given.options), ...Object.keys(given.attachments)];
  for (const name of names) demandOption(command, name);
  for (const option of command.options) {
    if (option.required && !names.includes(option.name)) throw new Error(`/${command.name} needs ${option.name}`);
  }
  const attachments = Object.entries(given.attachments).map(([name, file]) => {
    const stored = storeFile(world, { channelId: channel.id, ...file }, file.bytes);
    return { option: { name, type: ApplicationCommandOptionType.Attachment, value: stored.id }, stored };
  });
  const options = Object.entries(given.options).map(([name, value]) => {
    const option = demandOption(command, name);
    if (option.choices !== undefined && !option.choices.some((choice) => choice.value === value))
      throw new Error(`/${command.name} ${name} has no choice ${value}`);
    return { name, type: option.type, value };
  });
  return {
    id: command.id,
    name: command.name,
    type: ApplicationCommandType.ChatInput,
    options: [...options, ...attachments.map(({ option }) => option)],
    resolved: { attachments: Object.fromEntries(attachments.map(({ stored }) => [stored.id, stored])) },
  };
}

function demandOption(command: RegisteredCommand, name: string): RegisteredOption {
  const option = command.options.find((one) => one.name === name);
  if (option === undefined) throw new Error(`/${command.name} has no option ${name}`);
  return option;
}

/**
 * What a filled-in form sends.
 * @param values  by label, or by custom id
 * @throws Error for a field that the form has not, or one that its own rules refuse
 */
export function modalSubmitData(
  { world, channel }: Scene,
  modal: APIModalInteractionResponseCallbackData,
  values: Readonly<Record<string, string | boolean | readonly GivenFile[]>>,
) {
  const attachments: Record<string, unknown> = {};
  const unused = new Set(Object.keys(values));
  const components = modal.components.map((label, index) => {
    if (label.type !== ComponentType.Label) return { type: label.type, id: index + 1 };
    const { component } = label;
    const customId = 'custom_id' in component ? component.custom_id : '';
    const key = [customId, label.label].find((name) => unused.delete(name));
    const filled = fill(component as unknown as FormField, key === undefined ? undefined : values[key]);
    return {
      type: ComponentType.Label,
      id: index * 2 + 1,
      component: { id: index * 2 + 2, custom_id: customId, ...filled },
    };
  });
  if (unused.size > 0) throw new Error(`The form has no field ${[...unused].join(', ')}`);

  function fill(component: FormField, value: unknown) {
    const { type } = component;
    const isRequired = component.required ?? true;
    if (type === ComponentType.FileUpload) {
      const files = (value as readonly GivenFile[] | undefined) ?? [];
      const [least, most] = [
        component['min_values'] as number | undefined,
        component['max_values'] as number | undefined,
      ];
      if ((isRequired || files.length > 0) && files.length < (least ?? 1))
        throw new Error(`The form needs ${least ?? 1} files`);
      if (files.length > (most ?? 1)) throw new Error(`The form takes ${most ?? 1} files at most`);
      const stored = files.map((file) => storeFile(world, { channelId: channel.id, ...file }, file.bytes));
      for (const file of stored) attachments[file.id] = file;
      return { type, values: stored.map((file) => file.id) };
    }
    if (type === ComponentType.Checkbox) return { type, value: value ?? component['default'] ?? false };
    if (type === ComponentType.StringSelect) {
      const options = component['options'] as { value: string; default?: boolean }[];
      const chosen = value ?? options.find((option) => option.default)?.value;
      if (chosen !== undefined && !options.some((option) => option.value === chosen))
        throw new Error(`No choice ${chosen}`);
      if (chosen === undefined && isRequired) throw new Error('The form needs a choice');
      return { type, values: chosen === undefined ? [] : [chosen] };
    }
    const text = String(value ?? component['value'] ?? '');
    if (text === '' && isRequired) throw new Error(`The form needs ${String(component['custom_id'])}`);
    if (text.length > Number(component['max_length'] ?? 4000))
      throw new Error('The form takes no text as long as that');
    return { type, value: text };
  }

  return { custom_id: modal.custom_id, components, resolved: { attachments } };
}

/** A field of a form, with what any kind of field may have. */
interface FormField {
  readonly type: ComponentType;
  readonly required?: boolean;
  readonly [key: string]: unknown;
}

/** The data of autocompletion while an option is typed. */
export function autocompleteData(command: RegisteredCommand, name: string, typed: string) {
  const option = demandOption(command, name);
  if (option.autocomplete !== true) throw new Error(`/${command.name} ${name} is not completed`);
  return {
    id: command.id,
    name: command.name,
    type: ApplicationCommandType.ChatInput,
    options: [{ name, type: option.type, value: typed, focused: true }],
  };
}

export function reactionPayload(
  { world, user, channel }: Scene,
  message: { id: string; authorId: string },
  emoji: { name: string; isBurst: boolean },
) {
  return {
    user_id: user.id,
    channel_id: channel.id,
    message_id: message.id,
    message_author_id: message.authorId,
    ...(channel.guildId !== undefined && { guild_id: channel.guildId, member: apiMember(world, user) }),
    emoji: { id: null, name: emoji.name },
    burst: emoji.isBurst,
    type: emoji.isBurst ? 1 : 0,
  };
}

export const INTERACTION_TYPES = {
  command: InteractionType.ApplicationCommand,
  press: InteractionType.MessageComponent,
  autocomplete: InteractionType.ApplicationCommandAutocomplete,
  modal: InteractionType.ModalSubmit,
} as const;
