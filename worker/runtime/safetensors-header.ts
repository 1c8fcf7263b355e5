/** The header of a safetensors file: names, types and places of its tensors, read from text that nobody vouches for. */

export type StoredDtype = 'F64' | 'F32' | 'F16' | 'BF16' | 'I64' | 'I32' | 'I16' | 'I8' | 'U8' | 'BOOL';

/** Bytes of one element. */
export const DTYPE_BYTES: { readonly [D in StoredDtype]: number } = {
  F64: 8,
  F32: 4,
  F16: 2,
  BF16: 2,
  I64: 8,
  I32: 4,
  I16: 2,
  I8: 1,
  U8: 1,
  BOOL: 1,
};

/** One tensor as it lies in a file, row-major and little-endian. */
export interface StoredTensor {
  readonly name: string;
  readonly dtype: StoredDtype;
  readonly shape: readonly number[];
  /** Absolute path. */
  readonly file: string;
  /** Bytes from the start of the file; odd ones occur, because old writers did not align. */
  readonly offset: number;
  readonly sizeBytes: number;
}

export interface SafetensorsHeader {
  readonly file: string;
  /** In the order of the header. */
  readonly tensors: ReadonlyMap<string, StoredTensor>;
  readonly metadata: Readonly<Record<string, string>>;
}

/** A file that breaks a rule of the safetensors format. */
export class SafetensorsError extends Error {
  override readonly name = 'SafetensorsError';
  readonly file: string;
  readonly rule: string;
  readonly tensor: string | undefined;

  constructor(file: string, rule: string, tensor?: string) {
    super(`Cannot read ${file}: ${tensor === undefined ? '' : `tensor ${excerpt(tensor)}: `}${rule}`);
    this.file = file;
    this.rule = rule;
    this.tensor = tensor;
  }
}

/** Where the bytes of the tensors lie in the file. */
export interface DataRange {
  /** Bytes from the start of the file. */
  readonly start: number;
  readonly sizeBytes: number;
}

/**
 * Parses the JSON text of a header.
 * The grammar is small enough to read it directly. JSON.parse would hide a key that comes twice, and would build whatever
 * the text describes, nested as deeply and as often as it likes, before it could be refused.
 * @throws SafetensorsError at the first rule that is broken
 */
export function parseSafetensorsHeader(file: string, text: string, data: DataRange): SafetensorsHeader {
  const cursor: Cursor = { text, at: 0, file, tensor: undefined };
  const tensors = new Map<string, StoredTensor>();
  let metadata: Record<string, string> = {};
  // Only spaces after the header are padding, so nothing may stand before it.
  if (text[0] !== '{') throw refuse(cursor, `the header must be a JSON object, got ${excerpt(text)}`);
  parseObject(cursor, (name) => {
    if (name === '__metadata__') metadata = parseMetadata(cursor);
    else tensors.set(name, parseTensor({ cursor, name, data }));
    cursor.tensor = undefined;
  });
  skipSpace(cursor);
  if (cursor.at < text.length) throw refuseText(cursor, 'the end');
  checkLayout(file, [...tensors.values()], data);
  return { file, tensors, metadata };
}

/** Trainers write about a hundred; an object of the 10 million that fit in a header would take minutes or all memory. */
const MAX_METADATA_ENTRIES = 100_000;

function parseMetadata(cursor: Cursor): Record<string, string> {
  const entries: [string, string][] = [];
  expectStart(cursor, '{', '__metadata__ must be an object');
  parseObject(cursor, (key) => {
    if (entries.length === MAX_METADATA_ENTRIES) {
      throw refuse(cursor, `__metadata__ must not have over ${MAX_METADATA_ENTRIES} entries`);
    }
    expectStart(cursor, '"', `__metadata__ value ${excerpt(key)} must be a string`);
    entries.push([key, parseString(cursor)]);
  });
  // Unlike an assignment, fromEntries makes an ordinary property of the key __proto__.
  return Object.fromEntries(entries);
}

