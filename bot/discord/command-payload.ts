/** Our commands as Discord registers them. */
import {
  type APIApplicationCommandBasicOption,
  ApplicationCommandOptionType,
  ApplicationCommandType,
  ApplicationIntegrationType,
  InteractionContextType,
  PermissionFlagsBits,
} from 'discord.js';
import type { Command, CommandOption } from '../../commands/command.ts';
import { imageSlots } from './images.ts';

export interface CommandPayload {
  readonly name: string;
  readonly type: ApplicationCommandType;
  readonly description?: string;
  readonly options?: readonly APIApplicationCommandBasicOption[];
  /** Bits of the permissions that a member needs; null for none. */
  readonly default_member_permissions: number | null;
  readonly contexts: readonly InteractionContextType[];
  readonly integration_types: readonly ApplicationIntegrationType[];
}

/** What is done with the pictures of a message, from its menu: which command takes them. */
export const MESSAGE_COMMANDS: Readonly<Record<string, string>> = {
  'Use as control': 'sketch',
  'Teach from these': 'teach',
};

/** Picture files that people may choose; the bytes decide later. */
export const IMAGE_FILE_TYPES = ['.png', '.jpg', '.jpeg', '.webp'] as const;

export function commandPayloads(commands: readonly Command[]): CommandPayload[] {
  const known = new Set(commands.map(({ name }) => name));
  const ofMessages = Object.entries(MESSAGE_COMMANDS).filter(([, command]) => known.has(command));
  return [...commands.map(slashPayload), ...ofMessages.map(([name]) => messagePayload(name))];
}

function slashPayload(command: Command): CommandPayload {
  return {
    name: command.name,
    type: ApplicationCommandType.ChatInput,
    description: command.description,
    options: optionPayloads(command),
    default_member_permissions: command.isForAdministrators ? Number(PermissionFlagsBits.ManageGuild) : null,
    ...whereAllowed(command.isForAdministrators),
  };
}

function messagePayload(name: string): CommandPayload {
  return { name, type: ApplicationCommandType.Message, default_member_permissions: null, ...whereAllowed() };
}

/** Only where the bot itself is: elsewhere it could post no result. */
function whereAllowed(isForServersOnly = false) {
  const inGuild = [InteractionContextType.Guild];
  return {
    contexts: isForServersOnly ? inGuild : [...inGuild, InteractionContextType.BotDM],
    integration_types: [ApplicationIntegrationType.GuildInstall],
  };
}

/** Required options come first, as Discord demands. Images are asked for in a form where they are missing. */
function optionPayloads(command: Command): APIApplicationCommandBasicOption[] {
  const slots = imageSlots(command);
  const payloads = command.options.flatMap((option) =>
    option.type === 'image'
      ? slots.filter((slot) => slot.option === option).map(({ name }) => attachmentPayload(name, option.description))
      : [optionPayload(option)],
  );
  return [...payloads.filter(({ required }) => required), ...payloads.filter(({ required }) => !required)];
}

function attachmentPayload(name: string, description: string): APIApplicationCommandBasicOption {
  return { type: ApplicationCommandOptionType.Attachment, name, description, file_types: [...IMAGE_FILE_TYPES] };
}

function optionPayload(option: Exclude<CommandOption, { type: 'image' }>): APIApplicationCommandBasicOption {
  const { name, description, isRequired = false } = option;
  const shared = { name, description, required: isRequired };
  switch (option.type) {
    case 'text':
      return {
        ...shared,
        type: ApplicationCommandOptionType.String,
        ...(option.maxLength !== undefined && { max_length: option.maxLength }),
        ...(option.completes !== undefined && { autocomplete: true }),
      } as APIApplicationCommandBasicOption;
    case 'choice':
      return {
        ...shared,
        type: ApplicationCommandOptionType.String,
        choices: option.choices.map((choice) => ({ name: choice, value: choice })),
      };
    case 'integer':
    case 'number':
      return {
        ...shared,
        type: ApplicationCommandOptionType[option.type === 'integer' ? 'Integer' : 'Number'],
        ...(option.min !== undefined && { min_value: option.min }),
        ...(option.max !== undefined && { max_value: option.max }),
      } as APIApplicationCommandBasicOption;
    case 'boolean':
      return { ...shared, type: ApplicationCommandOptionType.Boolean };
  }
}
