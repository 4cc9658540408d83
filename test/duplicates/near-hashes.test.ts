import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { mulberry32 } from '../../classifier/train/random.ts';
import { bitsSet, MOST_DISTANCE, NearHashes } from '../../duplicates/near-hashes.ts';
import { clusteredHashes, halves, nearByBruteForce } from '../support/hashes.ts';

const anyDistance = fc.integer({ min: 0, max: MOST_DISTANCE });
const sorted = (numbers: Iterable<number>) => [...numbers].sort((a, b) => a - b);

/** Runs a generator to its end. */
function result<T>(steps: Generator<unknown, T>): T {
  for (;;) {
    const step = steps.next();
    if (step.done) return step.value;
  }
}

test('nothing within the distance is missed, and nothing else is found', () => {
  fc.assert(
    fc.property(clusteredHashes, anyDistance, (hashes, distance) => {
      const { hi, lo } = halves(hashes);
      const index = new NearHashes(hi, lo, distance);
      const have = result(index.haveNear());
      for (const at of hashes.keys()) {
        const near = nearByBruteForce(hashes, at, distance);
        expect(sorted(index.near(hi[at]!, lo[at]!))).toEqual(sorted([at, ...near]));
        expect(have[at]).toBe(near.length > 0 ? 1 : 0);
      }
    }),
  );
});

test('what was forgotten is not found, the others are', () => {
  fc.assert(
    fc.property(clusteredHashes, anyDistance, (hashes, distance) => {
      const { hi, lo } = halves(hashes);
      const index = new NearHashes(hi, lo, distance);
      for (const at of hashes.keys()) {
        index.forgetFirst(hi[at]!, lo[at]!);
        const later = nearByBruteForce(hashes, at, distance).filter((other) => other > at);
        expect(sorted(index.near(hi[at]!, lo[at]!))).toEqual(later);
      }
    }),
  );
});

test('any two hashes that differ in so many bits are found, whichever bits they are', () => {
  const random = mulberry32(3);
  for (let distance = 0; distance <= MOST_DISTANCE; distance++) {
    for (let run = 0; run < 20; run++) {
      const bits = new Set<number>();
      while (bits.size < distance) bits.add(Math.floor(64 * random()));
      const hash = BigInt(Math.floor(2 ** 32 * random())) << 20n;
      const other = [...bits].reduce((turned, bit) => turned ^ (1n << BigInt(bit)), hash);
      const { hi, lo } = halves([hash, other]);
      expect(new NearHashes(hi, lo, distance).near(hi[0]!, lo[0]!)).toHaveLength(2);
      if (distance > 0) expect(new NearHashes(hi, lo, distance - 1).near(hi[0]!, lo[0]!)).toEqual([0]);
    }
  }
});

test('a search among many hashes that crowd together stops every so often, to let others work', () => {
  // All agree in the upper half; in the lower one hardly any are near to each other.
  const random = mulberry32(4);
  const lo = Int32Array.from({ length: 32_768 }, () => 2 ** 32 * random());
  const steps = new NearHashes(new Int32Array(lo.length), lo, 3).haveNear();
  let stops = 0;
  let last = 0;
  for (let step = steps.next(); !step.done; step = steps.next()) {
    expect(step.value).toBeGreaterThanOrEqual(last);
    last = step.value;
    stops++;
  }
  expect(last).toBeLessThanOrEqual(1);
  expect(stops).toBeGreaterThan(0);
});

test('bits are counted in negative numbers too', () => {
  fc.assert(
    fc.property(fc.integer(), (value) => {
      expect(bitsSet(value)).toBe((value >>> 0).toString(2).replaceAll('0', '').length);
    }),
  );
});
