/** Weight files in the safetensors format. Values are viewed in place, so the machine must be little-endian. */

import { randomUUID } from 'node:crypto';
import { type FileHandle, open, rename, rm, stat } from 'node:fs/promises';
import { resolve } from 'node:path';
import { bfloat16ToFloat32, float16ToFloat32, float32ToBfloat16, float32ToFloat16 } from './float16.ts';
import {
  parseSafetensorsHeader,
  SafetensorsError,
  type SafetensorsHeader,
  type StoredDtype,
  type StoredTensor,
  tensorBytes,
} from './safetensors-header.ts';

export { SafetensorsError, type SafetensorsHeader, type StoredDtype, type StoredTensor } from './safetensors-header.ts';

/** The limit of the reference reader, in bytes; the header of an SDXL UNet has 0.2 MB. */
export const HEADER_SIZE_LIMIT = 100_000_000;

const LENGTH_BYTES = 8;

/**
 * Reads names, types and places of the tensors of a file, and checks that they cover it exactly.
 * @throws SafetensorsError if the file breaks a rule of the format
 */
export async function readSafetensorsHeader(file: string): Promise<SafetensorsHeader> {
  const path = resolve(file);
  // Opening a pipe would wait for a writer, so the kind is looked at first.
  if (!(await stat(path)).isFile()) throw new SafetensorsError(path, 'weights must be a regular file');
  const handle = await open(path);
  try {
    const { size } = await handle.stat();
    const headerBytes = await readHeaderLength(handle, path, size);
    const text = decodeHeader(
      path,
      await readBytes(handle, { file: path, offset: LENGTH_BYTES, sizeBytes: headerBytes }),
    );
    const start = LENGTH_BYTES + headerBytes;
    return parseSafetensorsHeader(path, text, { start, sizeBytes: size - start });
  } finally {
    await handle.close();
  }
}

async function readHeaderLength(handle: FileHandle, file: string, fileBytes: number): Promise<number> {
  if (fileBytes < LENGTH_BYTES) {
    throw new SafetensorsError(file, `the file must have at least ${LENGTH_BYTES} bytes, got ${fileBytes}`);
  }
  const bytes = await readBytes(handle, { file, offset: 0, sizeBytes: LENGTH_BYTES });
  const length = new DataView(bytes).getBigUint64(0, true);
  if (length > HEADER_SIZE_LIMIT) {
    throw new SafetensorsError(file, `the header must have at most ${HEADER_SIZE_LIMIT} bytes, got ${length}`);
  }
  if (Number(length) > fileBytes - LENGTH_BYTES) {
    throw new SafetensorsError(file, `the header must end inside the file of ${fileBytes} bytes, got length ${length}`);
  }
  return Number(length);
}

function decodeHeader(file: string, bytes: ArrayBuffer): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw new SafetensorsError(file, 'the header must be UTF-8');
  }
}

type FloatDtype = 'F64' | 'F32' | 'F16' | 'BF16';

const floatDecoders: { readonly [D in FloatDtype]: (bytes: ArrayBuffer) => Float32Array } = {
  F64: (bytes) => Float32Array.from(new Float64Array(bytes)),
  F32: (bytes) => new Float32Array(bytes),
  F16: (bytes) => float16ToFloat32(new Uint16Array(bytes)),
  BF16: (bytes) => bfloat16ToFloat32(new Uint16Array(bytes)),
};

/**
 * Reads the values of a floating point tensor as float32.
 * @throws Error for a tensor of integers or truth values; SafetensorsError if the file is shorter than its header said
 */
export async function loadTensor(tensor: StoredTensor): Promise<Float32Array> {
  const { dtype, file, name } = tensor;
  if (!isFloatDtype(dtype)) {
    throw new Error(`Cannot load ${name} of ${file}: a floating point type is needed, got ${dtype}`);
  }
  const handle = await open(file);
  try {
    return floatDecoders[dtype](await readBytes(handle, tensor));
  } finally {
    await handle.close();
  }
}

function isFloatDtype(dtype: StoredDtype): dtype is FloatDtype {
  return Object.hasOwn(floatDecoders, dtype);
}

/** One read of the operating system takes less than 2 GiB. */
const READ_LIMIT = 2 ** 30;

async function readBytes(
  handle: FileHandle,
  { file, offset, sizeBytes }: Pick<StoredTensor, 'file' | 'offset' | 'sizeBytes'>,
): Promise<ArrayBuffer> {
  const bytes = new Uint8Array(sizeBytes);
  for (let done = 0; done < sizeBytes; ) {
    const { bytesRead } = await handle.read(bytes, done, Math.min(sizeBytes - done, READ_LIMIT), offset + done);
    if (bytesRead === 0) throw new SafetensorsError(file, `the file must not shrink, got an end at ${offset + done}`);
    done += bytesRead;
  }
  return bytes.buffer;
}

