import { mulberry32 } from '../../../classifier/train/random.ts';
import { repairChecksums } from '../png-writer.ts';
import { ANY_DEATH, ANY_FATE, type HostileImage } from './hostile-image.ts';
import type { Source } from './sources.ts';

const SEED = 20260;
/** Of each file; every other one among the first bytes, where the sizes are. */
const FLIPS = 10;
const FIRST_BYTES = 64;

/** One bit of a file is wrong, as disks, memory and networks have it; in a PNG also where its checksums do not tell. */
export function flippedBits(sources: Source[]): HostileImage[] {
  const random = mulberry32(SEED);
  return sources.flatMap((source) => {
    const flipped = Array.from({ length: FLIPS }, (_, n) => flip(source, n % 2 === 0, random));
    if (source.name !== 'PNG') return flipped;
    const checked = flipped.map((image): HostileImage => ({ ...image, fates: ANY_DEATH }));
    const repaired = flipped.map(({ name, bytes }): HostileImage => ({
      name: `${name}, with right checksums`,
      bytes: repairChecksums(Buffer.from(bytes)),
      fates: ANY_FATE,
    }));
    return [...checked, ...repaired];
  });
}

function flip({ name, bytes }: Source, early: boolean, random: () => number): HostileImage {
  const at = Math.floor(random() * (early ? Math.min(FIRST_BYTES, bytes.length) : bytes.length));
  const bit = Math.floor(random() * 8);
  const copy = Buffer.from(bytes);
  copy[at]! ^= 1 << bit;
  return { name: `flipped: ${name}, bit ${bit} of byte ${at}`, bytes: copy, fates: ANY_FATE };
}
