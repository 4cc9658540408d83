import { badImage, type ImageFailure } from './bad-image.ts';

/** Images decoded before they are classified together; the network is as fast at 64 as at 512. */
const MOST_IMAGES = 512;
/**
 * Decoded pixels held at once, or one larger image: photos of 12 megapixels are 36 MB each. Memory that is given back
 * and used again soon is cheap: with 64 MiB photos of 9 MB took a quarter longer.
 */
const MOST_PIXEL_BYTES = 16 * 1024 * 1024;

/**
 * Decodes images and hands them over in groups small enough for memory and large enough for the classifier.
 * Those that cannot be decoded go to `failures`.
 * @param release called with each image when the next group is asked for, or none any more
 */
export async function* decodeGroups<T>(
  images: Uint8Array<ArrayBuffer>[],
  decode: (bytes: Uint8Array<ArrayBuffer>) => Promise<T> | T,
  pixelBytes: (decoded: T) => number,
  failures: ImageFailure[],
  release: (decoded: T) => void,
): AsyncGenerator<{ index: number; decoded: T }[]> {
  let group: { index: number; decoded: T }[] = [];
  let held = 0;
  let ahead: Promise<T> | null = null;
  try {
    for (let index = 0; index < images.length; index++) {
      try {
        const begun: Promise<T> | T = ahead ?? decode(images[index]!);
        ahead = null;
        // One that is decoded on another thread leaves this one idle: begin with the next (+ 20 % with photos).
        if (begun instanceof Promise && index + 1 < images.length) ahead = begin(decode, images[index + 1]!);
        const decoded = begun instanceof Promise ? await begun : begun;
        group.push({ index, decoded });
        held += pixelBytes(decoded);
      } catch (error) {
        failures.push({ index, ...badImage(error) });
      }
      if (group.length >= MOST_IMAGES || held >= MOST_PIXEL_BYTES) {
        yield group;
        for (const { decoded } of group) release(decoded);
        group = [];
        held = 0;
      }
    }
    if (group.length > 0) yield group;
  } finally {
    for (const { decoded } of group) release(decoded);
    ahead?.then(release, () => undefined);
  }
}

/** Never throws: what goes wrong is heard of when it is that image's turn. */
function begin<T, B>(decode: (bytes: B) => Promise<T> | T, bytes: B): Promise<T> {
  const begun = (async () => decode(bytes))();
  begun.catch(() => undefined);
  return begun;
}
