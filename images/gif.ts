import type { ImageHeader } from './headers/header.ts';

/** Codes have at most 12 bits. */
const MOST_CODES = 4096;
const MOST_CODE_BITS = 12;

/**
 * Whether the compressed data of a GIF's first image hold as many pixels as the image has: libvips takes what is there, and
 * leaves the rest of the picture blank without a word. LZW as in appendix F of the 89a specification: codes of a growing number
 * of bits, the lowest first, in sub-blocks `size:u8 body`; each stands for a run of pixels that is one longer than an earlier
 * one. Only their lengths are looked at.
 */
export function holdsAllPixels(bytes: Uint8Array, { firstImage }: ImageHeader): boolean {
  if (!firstImage) return false;
  const { pixels, dataAt } = firstImage;
  const firstBits = bytes[dataAt]! + 1;
  if (firstBits > MOST_CODE_BITS) return false;
  const clear = 1 << (firstBits - 1);
  const lengths = new Uint16Array(MOST_CODES).fill(1, 0, clear);
  let [next, bits, before] = [clear + 2, firstBits, 0];
  let [found, held, heldBits] = [0, 0, 0];
  for (let at = dataAt + 1; at < bytes.length && bytes[at] !== 0; at += 1 + bytes[at]!) {
    const end = Math.min(at + 1 + bytes[at]!, bytes.length);
    for (let from = at + 1; from < end; from++) {
      held |= bytes[from]! << heldBits;
      heldBits += 8;
      while (heldBits >= bits) {
        const code = held & ((1 << bits) - 1);
        held >>= bits;
        heldBits -= bits;
        if (code === clear) {
          [next, bits, before] = [clear + 2, firstBits, 0];
          continue;
        }
        // The end, or a code that nothing was said of yet.
        if (code === clear + 1 || code > next || (code === next && before === 0)) return false;
        const length = code === next ? before + 1 : lengths[code]!;
        found += length;
        if (found >= pixels) return true;
        if (before > 0 && next < MOST_CODES) lengths[next++] = before + 1;
        if (next === 1 << bits && bits < MOST_CODE_BITS) bits++;
        before = length;
      }
    }
  }
  return false;
}
