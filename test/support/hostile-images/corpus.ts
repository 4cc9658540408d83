import { bombs } from './bombs.ts';
import { exifLoops } from './exif-loops.ts';
import { flippedBits } from './flipped-bits.ts';
import type { HostileImage } from './hostile-image.ts';
import { mistaken } from './mistaken.ts';
import { polyglots } from './polyglots.ts';
import { wrongSizes } from './sizes.ts';
import { sources as makeSources } from './sources.ts';
import { svgs } from './svgs.ts';
import { truncations } from './truncations.ts';
import { unusual } from './unusual.ts';
import { wrongChecksums } from './wrong-checksums.ts';

/**
 * Hundreds of files that decoders trip over, the same in every run.
 * @param origin of an HTTP server that those refer to that refer to one
 */
export async function hostileImages(origin: string): Promise<HostileImage[]> {
  const sources = await makeSources();
  return [
    ...truncations(sources),
    ...flippedBits(sources),
    ...wrongChecksums(),
    ...wrongSizes(sources),
    ...(await bombs()),
    ...(await mistaken(sources)),
    ...(await polyglots(origin)),
    ...(await exifLoops()),
    ...svgs(origin),
    ...(await unusual()),
  ];
}
