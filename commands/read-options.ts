/** Options as they came from a platform, checked against the table of the command and typed by it. */
import { UserError } from '../shared/errors.ts';
import type { BlobRef } from '../shared/jobs.ts';
import type { CommandOption, Invocation, OptionValue } from './command.ts';

type ValueOf<O extends CommandOption> = O extends { type: 'choice'; choices: readonly (infer C)[] }
  ? C
  : O extends { type: 'text' }
    ? string
    : O extends { type: 'boolean' }
      ? boolean
      : O extends { type: 'image' }
        ? readonly BlobRef[]
        : number;

/** Option values by name; undefined where an option that is not required was left out. */
export type OptionValues<Options extends readonly CommandOption[]> = {
  readonly [O in Options[number] as O['name']]: O extends { isRequired: true } ? ValueOf<O> : ValueOf<O> | undefined;
};

/**
 * Checks every option against the table. Numbers and switches may also come as text, since forms write everything so;
 * blank text is an option left out.
 * @param doing  what the command does, for errors: "Cannot draw: ..."
 * @throws UserError that names the first option which is missing, unknown or out of its range
 */
export function readOptions<const Options extends readonly CommandOption[]>(
  doing: string,
  options: Options,
  invocation: Invocation,
): OptionValues<Options> {
  const refuse = (problem: string): never => {
    throw new UserError(`Cannot ${doing}: ${problem}`);
  };
  const known = new Set(options.map((option) => option.name));
  for (const name of [...Object.keys(invocation.options), ...Object.keys(invocation.images)]) {
    if (!known.has(name)) refuse(`there is no option ${shown(name)}`);
  }
  const values: Record<string, OptionValue | readonly BlobRef[] | undefined> = {};
  for (const option of options) values[option.name] = readOption(option, invocation, refuse);
  return values as OptionValues<Options>;
}

type Refuse = (problem: string) => never;

function readOption(option: CommandOption, invocation: Invocation, refuse: Refuse) {
  if (option.type === 'image') return readImages(option, ownValue(invocation.images, option.name) ?? [], refuse);
  const value = ownValue(invocation.options, option.name);
  const isAbsent = value === undefined || (typeof value === 'string' && value.trim() === '');
  if (isAbsent) return option.isRequired ? refuse(`${option.name} is missing`) : undefined;
  return readers[option.type](option as never, value, refuse);
}

function ownValue<T>(record: Readonly<Record<string, T>>, name: string): T | undefined {
  return Object.hasOwn(record, name) ? record[name] : undefined;
}

type OptionOf<Type extends CommandOption['type']> = Extract<CommandOption, { type: Type }>;

const readers: {
  [Type in Exclude<CommandOption['type'], 'image'>]: (
    option: OptionOf<Type>,
    value: OptionValue,
    refuse: Refuse,
  ) => OptionValue;
} = {
  text: readText,
  choice: readChoice,
  integer: readNumber,
  number: readNumber,
  boolean: readBoolean,
};

function readText(option: OptionOf<'text'>, value: OptionValue, refuse: Refuse): string {
  const text = String(value).trim();
  const maxLength = option.maxLength ?? 2000;
  if (text.length > maxLength) refuse(`${option.name} must have at most ${maxLength} characters, got ${text.length}`);
  return text;
}

function readChoice(option: OptionOf<'choice'>, value: OptionValue, refuse: Refuse): string {
  const text = String(value).trim().toLowerCase();
  const choice = option.choices.find((name) => name.toLowerCase() === text);
  return choice ?? refuse(`${option.name} must be ${oneOf(option.choices)}, got ${shown(value)}`);
}

function readNumber(option: OptionOf<'integer' | 'number'>, value: OptionValue, refuse: Refuse): number {
  const number = typeof value === 'string' ? Number(value.trim().replace(',', '.')) : value;
  const { min = Number.NEGATIVE_INFINITY, max = Number.POSITIVE_INFINITY } = option;
  const isNumber = typeof number === 'number' && Number.isFinite(number);
  const isFit = isNumber && (option.type === 'number' || Number.isInteger(number)) && number >= min && number <= max;
  return isFit ? number : refuse(`${option.name} must be ${rangeOf(option)}, got ${shown(value)}`);
}

const SWITCH_WORDS: Readonly<Record<string, boolean>> = {
  true: true,
  yes: true,
  on: true,
  false: false,
  no: false,
  off: false,
};

function readBoolean(option: OptionOf<'boolean'>, value: OptionValue, refuse: Refuse): boolean {
  const isOn = ownValue(SWITCH_WORDS, String(value).trim().toLowerCase());
  return isOn ?? refuse(`${option.name} must be yes or no, got ${shown(value)}`);
}

function readImages(option: OptionOf<'image'>, images: readonly BlobRef[], refuse: Refuse) {
  const { minCount = 1, maxCount = 1 } = option;
  if (images.length === 0)
    return option.isRequired ? refuse(`${option.name} is missing: attach ${pictures(option)}`) : undefined;
  const isFit = images.length >= minCount && images.length <= maxCount;
  return isFit ? images : refuse(`${option.name} must be ${pictures(option)}, got ${images.length}`);
}

function pictures({ minCount = 1, maxCount = 1 }: OptionOf<'image'>): string {
  if (maxCount === 1) return 'one picture';
  return minCount === maxCount ? `${maxCount} pictures` : `${minCount} to ${maxCount} pictures`;
}

function rangeOf({ type, min, max }: OptionOf<'integer' | 'number'>): string {
  const what = type === 'integer' ? 'a whole number' : 'a number';
  if (min !== undefined && max !== undefined) return `${what} from ${min} to ${max}`;
  if (min !== undefined) return `${what} of at least ${min}`;
  return max === undefined ? what : `${what} of at most ${max}`;
}

/** "a", "a or b", "a, b or c". */
export function oneOf(names: readonly string[]): string {
  const last = names.at(-1) ?? 'nothing';
  return names.length < 2 ? last : `${names.slice(0, -1).join(', ')} or ${last}`;
}

/** A value as an error shows it: in quotes, and cut where it is long. */
export function shown(value: OptionValue): string {
  const text = String(value);
  return `"${text.length > 60 ? `${text.slice(0, 60)}…` : text}"`;
}
