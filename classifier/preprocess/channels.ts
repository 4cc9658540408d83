import type { Pixels } from './preprocess.ts';

/** 16-bit fixed-point weights of ITU-R BT.601 luma, 0.299 R + 0.587 G + 0.114 B, as Pillow rounds them. */
const RED = 19595;
const GREEN = 38470;
const BLUE = 7471;
const HALF = 0x8000;

const luma = (red: number, green: number, blue: number): number =>
  (red * RED + green * GREEN + blue * BLUE + HALF) >> 16;

/** `value` with opacity `alpha` over `background`, rounded. */
const over = (value: number, alpha: number, background: number): number =>
  Math.round((value * alpha + background * (255 - alpha)) / 255);

/** [height, width]; grey pixels are returned as they are, not copied. */
export function toGrey({ channels, data, width, height }: Pixels, background: number): Uint8Array {
  if (channels === 1) return data;
  const result = new Uint8Array(width * height);
  for (let index = 0, from = 0; index < result.length; index++, from += channels) {
    const value = channels === 2 ? data[from]! : luma(data[from]!, data[from + 1]!, data[from + 2]!);
    result[index] = channels === 3 ? value : over(value, data[from + channels - 1]!, background);
  }
  return result;
}

/** [height, width, 3]; RGB pixels are returned as they are, not copied. */
export function toRgb({ channels, data, width, height }: Pixels, background: number): Uint8Array {
  if (channels === 3) return data;
  const result = new Uint8Array(width * height * 3);
  const hasAlpha = channels % 2 === 0;
  for (let to = 0, from = 0; to < result.length; to += 3, from += channels) {
    for (let channel = 0; channel < 3; channel++) {
      const value = data[from + (channels < 3 ? 0 : channel)]!;
      result[to + channel] = hasAlpha ? over(value, data[from + channels - 1]!, background) : value;
    }
  }
  return result;
}
