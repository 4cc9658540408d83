import type { Grey } from './grey.ts';

/** Used again by every call: a fresh one would cost as much as filling it (allocation and collection). */
const histogram = new Uint32Array(256);

/**
 * How many pixels have each value (0–255); holds until the next call. Runs of equal values are counted at once: adding 1
 * to the same count again and again waits for the store before.
 */
export function greyHistogram({ data }: Grey): Uint32Array {
  histogram.fill(0);
  let value = data[0]!;
  let start = 0;
  for (let i = 1; i < data.length; i++) {
    if (data[i] === value) continue;
    histogram[value]! += i - start;
    value = data[i]!;
    start = i;
  }
  histogram[value]! += data.length - start;
  return histogram;
}
