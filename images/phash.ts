import type { Grey } from './grey.ts';
import { reduceTo } from './reduce.ts';

/** Detail beyond this many pixels a side does not matter to the lowest frequencies. */
const SIDE = 32;
/** Frequencies kept in each direction: 8 × 8 = 64 bits. */
const FREQUENCIES = 8;
/** Coefficients (sums of up to 1024 values of 0–255) closer than this to the median are equal but for rounding. */
const ROUNDING = 1e-6;

/** Cosines of the discrete cosine transform (DCT-II) by number of samples n: [k · n + i] = cos(π k (2i + 1) / 2n). */
const bases = new Map<number, Float64Array>();

function dctBasis(n: number): Float64Array {
  let basis = bases.get(n);
  if (!basis) {
    basis = Float64Array.from({ length: FREQUENCIES * n }, (_, at) =>
      Math.cos((Math.PI * Math.floor(at / n) * (2 * (at % n) + 1)) / (2 * n)),
    );
    bases.set(n, basis);
  }
  return basis;
}

/**
 * 64-bit perceptual hash: alike for pictures that look alike (resized, recompressed, a little brighter).
 *
 * The DCT hash as in Python's `imagehash.phash` (after N. Krawetz, “Looks Like It”, 2011; C. Zauner, 2010): the lowest
 * 8 × 8 coefficients of the image's two-dimensional DCT, one bit each, in rows from the top left, the first one the
 * most significant; 1 where the coefficient is above the median of the 64. The image is first area-averaged to at most
 * 32 × 32; a smaller one is transformed in its own size, which resizing it up would only blur.
 *
 * A signed 64-bit integer, as Postgres' bigint. A plain image has the hash of its first coefficient alone.
 */
export function perceptualHash(image: Grey): bigint {
  const small = reduceTo(image, Math.min(image.width, SIDE), Math.min(image.height, SIDE));
  const coefficients = lowFrequencies(small);
  const sorted = coefficients.slice().sort();
  const middle = coefficients.length / 2;
  const median = (sorted[middle - 1]! + sorted[middle]!) / 2;
  const half = (from: number) => {
    let bits = 0;
    for (let i = from; i < from + middle; i++) {
      bits = (bits << 1) | (coefficients[i]! - median > ROUNDING ? 1 : 0);
    }
    return bits;
  };
  return (BigInt(half(0)) << 32n) | BigInt(half(middle) >>> 0);
}

/** The 8 × 8 lowest coefficients of the DCT: vertical frequency by row, horizontal by column. */
function lowFrequencies({ width, height, data }: Grey): Float64Array {
  const columns = dctBasis(width);
  const rows = dctBasis(height);
  const result = new Float64Array(FREQUENCIES * FREQUENCIES);
  for (let y = 0; y < height; y++) {
    for (let u = 0; u < FREQUENCIES; u++) {
      let sum = 0;
      for (let x = 0, at = y * width, cosine = u * width; x < width; x++)
        sum += data[at++]! * columns[cosine++]!;
      for (let v = 0; v < FREQUENCIES; v++) result[v * FREQUENCIES + u]! += sum * rows[v * height + y]!;
    }
  }
  return result;
}

/** In how many of their 64 bits two hashes differ: under about 10 for the same picture, about 32 for any two. */
export function hammingDistance(a: bigint, b: bigint): number {
  let differing = BigInt.asUintN(64, a ^ b);
  let count = 0;
  for (; differing !== 0n; differing &= differing - 1n) count++;
  return count;
}