function parseTensor({ cursor, name, data }: { cursor: Cursor; name: string; data: DataRange }): StoredTensor {
  cursor.tensor = name;
  const { dtype, shape, begin, end } = parseEntry(cursor);
  if (begin > end) throw refuse(cursor, `data_offsets must not decrease, got ${begin} and ${end}`);
  if (end > data.sizeBytes) {
    throw refuse(cursor, `data must end inside the file, got an end at ${end} of ${data.sizeBytes} bytes`);
  }
  const sizeBytes = tensorBytes(dtype, shape);
  if (sizeBytes === undefined) throw refuse(cursor, `the size must stay below 2^53 bytes, got shape [${shape}]`);
  if (sizeBytes !== end - begin) {
    throw refuse(cursor, `${dtype} [${shape}] must take ${sizeBytes} bytes, got ${end - begin}`);
  }
  return { name, dtype, shape, file: cursor.file, offset: data.start + begin, sizeBytes };
}

function parseEntry(cursor: Cursor): { dtype: StoredDtype; shape: number[]; begin: number; end: number } {
  const entry: { dtype?: StoredDtype; shape?: number[]; data_offsets?: number[] } = {};
  expectStart(cursor, '{', 'the entry must be an object');
  parseObject(cursor, (field) => {
    if (field === 'dtype') entry.dtype = parseDtype(cursor);
    else if (field === 'shape' || field === 'data_offsets') entry[field] = parseIntegers(cursor, field);
    else throw refuse(cursor, `fields must be dtype, shape and data_offsets, got ${excerpt(field)}`);
  });
  const { dtype, shape, data_offsets: offsets } = entry;
  if (dtype === undefined || shape === undefined || offsets === undefined) {
    throw refuse(cursor, `dtype, shape and data_offsets must be given, got only [${Object.keys(entry)}]`);
  }
  const [begin, end] = offsets;
  if (begin === undefined || end === undefined || offsets.length !== 2) {
    throw refuse(cursor, `data_offsets must be two integers, got ${offsets.length}`);
  }
  return { dtype, shape, begin, end };
}

function parseDtype(cursor: Cursor): StoredDtype {
  expectStart(cursor, '"', 'dtype must be a string');
  const dtype = parseString(cursor);
  if (!isStoredDtype(dtype)) {
    throw refuse(cursor, `dtype must be one of ${Object.keys(DTYPE_BYTES).join(', ')}, got ${excerpt(dtype)}`);
  }
  return dtype;
}

function isStoredDtype(dtype: string): dtype is StoredDtype {
  return Object.hasOwn(DTYPE_BYTES, dtype);
}

/** Returns the bytes that a tensor takes, or undefined if they cannot be counted exactly. */
export function tensorBytes(dtype: StoredDtype, shape: readonly number[]): number | undefined {
  let sizeBytes = DTYPE_BYTES[dtype];
  for (const dimension of shape) {
    sizeBytes *= dimension;
    if (!Number.isSafeInteger(sizeBytes)) return undefined;
  }
  return sizeBytes;
}

/** Refuses bytes that belong to two tensors and bytes that belong to none. */
function checkLayout(file: string, tensors: StoredTensor[], data: DataRange): void {
  let position = data.start;
  for (const { name, offset, sizeBytes } of tensors.sort((a, b) => a.offset - b.offset || a.sizeBytes - b.sizeBytes)) {
    if (offset < position) throw new SafetensorsError(file, `data must not overlap the tensor before it`, name);
    if (offset > position) {
      throw new SafetensorsError(
        file,
        `data must follow the tensor before it, got a hole of ${offset - position} bytes`,
        name,
      );
    }
    position += sizeBytes;
  }
  const rest = data.start + data.sizeBytes - position;
  if (rest > 0)
    throw new SafetensorsError(file, `every byte must belong to a tensor, got ${rest} bytes after the last one`);
}

/** A place in the text, and what to name in an error there. */
interface Cursor {
  readonly text: string;
  at: number;
  readonly file: string;
  tensor: string | undefined;
}

/** NumPy and PyTorch hold no more; without a limit a text of 100 MB could ask for an array of 50 million dimensions. */
const MAX_DIMENSIONS = 64;
const MAX_INTEGER_DIGITS = 16;

