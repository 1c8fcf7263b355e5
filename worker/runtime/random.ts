import { randomInt } from 'node:crypto';
import { UserError } from '../../shared/errors.ts';

const STATE_LENGTH = 624;
const STATE_MIDDLE = 397;
/** Normal numbers are drawn in blocks of this length as soon as one call asks for at least so many. */
const BLOCK = 16;

/**
 * Draws the random numbers of PyTorch's CPU generator, so that a seed gives the same picture as elsewhere.
 * Integers, uniform numbers and normal numbers drawn fewer than 16 at a time are equal to PyTorch's float32 draws. In longer
 * draws of normal numbers PyTorch approximates log, cos and sin: most are equal, the others differ by at most 1e-6.
 * A 16-bit draw of PyTorch is another sequence, not a rounding of this one.
 * @see Matsumoto and Nishimura, "Mersenne Twister", 1998; PyTorch aten/src/ATen/native/cpu/DistributionTemplates.h
 */
export class RandomGenerator {
  readonly #state: Uint32Array;
  #index = STATE_LENGTH;
  #cachedNormal: number | undefined;

  /** @param seed whole number from 0 to 2^53 - 1, of which the lowest 32 bits count, as in PyTorch */
  constructor(seed: number) {
    if (!Number.isSafeInteger(seed) || seed < 0) {
      throw new UserError(`Cannot seed the noise: the seed must be a whole number from 0 to 2^53 - 1, got ${seed}`);
    }
    this.#state = seededState(seed);
  }

  /** Draws standard normal numbers, like torch.randn. */
  randn(count: number): Float32Array<ArrayBuffer> {
    if (count < BLOCK) return Float32Array.from({ length: count }, () => this.#nextNormal());
    const values = this.uniform(count);
    for (let start = 0; start + BLOCK <= count; start += BLOCK) boxMuller(values.subarray(start, start + BLOCK));
    if (count % BLOCK > 0) {
      // PyTorch draws the last 16 numbers anew if the count is no multiple of 16.
      const tail = values.subarray(count - BLOCK);
      tail.set(this.uniform(BLOCK));
      boxMuller(tail);
    }
    return values;
  }

  /** Draws multiples of 2^-24 in [0, 1), like torch.rand. */
  uniform(count: number): Float32Array<ArrayBuffer> {
    const values = new Float32Array(count);
    for (let i = 0; i < count; i++) values[i] = (this.#nextUint32() & 0xffffff) * 2 ** -24;
    return values;
  }

  /**
   * Draws a whole number in [0, below), like torch.randint.
   * @param below 1 to 2^28 - 1; PyTorch draws 64 bits for a wider range
   */
  randint(below: number): number {
    if (!Number.isInteger(below) || below < 1 || below >= 2 ** 28) {
      throw new Error(`Cannot draw an integer: the bound must be a whole number from 1 to 2^28 - 1, got ${below}`);
    }
    return this.#nextUint32() % below;
  }

  /** Box-Muller in double precision; the second number of a pair waits for the next short call, as in PyTorch. */
  #nextNormal(): number {
    const cached = this.#cachedNormal;
    this.#cachedNormal = undefined;
    if (cached !== undefined) return cached;
    const theta = 2 * Math.PI * this.#nextDouble();
    const radius = Math.sqrt(-2 * Math.log1p(-this.#nextDouble()));
    this.#cachedNormal = radius * Math.sin(theta);
    return radius * Math.cos(theta);
  }

  /** A multiple of 2^-53 in [0, 1), from two outputs, the upper half first. */
  #nextDouble(): number {
    const high = this.#nextUint32() & 0x1fffff;
    return (high * 2 ** 32 + this.#nextUint32()) * 2 ** -53;
  }

  #nextUint32(): number {
    if (this.#index === STATE_LENGTH) {
      advance(this.#state);
      this.#index = 0;
    }
    let y = this.#state[this.#index++]!;
    y ^= y >>> 11;
    y ^= (y << 7) & 0x9d2c5680;
    y ^= (y << 15) & 0xefc60000;
    return (y ^ (y >>> 18)) >>> 0;
  }
}

/** Draws a seed, a uint32, from the operating system. */
export function randomSeed(): number {
  return randomInt(2 ** 32);
}

function seededState(seed: number): Uint32Array {
  const state = new Uint32Array(STATE_LENGTH);
  // Storing into a Uint32Array keeps the lowest 32 bits.
  state[0] = seed;
  for (let i = 1; i < STATE_LENGTH; i++) {
    const previous = state[i - 1]!;
    state[i] = Math.imul(1812433253, previous ^ (previous >>> 30)) + i;
  }
  return state;
}

/** Replaces the state by the next 624 words of the recurrence. */
function advance(state: Uint32Array): void {
  for (let i = 0; i < STATE_LENGTH; i++) {
    const y = (state[i]! & 0x80000000) | (state[(i + 1) % STATE_LENGTH]! & 0x7fffffff);
    state[i] = state[(i + STATE_MIDDLE) % STATE_LENGTH]! ^ (y >>> 1) ^ (y & 1 ? 0x9908b0df : 0);
  }
}

const { fround } = Math;
const TWO_PI = fround(2 * Math.PI);

/**
 * Turns 16 uniform numbers into normal ones in place; the numbers j and j + 8 make a pair.
 * Every step is rounded to float32 where PyTorch rounds. Math.log, Math.cos and Math.sin come with the JavaScript engine,
 * not with the machine, and the rounding hides a last bit in which two engines might differ.
 */
function boxMuller(block: Float32Array): void {
  for (let j = 0; j < BLOCK / 2; j++) {
    // 1 - u lies in (0, 1], where the logarithm is finite.
    const radius = fround(Math.sqrt(fround(-2 * fround(Math.log(1 - block[j]!)))));
    const theta = fround(TWO_PI * block[j + BLOCK / 2]!);
    block[j] = radius * fround(Math.cos(theta));
    block[j + BLOCK / 2] = radius * fround(Math.sin(theta));
  }
}
