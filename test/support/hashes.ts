import fc from 'fast-check';
import { hammingDistance } from '../../images/phash.ts';

/** The halves of 64-bit hashes, as typed arrays. */
export function halves(hashes: bigint[]): { hi: Int32Array; lo: Int32Array } {
  return {
    hi: Int32Array.from(hashes, (hash) => Number(BigInt.asIntN(32, hash >> 32n))),
    lo: Int32Array.from(hashes, (hash) => Number(BigInt.asIntN(32, hash))),
  };
}

const anyHash = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n });

/** Hashes of which many lie near to each other: a few centres, each with some bits turned. */
export const clusteredHashes = fc
  .tuple(
    fc.array(anyHash, { minLength: 1, maxLength: 4 }),
    fc.array(fc.record({ centre: fc.nat(3), turned: fc.array(fc.nat(63), { maxLength: 14 }) }), {
      minLength: 1,
      maxLength: 40,
    }),
    fc.array(anyHash, { maxLength: 5 }),
  )
  .map(([centres, near, others]) => [
    ...near.map(({ centre, turned }) =>
      turned.reduce((hash, bit) => hash ^ (1n << BigInt(bit)), centres[centre % centres.length]!),
    ),
    ...others,
  ]);

/** Places of the hashes within a distance of one of them, itself not: each compared with it. */
export const nearByBruteForce = (hashes: bigint[], of: number, distance: number): number[] =>
  [...hashes.keys()].filter((at) => at !== of && hammingDistance(hashes[at]!, hashes[of]!) <= distance);

/** Half of its bits set, as the hashes of pictures have, and far from those of other numbers. */
export function pictureHash(number: number): bigint {
  let hash = 0n;
  for (let bit = 0; bit < 64; bit++) {
    if (((bit >> (number % 6)) ^ (bit * number)) & 1) hash |= 1n << BigInt(bit);
  }
  return hash;
}

/** The hash with some of its bits turned. */
export const turned = (hash: bigint, ...bits: number[]): bigint =>
  bits.reduce((value, bit) => value ^ (1n << BigInt(bit)), hash);
