import { badImage } from './bad-image.ts';
import type { BatchFailure } from './batch-task.ts';

/** Images decoded before they are classified together; the network is as fast at 64 as at 512. */
const MOST_IMAGES = 512;
/** Decoded pixels held at once: photos of 12 megapixels are 36 MB each. */
const MOST_PIXEL_BYTES = 64 * 1024 * 1024;

/**
 * Decodes images and hands them over in groups small enough for memory and large enough for the classifier.
 * Those that cannot be decoded go to `failures`.
 */
export async function* decodeGroups<T>(
  images: Uint8Array<ArrayBuffer>[],
  decode: (bytes: Uint8Array<ArrayBuffer>) => Promise<T> | T,
  pixelBytes: (decoded: T) => number,
  failures: BatchFailure[],
): AsyncGenerator<{ index: number; decoded: T }[]> {
  let group: { index: number; decoded: T }[] = [];
  let held = 0;
  for (let index = 0; index < images.length; index++) {
    try {
      const found = decode(images[index]!);
      // Most are decoded already, and waiting all the same would cost each a promise.
      const decoded = found instanceof Promise ? await found : found;
      group.push({ index, decoded });
      held += pixelBytes(decoded);
    } catch (error) {
      failures.push({ index, ...badImage(error) });
    }
    if (group.length >= MOST_IMAGES || held >= MOST_PIXEL_BYTES) {
      yield group;
      group = [];
      held = 0;
    }
  }
  if (group.length > 0) yield group;
}
