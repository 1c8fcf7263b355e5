/** A form as Slack shows it: options of a command as input blocks, and what was written in them. */
import type { InputBlock, ModalView, PlainTextElement, PlainTextOption } from '@slack/types';
import type { Command, CommandOption, OptionValue } from '../../commands/command.ts';
import type { BlobRef, Place } from '../../shared/jobs.ts';
import type { Form } from '../platform.ts';
import type { SharedFile } from './files.ts';

/** What a form keeps until it is sent: Slack carries it and gives it back. */
export interface FormState {
  readonly command: string;
  readonly place: Place;
  readonly hidden: Readonly<Record<string, OptionValue>>;
  /** In the store already. */
  readonly images: Readonly<Record<string, readonly BlobRef[]>>;
  /** Shared in Slack, not copied yet. */
  readonly files: Readonly<Record<string, readonly string[]>>;
  readonly parentJobId?: string | undefined;
}

export interface SubmittedForm extends FormState {
  readonly options: Readonly<Record<string, OptionValue>>;
}

export const FORM_CALLBACK = 'form';
const MAX_TITLE = 24;
const MAX_LABEL = 2000;
const MAX_STATE = 3000;
const MAX_TEXT = 3000;
const IMAGE_FILE_TYPES = ['png', 'jpg', 'jpeg', 'webp'];
const MAX_FILES = 10;

/** The whole of a command as a form. */
export function formOf(
  command: Command,
  values: Readonly<Record<string, OptionValue>>,
  place: Place,
  files: FormState['files'] = {},
): ModalView {
  const fields = command.options.map((option) => ({ option, value: values[option.name] }));
  const state: FormState = { command: command.name, place, hidden: {}, images: {}, files };
  return toView({ title: command.name, fields, state });
}

/** A form that the bot asks for. */
export function formFrom(form: Form, place: Place): ModalView {
  const { command, title, fields, hidden, images, parentJobId } = form;
  const state: FormState = {
    command,
    place,
    hidden,
    images,
    files: {},
    ...(parentJobId !== undefined && { parentJobId }),
  };
  return toView({ title, fields, state });
}

function toView({ title, fields, state }: { title: string; fields: Form['fields']; state: FormState }): ModalView {
  const given = (name: string) => (state.images[name]?.length ?? 0) + (state.files[name]?.length ?? 0);
  const private_metadata = JSON.stringify(state);
  if (private_metadata.length > MAX_STATE) {
    throw new Error(`Cannot show a form: it may keep ${MAX_STATE} characters, got ${private_metadata.length}`);
  }
  return {
    type: 'modal',
    callback_id: FORM_CALLBACK,
    private_metadata,
    title: plain(cut(capital(title), MAX_TITLE)),
    submit: plain('Go'),
    close: plain('Close'),
    blocks: fields.map(({ option, value }) => inputBlock(option, value, given(option.name))),
  };
}

function inputBlock(option: CommandOption, value: OptionValue | undefined, given: number): InputBlock {
  const kept = given > 0 ? ` (${given} taken from the message; add more if you like)` : '';
  return {
    type: 'input',
    block_id: option.name,
    optional: !option.isRequired || given > 0,
    label: plain(cut(capital(option.name.replaceAll('_', ' ')), MAX_LABEL)),
    hint: plain(cut(`${option.description}${kept}`, MAX_LABEL)),
    element: inputElement(option, value),
  };
}

/** All inputs go by one name; their block says which option they are. */
const INPUT = 'value';

function inputElement(option: CommandOption, value: OptionValue | undefined): InputBlock['element'] {
  return elements[option.type](option as never, value);
}

type OptionOf<Type extends CommandOption['type']> = Extract<CommandOption, { type: Type }>;

const number = (
  isDecimal: boolean,
  { min, max }: { min?: number; max?: number },
  value: OptionValue | undefined,
): InputBlock['element'] => ({
  type: 'number_input',
  action_id: INPUT,
  is_decimal_allowed: isDecimal,
  ...(min !== undefined && { min_value: String(min) }),
  ...(max !== undefined && { max_value: String(max) }),
  ...(value !== undefined && { initial_value: String(value) }),
});

const elements: {
  readonly [Type in CommandOption['type']]: (
    option: OptionOf<Type>,
    value: OptionValue | undefined,
  ) => InputBlock['element'];
} = {
  text: ({ maxLength = MAX_TEXT, completes }, value) =>
    completes === undefined
      ? {
          type: 'plain_text_input',
          action_id: INPUT,
          multiline: maxLength > 200,
          max_length: Math.min(maxLength, MAX_TEXT),
          ...(value !== undefined && { initial_value: cut(String(value), MAX_TEXT) }),
        }
      : {
          type: 'external_select',
          action_id: INPUT,
          min_query_length: 0,
          ...(value !== undefined && { initial_option: choice(String(value)) }),
        },
  choice: ({ choices }, value) => ({
    type: 'static_select',
    action_id: INPUT,
    options: choices.map(choice),
    ...(value !== undefined && { initial_option: choice(String(value)) }),
  }),
  integer: (option, value) => number(false, option, value),
  number: (option, value) => number(true, option, value),
  boolean: (_, value) => ({
    type: 'checkboxes',
    action_id: INPUT,
    options: [choice('yes')],
    ...(value === true && { initial_options: [choice('yes')] }),
  }),
  image: ({ maxCount = 1 }) => ({
    type: 'file_input',
    action_id: INPUT,
    filetypes: IMAGE_FILE_TYPES,
    max_files: Math.min(maxCount, MAX_FILES),
  }),
};

/** Slack's own limit of the words of a choice. */
const MAX_CHOICE = 75;

export function choice(value: string): PlainTextOption {
  return { text: plain(cut(value, MAX_CHOICE)), value: value.slice(0, 150) };
}

function plain(text: string): PlainTextElement {
  return { type: 'plain_text', text };
}

function cut(text: string, maxLength: number): string {
  return text.length <= maxLength ? text : `${text.slice(0, maxLength - 1)}…`;
}

function capital(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

/** An input as Slack sends it back. */
interface SentInput {
  readonly type: string;
  readonly value?: string | null;
  readonly selected_option?: { readonly value?: string } | null;
  readonly selected_options?: readonly unknown[];
  readonly files?: readonly SharedFile[];
}

export interface SentView {
  readonly private_metadata: string;
  readonly state: { readonly values: Readonly<Record<string, Readonly<Record<string, SentInput>>>> };
}

/** What a person wrote in a form. Which values may be is the command's business. */
export function readForm({ private_metadata, state }: SentView): SubmittedForm {
  const kept = JSON.parse(private_metadata) as FormState;
  const options: Record<string, OptionValue> = { ...kept.hidden };
  const files: Record<string, readonly string[]> = { ...kept.files };
  for (const [name, inputs] of Object.entries(state.values)) {
    const input = inputs[INPUT];
    if (input === undefined) continue;
    if (input.type === 'file_input') {
      files[name] = [...(files[name] ?? []), ...(input.files ?? []).map(({ id }) => id)];
    } else if (input.type === 'checkboxes') {
      options[name] = (input.selected_options ?? []).length > 0;
    } else {
      const value = input.value ?? input.selected_option?.value;
      if (value !== undefined && value !== '') options[name] = value;
    }
  }
  return { ...kept, options, files };
}
