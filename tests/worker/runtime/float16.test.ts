import { expect, test } from 'vitest';
import {
  bfloat16ToFloat32,
  float16ToFloat32,
  float32ToBfloat16,
  float32ToFloat16,
} from '../../../worker/runtime/float16.ts';
import { RandomGenerator } from '../../../worker/runtime/random.ts';

interface Format {
  readonly name: string;
  readonly exponentBits: number;
  readonly mantissaBits: number;
  readonly widen: (bits: Uint16Array) => Float32Array;
  readonly round: (values: Float32Array) => Uint16Array;
}

const FLOAT16: Format = {
  name: 'float16',
  exponentBits: 5,
  mantissaBits: 10,
  widen: float16ToFloat32,
  round: float32ToFloat16,
};
const BFLOAT16: Format = {
  name: 'bfloat16',
  exponentBits: 8,
  mantissaBits: 7,
  widen: bfloat16ToFloat32,
  round: float32ToBfloat16,
};
const FORMATS = [FLOAT16, BFLOAT16];

const ALL_PATTERNS = Uint16Array.from({ length: 0x10000 }, (_, bits) => bits);

/** The value of a finite pattern by the definition of IEEE 754, for the first pattern of infinity the next power of two. */
function decode(bits: number, { exponentBits, mantissaBits }: Format): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits & 0x7fff) >>> mantissaBits;
  const fraction = (bits & (2 ** mantissaBits - 1)) / 2 ** mantissaBits;
  const bias = 2 ** (exponentBits - 1) - 1;
  return sign * (exponent === 0 ? fraction * 2 ** (1 - bias) : (1 + fraction) * 2 ** (exponent - bias));
}

function infinityOf({ exponentBits, mantissaBits }: Format): number {
  return (2 ** exponentBits - 1) << mantissaBits;
}

test.each(FORMATS)('$name keeps all 65536 patterns when widened and rounded', ({ widen, round }) => {
  expect(round(widen(ALL_PATTERNS))).toEqual(ALL_PATTERNS);
});

test.each(FORMATS)('$name widens every pattern to the value of its definition', (format) => {
  const values = format.widen(ALL_PATTERNS);
  const infinity = infinityOf(format);
  const wrong = ALL_PATTERNS.filter((bits) => {
    const magnitude = bits & 0x7fff;
    if (magnitude > infinity) return !Number.isNaN(values[bits]);
    const expected = magnitude === infinity ? Infinity * (bits & 0x8000 ? -1 : 1) : decode(bits, format);
    return !Object.is(values[bits], expected);
  });
  expect(wrong).toEqual(new Uint16Array());
});

/** The float32 neighbour of a positive value, in the direction of the sign. */
function neighbour(value: number, direction: 1 | -1): number {
  const pattern = new Uint32Array(Float32Array.of(value).buffer);
  pattern[0]! += direction;
  return new Float32Array(pattern.buffer)[0]!;
}

test.each(FORMATS)('$name rounds to nearest and ties to even between all neighbours', (format) => {
  const infinity = infinityOf(format);
  for (const sign of [1, -1]) {
    const signBit = sign === 1 ? 0 : 0x8000;
    const middles = Float32Array.from({ length: infinity }, (_, bits) => {
      // In float32 the tie between the largest bfloat16 and infinity exists too, because it lies below 2^128.
      return sign * ((decode(bits, format) + decode(bits + 1, format)) / 2);
    });
    const above = format.round(middles.map((middle) => sign * neighbour(Math.abs(middle), 1)));
    const below = format.round(middles.map((middle) => sign * neighbour(Math.abs(middle), -1)));
    const ties = format.round(middles);
    for (let bits = 0; bits < infinity; bits++) {
      // The smallest subnormal of bfloat16 is 2^-133, so its ties are float32 numbers as well.
      if (ties[bits] !== (signBit | (bits % 2 === 0 ? bits : bits + 1))) throw new Error(`tie above ${bits} is wrong`);
      if (above[bits] !== (signBit | (bits + 1))) throw new Error(`value above the tie at ${bits} is wrong`);
      if (below[bits] !== (signBit | bits)) throw new Error(`value below the tie at ${bits} is wrong`);
    }
  }
});

test.each(FORMATS)('$name takes the nearest value when float32 patterns are random', (format) => {
  const generator = new RandomGenerator(1);
  const values = new Float32Array(
    Uint32Array.from({ length: 50_000 }, () => generator.randint(2 ** 16) * 2 ** 16 + generator.randint(2 ** 16))
      .buffer,
  );
  const rounded = format.round(values);
  const limit = infinityOf(format);
  for (const [i, value] of values.entries()) {
    const magnitude = rounded[i]! & 0x7fff;
    if (Number.isNaN(value)) {
      if (magnitude <= limit) throw new Error('NaN must stay NaN');
      continue;
    }
    const distance = Math.abs(Math.abs(value) - decode(magnitude, format));
    const rivals = [magnitude - 1, magnitude + 1].filter((bits) => bits >= 0 && bits <= limit);
    const nearest = Math.min(...rivals.map((bits) => Math.abs(Math.abs(value) - decode(bits, format))));
    if (magnitude < limit && distance > nearest) throw new Error(`${value} became ${decode(magnitude, format)}`);
    if (magnitude === limit && Math.abs(value) < (decode(limit - 1, format) + decode(limit, format)) / 2) {
      throw new Error(`${value} became infinite`);
    }
  }
});

test('float16 has the published patterns of known values', () => {
  // IEEE 754-2008 binary16: largest, overflow tie, smallest normal, subnormals, a third, signs, infinities.
  const values = [
    65504,
    65519.99609375,
    65520,
    1e30,
    2 ** -14,
    2 ** -24,
    2 ** -25,
    1.5 * 2 ** -24,
    1 / 3,
    -0,
    -2,
    -Infinity,
  ];
  expect([...float32ToFloat16(Float32Array.from(values))]).toEqual([
    0x7bff, 0x7bff, 0x7c00, 0x7c00, 0x0400, 0x0001, 0x0000, 0x0002, 0x3555, 0x8000, 0xc000, 0xfc00,
  ]);
});

test.each(FORMATS)('$name keeps NaN when only the lowest bits of the payload are set', ({ round, widen }) => {
  const values = new Float32Array(Uint32Array.of(0x7f800001, 0xff800001).buffer);
  expect([...widen(round(values))]).toEqual([Number.NaN, Number.NaN]);
});

test.each(FORMATS)('$name reads and writes views that do not start at the buffer', ({ round, widen }) => {
  const values = Float32Array.of(9, 1, -2, 0.5).subarray(1);
  expect(widen(round(values))).toEqual(Float32Array.of(1, -2, 0.5));
  expect(widen(Uint16Array.of(7, ...round(values)).subarray(1))).toEqual(Float32Array.of(1, -2, 0.5));
});
