import type { PixelStatistics } from './statistics.ts';

/** How light a picture is, and whether there is anything to see on it. */
export interface Exposure {
  /** Mean of the grey values, 0 (black) to 1 (white). */
  brightness: number;
  /**
   * Hardly any contrast: the grey values deviate by less than 1 % of their range (a standard deviation below 2.55). A lens
   * with its cap on, an empty page, a plain colour. Colours of equal lightness have no contrast either.
   */
  blank: boolean;
  /**
   * More than a quarter of the pixels are clipped, or nearly so (250 or more of 255). Of photos; a drawing on white is
   * over-exposed by this measure, too.
   */
  overExposed: boolean;
}

const WHITE = 255;
const BLANK_STDDEV = 0.01 * WHITE;
/** JPEG leaves clipped areas a few values below white. */
const CLIPPED_FROM = 250;
const CLIPPED_SHARE = 0.25;

/**
 * The exposure of a picture from what is known of its grey values.
 * @param histogram how many pixels have each value
 * @param pixels how many there are
 */
export function exposure(
  histogram: Uint32Array,
  pixels: number,
  { mean, stddev }: Pick<PixelStatistics, 'mean' | 'stddev'>,
): Exposure {
  let clipped = 0;
  for (let value = CLIPPED_FROM; value <= WHITE; value++) clipped += histogram[value]!;
  return {
    brightness: mean / WHITE,
    blank: stddev < BLANK_STDDEV,
    overExposed: clipped > CLIPPED_SHARE * pixels,
  };
}
