import { hash } from 'node:crypto';
import { decode, type Pixels } from './decode.ts';
import { dominantColours, dominantGreys } from './dominant-colours.ts';
import { readExif, type ExifFacts } from './exif.ts';
import { exposure, type Exposure } from './exposure.ts';
import { type Grey, toGrey } from './grey.ts';
import { greyHistogram } from './histogram.ts';
import { fitWithin } from './pgm.ts';
import { perceptualHash } from './phash.ts';
import type { ImageLimits } from './sniff.ts';
import { refusePlaced } from './strip-location/strip-location.ts';
import { type PixelStatistics, pixelStatistics } from './statistics.ts';

export interface DescribeOptions extends ImageLimits {
  /** Longest side of the PGM; the dataset's `pgm_max_side`. */
  pgmMaxSide: number;
  /** Grey value (0–255) behind transparent pixels; the dataset's background. */
  background: number;
  /** Whether to find out more than the picture itself: hashes and statistics, which cost as much as decoding. */
  measure: boolean;
  /** Whether an image that says where it was taken is refused: it was to be taken out before (strip-location/). */
  withoutPlace?: boolean;
}

/** What there is to know about an image. */
export interface Described {
  /** For the classifier, so that nothing is decoded twice; the original channels and size, not the PGM's. */
  pixels: Pixels;
  /** The whole picture in grey, as the PGM holds it; the statistics are of these pixels. */
  grey: Grey;
  facts: ExifFacts;
  /**
   * What its colours were stored as: the name of its colour profile, `CMYK`, or without either `sRGB`, or `grey` for a picture
   * of one channel (and alpha).
   */
  colourSpace: string;
  /** null unless asked for with `measure`. */
  measures: Measures | null;
}

export interface Measures {
  /** SHA-256 of the encoded bytes: 32 characters of 0–255, a byte each (a string costs half of what a buffer does). */
  sha256: string;
  /** Signed 64 bits; see perceptualHash. */
  phash: bigint;
  statistics: PixelStatistics;
  exposure: Exposure;
  /** `#rrggbb`, the commonest first; see dominantColours. */
  dominantColours: string[] | null;
}

/**
 * Decodes an image and describes it. Throws, or rejects with, HubError BAD_IMAGE if it is none, is too large, damaged or
 * truncated (see decode). PNG, BMP and netpbm images are described at once and returned, not promised; images of other
 * formats wait for sharp, so it pays to have several under way.
 */
export function describe(bytes: Uint8Array, options: DescribeOptions): Described | Promise<Described> {
  const decoded = decode(bytes, options);
  return decoded instanceof Promise
    ? decoded.then((pixels) => describePixels(bytes, pixels, options))
    : describePixels(bytes, decoded, options);
}

function describePixels(
  bytes: Uint8Array,
  pixels: Pixels,
  { background, pgmMaxSide, measure, withoutPlace = false }: DescribeOptions,
): Described {
  const facts = readExif(pixels.exif);
  if (withoutPlace) refusePlaced(facts);
  const grey = fitWithin(toGrey(pixels, background), pgmMaxSide);
  return {
    pixels,
    grey,
    facts,
    colourSpace: pixels.colourSpace ?? (pixels.channels < 3 ? 'grey' : 'sRGB'),
    measures: measure ? measureImage(bytes, pixels, grey) : null,
  };
}

function measureImage(bytes: Uint8Array, pixels: Pixels, grey: Grey): Measures {
  const histogram = greyHistogram(grey);
  const statistics = pixelStatistics(grey, histogram);
  const greys = grey.width * grey.height;
  return {
    sha256: hash('sha256', bytes, 'binary'),
    phash: perceptualHash(grey),
    statistics,
    exposure: exposure(histogram, greys, statistics),
    dominantColours: pixels.channels === 1 ? dominantGreys(histogram, greys) : dominantColours(pixels),
  };
}