/** Float32 values are rounded to the dtype; Uint8Array holds the little-endian bytes of any dtype. */
export type ValuesToSave = Float32Array | BigInt64Array | Uint8Array;

export interface TensorToSave {
  readonly dtype: 'F32' | 'F16' | 'BF16' | 'I64';
  readonly shape: readonly number[];
  /** A function is called when its turn comes, so that a folder of many GB needs the memory of one tensor. */
  readonly values: ValuesToSave | (() => ValuesToSave | Promise<ValuesToSave>);
}

/**
 * Writes tensors in the order given.
 * The bytes go to a file named *.partial beside it, which takes the name once everything is on the disk.
 * @param tensors a Map, or pairs of name and tensor
 * @throws Error if two names are equal, or if values do not fit dtype and shape; an older file then stays as it was
 */
export async function saveSafetensors(
  file: string,
  tensors: Iterable<readonly [string, TensorToSave]>,
  metadata?: Readonly<Record<string, string>>,
): Promise<void> {
  const entries = [...tensors];
  const header = encodeHeader(file, entries, metadata);
  const partial = `${file}.${randomUUID()}.partial`;
  try {
    const handle = await open(partial, 'wx');
    try {
      await handle.writeFile(header);
      for (const [name, tensor] of entries) await handle.writeFile(await encodeTensor(file, name, tensor));
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(partial, file);
  } catch (error) {
    await rm(partial, { force: true });
    throw error;
  }
}

function encodeHeader(
  file: string,
  entries: readonly (readonly [string, TensorToSave])[],
  metadata: Readonly<Record<string, string>> | undefined,
): Uint8Array {
  const names = new Set(['__metadata__']);
  // Members are joined as text because an object would sort names that look like numbers to the front.
  const members = metadata === undefined ? [] : [`"__metadata__":${JSON.stringify(metadata)}`];
  let end = 0;
  for (const [name, { dtype, shape }] of entries) {
    if (names.has(name)) throw new Error(`Cannot save ${file}: names must differ, got ${name} twice`);
    names.add(name);
    const begin = end;
    end += sizeToSave(file, name, { dtype, shape });
    members.push(`${JSON.stringify(name)}:${JSON.stringify({ dtype, shape, data_offsets: [begin, end] })}`);
  }
  const json = Buffer.from(`{${members.join(',')}}`);
  // Trailing spaces let the data start at a multiple of 8.
  const header = Buffer.alloc(LENGTH_BYTES + Math.ceil(json.length / 8) * 8, ' ');
  header.writeBigUInt64LE(BigInt(header.length - LENGTH_BYTES));
  header.set(json, LENGTH_BYTES);
  return header;
}

function sizeToSave(file: string, name: string, { dtype, shape }: Pick<TensorToSave, 'dtype' | 'shape'>): number {
  const sizeBytes = tensorBytes(dtype, shape);
  if (sizeBytes === undefined || shape.some((dimension) => !Number.isSafeInteger(dimension) || dimension < 0)) {
    throw new Error(`Cannot save ${name} in ${file}: the shape must be whole numbers, got [${shape}]`);
  }
  return sizeBytes;
}

async function encodeTensor(file: string, name: string, { dtype, shape, values }: TensorToSave): Promise<Uint8Array> {
  const given = typeof values === 'function' ? await values() : values;
  const bytes = encodeValues(dtype, given);
  const sizeBytes = sizeToSave(file, name, { dtype, shape });
  if (bytes?.length !== sizeBytes) {
    const got = `${given.length} elements of ${given.constructor.name}`;
    throw new Error(`Cannot save ${name} in ${file}: values must fit ${dtype} [${shape}], got ${got}`);
  }
  return bytes;
}

function encodeValues(dtype: TensorToSave['dtype'], values: ValuesToSave): Uint8Array | undefined {
  if (values instanceof Uint8Array) return values;
  if (values instanceof BigInt64Array) return dtype === 'I64' ? bytesOf(values) : undefined;
  return dtype === 'I64' ? undefined : bytesOf(floatEncoders[dtype](values));
}

type SavedFloatDtype = Exclude<TensorToSave['dtype'], 'I64'>;

const floatEncoders: { readonly [D in SavedFloatDtype]: (values: Float32Array) => Float32Array | Uint16Array } = {
  F32: (values) => values,
  F16: float32ToFloat16,
  BF16: float32ToBfloat16,
};

function bytesOf({ buffer, byteOffset, byteLength }: Float32Array | Uint16Array | BigInt64Array): Uint8Array {
  return new Uint8Array(buffer, byteOffset, byteLength);
}
