/** Forms: at most five fields of a command, filled in as far as known, with one upload field for all of its images. */
import {
  type APIComponentInLabel,
  type APILabelComponent,
  type APIModalInteractionResponseCallbackData,
  ComponentType,
  type ModalSubmitInteraction,
  TextInputStyle,
} from 'discord.js';
import type { Command, CommandOption, OptionValue } from '../../commands/command.ts';
import type { Form } from '../platform.ts';
import type { AttachedFile } from './attachments.ts';
import { IMAGE_FILE_TYPES } from './command-payload.ts';
import { encodeForm } from './custom-id.ts';
import type { FormDraft } from './form-drafts.ts';
import { type AttachedImages, openSlots } from './images.ts';

const MAX_FIELDS = 5;
const MAX_TITLE = 45;
const MAX_DESCRIPTION = 100;
const MAX_TEXT_INPUT = 4000;
const MAX_FILES = 10;
/** Texts that may be longer than this get several lines. */
const SHORT_TEXT = 100;
/** Custom id of the field that takes images. */
const IMAGES_FIELD = 'images';

/** Which fields a form shows first, when something new is made and when a result is changed. */
const NEW_FIELDS = ['prompt', 'name', 'class', 'consent', 'kind', 'kind2', 'kind3', 'method', 'negative'];
const EDIT_FIELDS = ['prompt', 'negative', 'strength', 'seed', 'steps', 'guidance'];

/** A draft for a command that lacks images. */
export function draftNew(
  command: Command,
  options: Readonly<Record<string, OptionValue>>,
  attachments: AttachedImages,
): FormDraft {
  const room = openSlots(command, attachments).possible > 0 ? MAX_FIELDS - 1 : MAX_FIELDS;
  return {
    command: command.name,
    title: command.description,
    options: { ...options },
    shown: chooseFields(command.options, NEW_FIELDS, room),
    images: {},
    attachments: Object.fromEntries(Object.entries(attachments).map(([name, files]) => [name, [...files]])),
  };
}

/** A draft for a form that the bot asked for, such as the one that changes a result. */
export function draftForm(form: Form): FormDraft {
  const values = form.fields.flatMap(({ option, value }) =>
    value === undefined ? [] : [[option.name, value] as const],
  );
  const options = form.fields.map(({ option }) => option);
  return {
    command: form.command,
    title: form.title,
    options: { ...form.hidden, ...Object.fromEntries(values) },
    shown: chooseFields(options, form.parentJobId === undefined ? NEW_FIELDS : EDIT_FIELDS, MAX_FIELDS),
    images: Object.fromEntries(Object.entries(form.images).map(([name, images]) => [name, [...images]])),
    attachments: {},
    ...(form.parentJobId !== undefined && { parentJobId: form.parentJobId }),
  };
}

/** Required ones always, then by the given order. */
function chooseFields(options: readonly CommandOption[], order: readonly string[], room: number): string[] {
  const rank = (option: CommandOption) => {
    const place = order.indexOf(option.name);
    return option.isRequired ? -1 : place === -1 ? order.length : place;
  };
  const asked = options.filter(({ type }) => type !== 'image');
  const chosen = asked.toSorted((a, b) => rank(a) - rank(b)).slice(0, room);
  return chosen.map(({ name }) => name);
}

/** The form as Discord shows it. */
export function toModal(draft: FormDraft, command: Command, draftId: string): APIModalInteractionResponseCallbackData {
  const fields = draft.shown.flatMap((name) => command.options.find((option) => option.name === name) ?? []);
  const labels = fields.map((option) => fieldOf(option, draft.options[option.name]));
  const upload = draft.parentJobId === undefined ? uploadField(command, draft.attachments) : undefined;
  // The images come second: what is asked for by name first, and its details after them.
  if (upload !== undefined) labels.splice(fields.filter(({ isRequired }) => isRequired).length, 0, upload);
  return { custom_id: encodeForm('form', draftId), title: draft.title.slice(0, MAX_TITLE), components: labels };
}

function fieldOf(option: CommandOption, value: OptionValue | undefined): APILabelComponent {
  return label(option.name, option.description, componentOf(option, value));
}

function label(name: string, description: string, component: APIComponentInLabel): APILabelComponent {
  return {
    type: ComponentType.Label,
    label: name.replaceAll('_', ' '),
    description: description.slice(0, MAX_DESCRIPTION),
    component,
  };
}

function componentOf(option: CommandOption, value: OptionValue | undefined): APIComponentInLabel {
  const { name: custom_id, isRequired: required = false } = option;
  if (option.type === 'choice') {
    const options = option.choices.map((choice) => ({ label: choice, value: choice, default: choice === value }));
    return { type: ComponentType.StringSelect, custom_id, required, options };
  }
  if (option.type === 'boolean') return { type: ComponentType.Checkbox, custom_id, default: value === true };
  const maxLength = option.type === 'text' ? Math.min(option.maxLength ?? MAX_TEXT_INPUT, MAX_TEXT_INPUT) : SHORT_TEXT;
  return {
    type: ComponentType.TextInput,
    custom_id,
    required,
    style: maxLength > SHORT_TEXT ? TextInputStyle.Paragraph : TextInputStyle.Short,
    max_length: maxLength,
    ...(value !== undefined && value !== '' && { value: String(value).slice(0, maxLength) }),
  };
}

function uploadField(command: Command, given: AttachedImages): APILabelComponent | undefined {
  const { needed, possible } = openSlots(command, given);
  const [option, ...others] = command.options.filter(({ type }) => type === 'image');
  if (option === undefined || possible === 0) return undefined;
  const most = Math.min(possible, MAX_FILES);
  const name = others.length === 0 || most === 1 ? option.name : 'images';
  const description = most === 1 ? option.description : countText(needed, most, option);
  return label(name, description, {
    type: ComponentType.FileUpload,
    custom_id: IMAGES_FIELD,
    required: needed > 0,
    min_values: needed,
    max_values: most,
    file_types: [...IMAGE_FILE_TYPES],
  });
}

function countText(needed: number, most: number, { description }: CommandOption): string {
  const count = needed === most ? `${most}` : `${needed} to ${most}`;
  return /\d/.test(description) ? description : `${count}, in order: ${description}`;
}

/** What was filled in: the options together with those that the form did not show, and new images. */
export function readSubmission(
  draft: FormDraft,
  { fields }: ModalSubmitInteraction,
): { options: Record<string, OptionValue>; files: AttachedFile[] } {
  const options = { ...draft.options };
  const files: AttachedFile[] = [];
  for (const field of fields.fields.values()) {
    if (field.type === ComponentType.FileUpload) {
      files.push(...field.attachments.map(({ url, name, size }) => ({ url, name, size })));
      continue;
    }
    const value = 'values' in field ? field.values[0] : 'value' in field ? field.value : undefined;
    // A field that was emptied leaves its option out: an empty seed is a new one.
    if (value === undefined || value === null || value === '') delete options[field.customId];
    else options[field.customId] = value;
  }
  return { options, files };
}
