import type { Grey } from './grey.ts';
import { greyHistogram } from './histogram.ts';
import { countObjects, otsuThreshold } from './objects.ts';

/** Statistics of a greyscale image's values (0–255). */
export interface PixelStatistics {
  /** Arithmetic mean. */
  mean: number;
  /** Population standard deviation (divided by n). */
  stddev: number;
  /** Shannon entropy of the 256-bin histogram, in bits: 0 (one value) to 8 (all equally often). */
  entropy: number;
  /**
   * Variance (population) of the 4-neighbour Laplacian `up + down + left + right − 4 · centre` over the pixels that
   * have four neighbours; 0 below 3 × 3. Low means blurred (Pech-Pacheco et al., 2000).
   */
  sharpness: number;
  /** Connected objects; see countObjects. */
  objectCount: number;
}

/** c · log2 c for the counts of small images, where the logarithms would cost more than all the rest. */
const COUNT_LOG2 = Float64Array.from({ length: 4096 }, (_, c) => (c === 0 ? 0 : c * Math.log2(c)));

/**
 * All statistics of an image: passes over the pixels for the histogram, the Laplacian and the objects.
 * @param histogram of the image, if it is there already
 */
export function pixelStatistics(image: Grey, histogram = greyHistogram(image)): PixelStatistics {
  return {
    ...valueStatistics(histogram, image.width * image.height),
    sharpness: laplacianVariance(image),
    objectCount: countObjects(image, otsuThreshold(histogram)),
  };
}

function laplacianVariance({ width, height, data }: Grey): number {
  const pixels = Math.max(0, width - 2) * Math.max(0, height - 2);
  if (pixels === 0) return 0;
  let sum = 0;
  let squares = 0;
  for (let y = 1; y < height - 1; y++) {
    const end = (y + 1) * width - 1;
    let at = y * width + 1;
    let left = data[at - 1]!;
    let centre = data[at]!;
    for (; at < end; at++) {
      const right = data[at + 1]!;
      const laplacian = data[at - width]! + data[at + width]! + left + right - 4 * centre;
      sum += laplacian;
      squares += laplacian * laplacian;
      left = centre;
      centre = right;
    }
  }
  return variance(sum, squares, pixels);
}

/** Mean, deviation and entropy follow from how often each value occurs. */
function valueStatistics(histogram: Uint32Array, n: number) {
  let sum = 0;
  let squares = 0;
  let logs = 0;
  for (let value = 0; value < 256; value++) {
    const count = histogram[value]!;
    if (count === 0) continue;
    sum += count * value;
    squares += count * value * value;
    logs += count < COUNT_LOG2.length ? COUNT_LOG2[count]! : count * Math.log2(count);
  }
  return {
    mean: sum / n,
    stddev: Math.sqrt(variance(sum, squares, n)),
    entropy: Math.max(0, Math.log2(n) - logs / n),
  };
}

/** Population variance; the sums are whole numbers, exact up to 2^53, so that their difference is exact too. */
function variance(sum: number, squares: number, n: number): number {
  return Math.max(0, (squares - (sum * sum) / n) / n);
}
