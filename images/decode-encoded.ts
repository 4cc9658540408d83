import type { ImageFailure } from './bad-image.ts';
import { decode, type Pixels, releasePixels } from './decode.ts';
import { decodeGroups } from './decode-groups.ts';

/**
 * Decodes encoded images (PNG, JPEG, …) and hands them over in groups, see `decodeGroups`.
 * @param use may not keep the pixels
 * @returns those that cannot be decoded
 */
export async function decodeEncoded(
  images: Uint8Array<ArrayBuffer>[],
  maxPixels: number,
  use: (pixels: Pixels[], indexes: number[]) => Promise<void>,
): Promise<ImageFailure[]> {
  const failures: ImageFailure[] = [];
  const groups = decodeGroups(
    images,
    (image) => decode(image, { maxPixels }),
    ({ data }) => data.length,
    failures,
    releasePixels,
  );
  for await (const group of groups) {
    await use(
      group.map(({ decoded }) => decoded),
      group.map(({ index }) => index),
    );
  }
  return failures;
}
