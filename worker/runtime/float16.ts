/** The 16-bit floating point formats of weight files, converted on bit patterns: IEEE 754 binary16 and bfloat16. */

/** Converts binary16 patterns to float32, exactly; the payload of a NaN is kept. */
export function float16ToFloat32(bits: Uint16Array): Float32Array<ArrayBuffer> {
  const values = new Float32Array(bits.length);
  const out = new Uint32Array(values.buffer);
  const table = float16Table();
  for (let i = 0; i < bits.length; i++) out[i] = table[bits[i]!]!;
  return values;
}

/** Rounds float32 values to binary16 patterns: nearest, ties to even; from 65520 on the result is infinity. */
export function float32ToFloat16(values: Float32Array): Uint16Array<ArrayBuffer> {
  const bits = new Uint16Array(values.length);
  const patterns = new Uint32Array(values.buffer, values.byteOffset, values.length);
  for (let i = 0; i < bits.length; i++) bits[i] = roundToFloat16(patterns[i]!, values[i]!);
  return bits;
}

/** Converts bfloat16 patterns to float32, exactly; the payload of a NaN is kept. */
export function bfloat16ToFloat32(bits: Uint16Array): Float32Array<ArrayBuffer> {
  const values = new Float32Array(bits.length);
  const out = new Uint32Array(values.buffer);
  for (let i = 0; i < bits.length; i++) out[i] = bits[i]! << 16;
  return values;
}

/** Rounds float32 values to bfloat16 patterns: nearest, ties to even. */
export function float32ToBfloat16(values: Float32Array): Uint16Array<ArrayBuffer> {
  const bits = new Uint16Array(values.length);
  const patterns = new Uint32Array(values.buffer, values.byteOffset, values.length);
  for (let i = 0; i < bits.length; i++) bits[i] = roundToBfloat16(patterns[i]!);
  return bits;
}

const FLOAT32_INFINITY = 0x7f800000;
/** The float32 pattern of 2^16: from here on every value rounds to the infinity of binary16. */
const FLOAT16_OVERFLOW = 0x47800000;
/** The float32 pattern of 2^-14, the smallest normal number of binary16. */
const FLOAT16_MIN_NORMAL = 0x38800000;
/** What 127 - 15, the difference of the exponent biases, is worth in a float32 pattern. */
const REBIAS = 112 << 23;

function roundToFloat16(pattern: number, value: number): number {
  const sign = (pattern >>> 16) & 0x8000;
  const magnitude = pattern & 0x7fffffff;
  // A NaN keeps the upper bits of its payload; a payload without upper bits would turn into infinity.
  if (magnitude > FLOAT32_INFINITY) return sign | 0x7c00 | ((magnitude >>> 13) & 0x3ff || 0x200);
  if (magnitude >= FLOAT16_OVERFLOW) return sign | 0x7c00;
  // Adding half a unit less one, plus the lowest kept bit, rounds ties to even; a carry moves on to the exponent.
  if (magnitude >= FLOAT16_MIN_NORMAL) return sign | ((magnitude - REBIAS + 0xfff + ((magnitude >>> 13) & 1)) >>> 13);
  // Subnormals count units of 2^-24; a double of 2^52 has no fraction bits, so the addition rounds to an integer.
  return sign | (Math.abs(value) * 2 ** 24 + 2 ** 52 - 2 ** 52);
}

function roundToBfloat16(pattern: number): number {
  if ((pattern & 0x7fffffff) > FLOAT32_INFINITY) {
    return (pattern >>> 16) & 0x7f ? pattern >>> 16 : (pattern >>> 16) | 0x40;
  }
  return (pattern + 0x7fff + ((pattern >>> 16) & 1)) >>> 16;
}

let cachedTable: Uint32Array | undefined;

/** The float32 pattern of each binary16 pattern, 256 KiB, computed when first asked for. */
function float16Table(): Uint32Array {
  cachedTable ??= Uint32Array.from({ length: 0x10000 }, (_, bits) => float32Pattern(bits));
  return cachedTable;
}

function float32Pattern(bits: number): number {
  const sign = (bits & 0x8000) << 16;
  const exponent = (bits >>> 10) & 0x1f;
  const mantissa = bits & 0x3ff;
  if (exponent === 0x1f) return sign | FLOAT32_INFINITY | (mantissa << 13);
  if (exponent > 0) return sign | (((exponent << 23) + REBIAS) | (mantissa << 13));
  const subnormal = new Float32Array([mantissa * 2 ** -24]);
  return sign | new Uint32Array(subnormal.buffer)[0]!;
}
