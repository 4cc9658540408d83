import type { HostileImage } from './hostile-image.ts';
import type { Source } from './sources.ts';

/** Fewer bytes of a file than these say nothing of its format. */
const LONGEST_SIGNATURE = { png: 4, jpeg: 2, gif: 6, webp: 12, tiff: 4, avif: 12, bmp: 2, pgm: 3 } as Record<
  string,
  number
>;

/** Every file cut at every border of its blocks, and in the middle of their bodies. */
export function truncations(sources: Source[]): HostileImage[] {
  return sources.flatMap(({ name, format, bytes, borders }) =>
    borders(bytes)
      .filter((border) => border >= LONGEST_SIGNATURE[format]!)
      .map((border): HostileImage => ({
        name: `cut: ${name} after ${border} of ${bytes.length} bytes`,
        bytes: bytes.subarray(0, border),
        fates: ['truncated'],
      })),
  );
}
