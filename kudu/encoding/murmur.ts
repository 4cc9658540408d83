// The multiplier m = 0xc6a4a7935bd1e995, cut into what a double multiplies exactly.
const M_HIGH = 0xc6a4a793 | 0;
const M_LOW = 0x5bd1e995;
const M_LOW_UPPER = 0x5bd1;
const M_LOW_LOWER = 0xe995;
/** r = 47: the upper half moves by 15 bits into the lower. */
const SHIFT = 47 - 32;

// A 64-bit number as two signed halves; module variables, so that no step allocates.
let high = 0;
let low = 0;

function multiply(): void {
  const upper = low >>> 16;
  const lower = low & 0xffff;
  const lowest = lower * M_LOW_LOWER;
  // At most 3 · 2³², so still exact as a double.
  const middle = lower * M_LOW_UPPER + upper * M_LOW_LOWER + (lowest >>> 16);
  const carry = upper * M_LOW_UPPER + Math.floor(middle / 0x10000);
  // From here modulo 2³². `carry` is below 2⁴⁸.
  high = ((carry | 0) + Math.imul(high, M_LOW) + Math.imul(low, M_HIGH)) | 0;
  low = ((middle & 0xffff) << 16) | (lowest & 0xffff);
}

function hash(bytes: Uint8Array, length: number, seed: number): void {
  // h = seed ^ (length · m)
  high = 0;
  low = length;
  multiply();
  let hashHigh = high;
  let hashLow = low ^ seed;
  const blocks = length & ~7;
  for (let at = 0; at < blocks; at += 8) {
    low = bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24);
    high = bytes[at + 4]! | (bytes[at + 5]! << 8) | (bytes[at + 6]! << 16) | (bytes[at + 7]! << 24);
    multiply();
    low ^= high >>> SHIFT;
    multiply();
    high ^= hashHigh;
    low ^= hashLow;
    multiply();
    hashHigh = high;
    hashLow = low;
  }
  high = hashHigh;
  low = hashLow;
  if (length > blocks) {
    for (let at = blocks; at < length; at++) {
      const shift = (at - blocks) * 8;
      if (shift < 32) low ^= bytes[at]! << shift;
      else high ^= bytes[at]! << (shift - 32);
    }
    multiply();
  }
  low ^= high >>> SHIFT;
  multiply();
  low ^= high >>> SHIFT;
}

/** MurmurHash2, 64 bits, variant A (`src/kudu/util/hash_util.h`). @param seed 32 bits, unsigned */
export function murmurHash64(bytes: Uint8Array, seed = 0): bigint {
  hash(bytes, bytes.length, seed);
  return (BigInt(high >>> 0) << 32n) | BigInt(low >>> 0);
}

/**
 * The hash of the first `length` bytes, unsigned, modulo the number of buckets (below 2²⁰: the products stay exact).
 * No BigInt, because every written row needs one: some 20 times as fast.
 */
export function hashBucket(bytes: Uint8Array, length: number, seed: number, buckets: number): number {
  hash(bytes, length, seed);
  return (((high >>> 0) % buckets) * (0x1_0000_0000 % buckets) + (low >>> 0)) % buckets;
}