/** Calls parseValue with each key; the cursor then stands before the value. */
function parseObject(cursor: Cursor, parseValue: (key: string) => void): void {
  const keys = new Set<string>();
  expect(cursor, '{');
  if (accept(cursor, '}')) return;
  do {
    const key = parseString(cursor);
    if (keys.has(key)) throw refuse(cursor, `keys must differ, got ${excerpt(key)} twice`);
    keys.add(key);
    expect(cursor, ':');
    parseValue(key);
  } while (accept(cursor, ','));
  expect(cursor, '}');
}

function parseString(cursor: Cursor): string {
  skipSpace(cursor);
  const { text, at: start } = cursor;
  if (text[start] !== '"') throw refuseText(cursor, 'a string');
  let end = start + 1;
  while (end < text.length && text[end] !== '"') end += text[end] === '\\' ? 2 : 1;
  if (end >= text.length) throw refuseText(cursor, 'a string with an end');
  cursor.at = end + 1;
  const value = parseStringLiteral(cursor, text.slice(start, end + 1));
  // Two names that differ in a lone surrogate become the same name as soon as they are written as UTF-8.
  if (/\p{Surrogate}/u.test(value)) throw refuse(cursor, `strings must be Unicode, got ${excerpt(value)}`);
  return value;
}

function parseStringLiteral(cursor: Cursor, literal: string): string {
  try {
    return String(JSON.parse(literal));
  } catch {
    throw refuse(cursor, `the header must be JSON, got the string ${excerpt(literal)}`);
  }
}

function parseIntegers(cursor: Cursor, field: string): number[] {
  const rule = `${field} must be an array of integers from 0 to 2^53 - 1`;
  const values: number[] = [];
  expectStart(cursor, '[', rule);
  expect(cursor, '[');
  if (accept(cursor, ']')) return values;
  do {
    if (values.length === MAX_DIMENSIONS) throw refuse(cursor, `${field} must not have over ${MAX_DIMENSIONS} numbers`);
    values.push(parseInteger(cursor, rule));
  } while (accept(cursor, ','));
  expect(cursor, ']');
  return values;
}

function parseInteger(cursor: Cursor, rule: string): number {
  skipSpace(cursor);
  const token = cursor.text.slice(cursor.at, cursor.at + MAX_INTEGER_DIGITS + 1);
  // The look-ahead refuses 007, 1.5, 1e3 and numbers that the slice cuts.
  const digits = /^(?:0|[1-9][0-9]*)(?=[ \t\r\n,\]])/.exec(token)?.[0];
  const value = Number(digits);
  if (!Number.isSafeInteger(value)) throw refuse(cursor, `${rule}, got ${excerpt(token)}`);
  cursor.at += digits?.length ?? 0;
  return value;
}

function skipSpace(cursor: Cursor): void {
  while (isSpace(cursor.text[cursor.at])) cursor.at++;
}

function isSpace(character: string | undefined): boolean {
  return character === ' ' || character === '\n' || character === '\r' || character === '\t';
}

function accept(cursor: Cursor, character: string): boolean {
  skipSpace(cursor);
  if (cursor.text[cursor.at] !== character) return false;
  cursor.at++;
  return true;
}

function expect(cursor: Cursor, character: string): void {
  if (!accept(cursor, character)) throw refuseText(cursor, character);
}

/** Looks at the first character of a value, which tells its type. */
function expectStart(cursor: Cursor, character: string, rule: string): void {
  skipSpace(cursor);
  if (cursor.text[cursor.at] !== character) throw refuse(cursor, `${rule}, got ${excerpt(cursor.text, cursor.at)}`);
}

function refuseText(cursor: Cursor, expected: string): SafetensorsError {
  return refuse(
    cursor,
    `the header must be JSON with ${expected} at character ${cursor.at}, got ${excerpt(cursor.text, cursor.at)}`,
  );
}

function refuse(cursor: Cursor, rule: string): SafetensorsError {
  return new SafetensorsError(cursor.file, rule, cursor.tensor);
}

/** Quotes text that may be hostile: no control characters, and short enough for a log. */
function excerpt(text: string, from = 0): string {
  const part = text.slice(from, from + 100);
  return JSON.stringify(part.length < text.length - from ? `${part}…` : part);
}
