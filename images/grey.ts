import type { Pixels } from './decode.ts';

/** A greyscale image: height × width samples of 8 bits, rows from the top. */
export interface Grey {
  width: number;
  height: number;
  data: Uint8Array;
}

/** Luma weights of ITU-R BT.601 (0.299, 0.587, 0.114) in 1/65536; their sum is 65536, so grey stays what it is. */
const RED = 19595;
const GREEN = 38470;
const BLUE = 7471;
const HALF = 0x8000;

/**
 * Greyscale by ITU-R BT.601 luma, in integers, the same as Pillow's `convert('L')`:
 * `y = (19595 R + 38470 G + 7471 B + 32768) >> 16`. Transparent pixels lie over a grey background (0–255):
 * `(y · alpha + background · (255 − alpha) + 127) div 255`. A grey image without alpha is returned as it is, not copied.
 */
export function toGrey(pixels: Pixels, background = 255): Grey {
  const { width, height, channels, data } = pixels;
  if (channels === 1) return { width, height, data };
  const grey = new Uint8Array(width * height);
  if (channels === 2) {
    for (let i = 0; i < grey.length; i++) grey[i] = data[2 * i]!;
  } else {
    for (let i = 0, at = 0; i < grey.length; i++, at += channels) {
      grey[i] = (RED * data[at]! + GREEN * data[at + 1]! + BLUE * data[at + 2]! + HALF) >> 16;
    }
  }
  if (channels !== 3) layOver(background, grey, data, channels);
  return { width, height, data: grey };
}

/** Lays grey pixels over a background, by the alpha that is the last channel of `data`. */
function layOver(background: number, grey: Uint8Array, data: Uint8Array, channels: number): void {
  for (let i = 0, at = channels - 1; i < grey.length; i++, at += channels) {
    const alpha = data[at]!;
    if (alpha === 255) continue;
    grey[i] = ((grey[i]! * alpha + background * (255 - alpha) + 127) / 255) | 0;
  }
}
