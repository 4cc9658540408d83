import { hash } from 'node:crypto';
import { decode, type Pixels } from '../images/decode.ts';
import { dominantColours, dominantGreys } from '../images/dominant-colours.ts';
import { exposure } from '../images/exposure.ts';
import { toGrey } from '../images/grey.ts';
import { greyHistogram } from '../images/histogram.ts';
import { describe } from '../images/metadata.ts';
import { fitWithin } from '../images/pgm.ts';
import { perceptualHash } from '../images/phash.ts';
import { sniff } from '../images/sniff.ts';
import { pixelStatistics } from '../images/statistics.ts';

const ROUNDS = 5;
const OPTIONS = { maxPixels: 100_000_000, pgmMaxSide: 256, background: 255, measure: true };

/** What a step of `describe` costs. */
export interface Price {
  step: string;
  /** Microseconds per image, one thread. */
  us: number;
}

/**
 * What each column of the image table costs before it is written: every step of `describe` on its own, over encoded
 * images of a format that is decoded at once (PNG). The best of some rounds: the others were disturbed.
 */
export function priceColumns(images: Buffer[]): Price[] {
  const pixels = images.map((bytes) => decode(bytes, OPTIONS) as Pixels);
  const greys = pixels.map((each) => toGrey(each));
  const price = (step: string, run: (index: number) => unknown): Price => {
    let best = Infinity;
    for (let round = 0; round < ROUNDS; round++) {
      const start = performance.now();
      for (let index = 0; index < images.length; index++) run(index);
      best = Math.min(best, performance.now() - start);
    }
    return { step, us: (best / images.length) * 1000 };
  };
  return [
    price('width, height, format: from the header', (i) => sniff(images[i]!, OPTIONS)),
    price('decode, with the header', (i) => decode(images[i]!, OPTIONS)),
    price('image_pgm: reduced, if need be', (i) => fitWithin(greys[i]!, OPTIONS.pgmMaxSide)),
    price('pixel_mean … over_exposed', (i) => {
      const [grey, histogram] = [greys[i]!, greyHistogram(greys[i]!)];
      return exposure(histogram, grey.data.length, pixelStatistics(grey, histogram));
    }),
    price('dominant_colours', (i) =>
      pixels[i]!.channels === 1
        ? dominantGreys(greyHistogram(greys[i]!), greys[i]!.data.length)
        : dominantColours(pixels[i]!),
    ),
    price('phash', (i) => perceptualHash(greys[i]!)),
    price('sha256', (i) => hash('sha256', images[i]!, 'binary')),
    price('all of these', (i) => describe(images[i]!, OPTIONS)),
    price('all of the classic columns', (i) => describe(images[i]!, { ...OPTIONS, measure: false })),
  ];
}
