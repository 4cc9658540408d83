/**
 * How far two distributions are apart, and how far chance alone puts them apart.
 *
 * Counts are images per bin: n of the reference (N together), m of the window (M together), k bins.
 */

/** Added to every count of PSI (Jeffreys' prior), so that a bin that one side lacks gives no infinity. */
export const PSI_SMOOTHING = 0.5;

/** Beyond noise is what chance alone reaches in one of a thousand windows … */
const ONE_IN_A_THOUSAND = 0.001;
/** … whose normal quantiles are, for a deviation upwards and for one in either direction: */
const Z_ONE_SIDED = 3.0902;
const Z_TWO_SIDED = 3.2905;
/** Of a two-sided interval that holds the truth 95 times in 100. */
const Z_95 = 1.96;

const total = (counts: readonly number[]): number => counts.reduce((sum, count) => sum + count, 0);

/**
 * Population stability index: Σ (p − q) ln(p / q), natural logarithm, the sum of both Kullback-Leibler divergences
 * (Siddiqi, Credit Risk Scorecards, 2006), where q = (n + ½) / (N + k/2) and p = (m + ½) / (M + k/2). By convention below
 * 0.1 there is no drift to speak of, from 0.25 on a major one.
 * @returns 0 and more; NaN when one side has no image
 */
export function populationStabilityIndex(reference: readonly number[], window: readonly number[]): number {
  const share = (counts: readonly number[]) => {
    const all = total(counts) + PSI_SMOOTHING * counts.length;
    return counts.map((count) => (count + PSI_SMOOTHING) / all);
  };
  if (total(reference) === 0 || total(window) === 0) return NaN;
  const [q, p] = [share(reference), share(window)];
  return q.reduce((sum, qi, i) => sum + (p[i]! - qi) * Math.log(p[i]! / qi), 0);
}

/**
 * Jensen-Shannon distance, base 2: the root of half the Kullback-Leibler divergences of p and q from their mean (Lin 1991,
 * Endres & Schindelin 2003), as scipy's `jensenshannon(p, q, 2)`. Without smoothing: an empty bin gives no infinity here.
 * @returns 0 (equal) to 1 (nothing in common); NaN when one side has no image
 */
export function jensenShannonDistance(reference: readonly number[], window: readonly number[]): number {
  const [n, m] = [total(reference), total(window)];
  if (n === 0 || m === 0) return NaN;
  let divergence = 0;
  reference.forEach((count, i) => {
    const [q, p] = [count / n, window[i]! / m];
    const mean = (p + q) / 2;
    if (p > 0) divergence += (p / 2) * Math.log2(p / mean);
    if (q > 0) divergence += (q / 2) * Math.log2(q / mean);
  });
  return Math.sqrt(Math.max(0, divergence));
}

/**
 * The PSI that chance alone exceeds in one of a thousand windows when nothing has changed and images are independent:
 * PSI / (1/N + 1/M) is then about χ² distributed with k − 1 degrees of freedom (Yurdakul & Naranjo, Statistical properties
 * of the population stability index, 2020).
 * @param bins that hold an image of either side
 */
export const psiNoise = (bins: number, reference: number, window: number): number =>
  chiSquaredQuantile(bins - 1) * (1 / reference + 1 / window);

/** Mean and standard deviation of the PSI when nothing has changed, from the same distribution. */
export function psiByChance(
  bins: number,
  reference: number,
  window: number,
): { mean: number; deviation: number } {
  const unit = 1 / reference + 1 / window;
  return { mean: (bins - 1) * unit, deviation: Math.sqrt(2 * (bins - 1)) * unit };
}

/** The Jensen-Shannon distance that chance alone exceeds in one of a thousand windows: its square is near 0 an eighth of the PSI, and here in bits. */
export const jensenShannonNoise = (bins: number, reference: number, window: number): number =>
  Math.sqrt(psiNoise(bins, reference, window) / (8 * Math.LN2));

/** The same for the Kolmogorov-Smirnov distance: √(−½ ln(α/2) (1/N + 1/M)) (Smirnov 1948). */
export const kolmogorovSmirnovNoise = (reference: number, window: number): number =>
  Math.sqrt(-0.5 * Math.log(ONE_IN_A_THOUSAND / 2) * (1 / reference + 1 / window));

/** The same for the difference of two means, in the deviations of one image. */
export const shiftNoise = (reference: number, window: number): number =>
  Z_TWO_SIDED * Math.sqrt(1 / reference + 1 / window);

/** The same for a drop with this variance. */
export const dropNoise = (variance: number): number => Z_ONE_SIDED * Math.sqrt(variance);

/** The 99.9 % quantile of χ² by Wilson & Hilferty's approximation (1931), within 1 % for three degrees and more. */
function chiSquaredQuantile(degrees: number): number {
  if (degrees < 1) return 0;
  const part = 2 / (9 * degrees);
  return degrees * (1 - part + Z_ONE_SIDED * Math.sqrt(part)) ** 3;
}

/** A share of images with the interval that holds the truth 95 times in 100. */
export interface Share {
  /** 0 to 1. */
  value: number;
  low: number;
  high: number;
  /** Of how many images. */
  images: number;
}

/** Wilson's score interval (1927). @returns null when there is no image */
export function share(hits: number, images: number): Share | null {
  if (images === 0) return null;
  const value = hits / images;
  const z2 = Z_95 ** 2 / images;
  const middle = (value + z2 / 2) / (1 + z2);
  const half = (Z_95 / (1 + z2)) * Math.sqrt((value * (1 - value)) / images + z2 / (4 * images));
  return { value, low: Math.max(0, middle - half), high: Math.min(1, middle + half), images };
}

/** The variance of a share, never 0: as if half an image more were of either kind. */
export function shareVariance(hits: number, images: number): number {
  const p = (hits + 0.5) / (images + 1);
  return (p * (1 - p)) / images;
}

/** A value with a normal 95 % interval, cut to what a share can be. */
export function shareOf(value: number, variance: number, images: number): Share {
  const half = Z_95 * Math.sqrt(variance);
  return { value, low: Math.max(0, value - half), high: Math.min(1, value + half), images };
}
