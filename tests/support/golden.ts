import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect } from 'vitest';

/** What a golden file records of one tensor; numbers are printed with 6 significant digits. */
export interface GoldenStatistics {
  shape: number[];
  /** The first values in row-major order, at most four. */
  first: number[];
  last: number;
  mean: number;
  rms: number;
  /** Dot product with the stream named `check`. */
  dot: number;
}

const PRINTED_DIGITS = 6;

/** Hashes the UTF-8 bytes of a name to a uint32 with 32-bit FNV-1a. */
export function fnv1a(name: string): number {
  let hash = 0x811c9dc5;
  for (const byte of Buffer.from(name, 'utf8')) hash = Math.imul(hash ^ byte, 0x01000193);
  return hash >>> 0;
}

/** Draws `count` values in [-1, 1) from mulberry32 seeded with the hash of `name`. */
export function goldenStream(name: string, count: number): Float64Array {
  let state = fnv1a(name);
  return Float64Array.from({ length: count }, () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)) ^ mixed;
    return 2 * (((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) - 1;
  });
}

/**
 * Makes the tensor that golden runs use under `name`.
 * Names with `in:` have unit variance; matrices and kernels have variance 1 / fan-in, where fan-in is the product of all
 * dims but the first; of the vectors, `.weight` lies around 1 and everything else around 0.
 */
export function goldenTensor(name: string, shape: readonly number[]): Float32Array {
  const { offset, scale } = distribution(name, shape);
  const count = shape.reduce((product, dim) => product * dim, 1);
  return Float32Array.from(goldenStream(name, count), (value) => offset + scale * value);
}

function distribution(name: string, shape: readonly number[]): { offset: number; scale: number } {
  if (name.startsWith('in:')) return { offset: 0, scale: Math.sqrt(3) };
  if (shape.length >= 2) {
    const fanIn = shape.slice(1).reduce((product, dim) => product * dim, 1);
    return { offset: 0, scale: Math.sqrt(3 / fanIn) };
  }
  return { offset: name.endsWith('.weight') ? 1 : 0, scale: 0.1 };
}

/**
 * Compares a tensor with the statistics of a golden file.
 * @param tolerance  relative to rms: elements and mean may differ by tolerance · rms, dot by tolerance · rms · √n, each
 *   plus the rounding of the printed number
 */
export function expectGolden(actual: Float32Array | Float64Array, golden: GoldenStatistics, tolerance: number): void {
  const count = golden.shape.reduce((product, dim) => product * dim, 1);
  expect(actual.length, `element count of shape [${golden.shape.join(', ')}]`).toBe(count);

  const check = goldenStream('check', count);
  let sum = 0;
  let squares = 0;
  let dot = 0;
  for (const [index, value] of actual.entries()) {
    sum += value;
    squares += value * value;
    dot += value * check[index]!;
  }

  const allowed = tolerance * golden.rms;
  for (const [index, value] of golden.first.entries()) expectNear(`first[${index}]`, actual[index]!, value, allowed);
  expectNear('last', actual[count - 1]!, golden.last, allowed);
  expectNear('mean', sum / count, golden.mean, allowed);
  expectNear('rms', Math.sqrt(squares / count), golden.rms, allowed);
  expectNear('dot', dot, golden.dot, allowed * Math.sqrt(count));
}

function expectNear(statistic: string, actual: number, golden: number, allowed: number): void {
  const limit = allowed + printedRounding(golden);
  // Written so that NaN fails.
  if (!(Math.abs(actual - golden) <= limit)) {
    expect.fail(`${statistic} is ${actual}, the golden value is ${golden}, allowed difference ${limit}`);
  }
}

function printedRounding(value: number): number {
  return value === 0 ? 0 : 0.5 * 10 ** (Math.floor(Math.log10(Math.abs(value))) + 1 - PRINTED_DIGITS);
}

/** Reads a JSON file of tests/golden. */
export async function loadGolden<T>(file: string): Promise<T> {
  return JSON.parse(await readFile(join(import.meta.dirname, '..', 'golden', file), 'utf8'));
}
