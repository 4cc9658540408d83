import { encodeGreyPng } from '../../images/png.ts';

/** A PNG that takes as many bytes as it has pixels; the same each time. */
export function noisePng(side: number): Buffer {
  let state = 1;
  const pixels = Uint8Array.from(
    { length: side * side },
    () => (state = Math.imul(state, 48271) & 0x7fffffff) >> 20,
  );
  return encodeGreyPng(pixels, side, side);
}
