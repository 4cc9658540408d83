import { encodeGreyPng } from '../../images/png.ts';
import { digitPixels, SIDE } from './digits.ts';
import type { TestMessage } from './pipeline.ts';

/** A message whose key and bytes are known. */
export type DigitMessage = TestMessage & { key: string; value: Buffer };

/** One in so many messages holds only the first half of its image … */
const DAMAGED_EVERY = 500;
const DAMAGED_AT = 250;
/** … and one in so many repeats the key of an earlier message, with another image. */
const REPEATED_EVERY = 20;
const REPEATED_AT = 19;
/** How far back, in turn: in the same batch as a rule, and long since written. */
const NEAR = 17;
const FAR = 1037;

/** A handwritten digit with its number written into the corner, as 16 black or white pixels: all differ. */
export function numberedDigit(number: number): Buffer {
  const pixels = digitPixels(number % 10, Math.floor(number / 10));
  for (let bit = 0; bit < 16; bit++) pixels[bit] = (number >> bit) & 1 ? 255 : 0;
  return encodeGreyPng(pixels, SIDE, SIDE);
}

/**
 * The n-th message of a stream in which every image is another one: mostly under a key of its own, sometimes under that
 * of an earlier message (then the later one counts), sometimes damaged (then it is a dead letter, whatever its key).
 * The same n is the same message every time.
 */
function digitMessage(n: number, damaged: boolean): DigitMessage {
  const back = (n / REPEATED_EVERY) & 1 ? FAR : NEAR;
  const repeats = n % REPEATED_EVERY === REPEATED_AT && n >= back;
  const image = numberedDigit(n);
  return {
    key: `digit-${repeats ? n - back : n}.png`,
    value: damaged && isDamaged(n) ? image.subarray(0, image.length >> 1) : image,
  };
}

/** With every other one being a repetition: what it would have replaced stays. */
const isDamaged = (n: number): boolean =>
  n % DAMAGED_EVERY === DAMAGED_AT || n % DAMAGED_EVERY === DAMAGED_EVERY - 1;

/** @param damaged false: no image is. */
export const digitMessages = (from: number, to: number, damaged = true): DigitMessage[] =>
  Array.from({ length: to - from }, (_, i) => digitMessage(from + i, damaged));

/** How many of the first `count` messages are damaged. */
export const damagedAmong = (count: number): number =>
  Array.from({ length: count }, (_, n) => isDamaged(n)).filter(Boolean).length;
