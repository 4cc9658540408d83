import { describe, expect, test } from '@jest/globals';
import { createDistorter, type DistortionLimits } from '../../../classifier/train/distort.ts';
import { mulberry32, type Random } from '../../../classifier/train/random.ts';

const plain = Float32Array.from({ length: 256 }, (_, index) => index);
const NONE: DistortionLimits = { shift: 0, rotate: 0, zoom: 0, shear: 0, elastic: 0, elasticSigma: 4 };

/** Random numbers given in advance; 0 is the limit to one side, 0.5 nothing, 1 the limit to the other. */
const numbers =
  (...values: number[]): Random =>
  () =>
    values.shift()!;

interface Picture {
  width: number;
  height: number;
  channels?: number;
  pixels: number[];
}

function distort(
  { width, height, channels = 1, pixels }: Picture,
  limits: Partial<DistortionLimits>,
  random: Random,
  seed = 1,
): number[] {
  const shape = { width, height, channels };
  const x = new Float32Array(pixels.length);
  const inputs = Uint8Array.from([99, ...pixels]);
  createDistorter(shape, plain, { ...NONE, ...limits }, random, seed)(inputs, 1, x, 0);
  return [...x];
}

/** 5 × 5, every pixel another value. */
const square: Picture = { width: 5, height: 5, pixels: Array.from({ length: 25 }, (_, index) => index * 10) };
const rows = (pixels: number[], width = 5): number[][] =>
  Array.from({ length: pixels.length / width }, (_, row) => pixels.slice(row * width, (row + 1) * width));

describe('createDistorter', () => {
  test('leaves an image as it is when the draws are in the middle', () => {
    const limits = { shift: 3, rotate: 40, zoom: 0.5, shear: 0.5 };
    expect(distort(square, limits, numbers(...new Array<number>(6).fill(0.5)))).toEqual(square.pixels);
  });

  test('turns an image by a right angle', () => {
    const turned = rows(distort(square, { rotate: 90 }, numbers(1)));
    const clockwise = Array.from({ length: 5 }, (_, row) =>
      Array.from({ length: 5 }, (_, column) => square.pixels[(4 - column) * 5 + row]!),
    );
    const either = [clockwise, clockwise.toReversed().map((row) => row.toReversed())];
    expect(either).toContainEqual(turned);
  });

  test('moves an image by fractions of a pixel, repeating its edge', () => {
    const line = { width: 4, height: 1, pixels: [0, 100, 200, 200] };
    // The second draw is the vertical one.
    expect(distort(line, { shift: 0.5 }, numbers(1, 0.5))).toEqual([50, 150, 200, 200]);
    expect(distort(line, { shift: 0.5 }, numbers(0, 0.5))).toEqual([0, 50, 150, 200]);
    expect(distort(line, { shift: 50 }, numbers(1, 1))).toEqual([200, 200, 200, 200]);
    expect(distort(line, { shift: 50 }, numbers(0, 0))).toEqual([0, 0, 0, 0]);
  });

  test('makes an image larger about its centre, width and height by themselves', () => {
    const line = { width: 5, height: 1, pixels: [0, 40, 80, 120, 160] };
    expect(distort(line, { zoom: 0.9 }, numbers(0.5 + 1 / 1.8 / 2, 0.5))).toEqual([27, 53, 80, 107, 133]);
    expect(distort(line, { zoom: 0.5 }, numbers(0, 0.5))).toEqual([0, 0, 80, 160, 160]);
    expect(distort(line, { zoom: 0.5 }, numbers(0.5, 0))).toEqual(line.pixels);
  });

  test('slants an image: rows above and below the centre move to opposite sides', () => {
    const bar = [0, 0, 255, 0, 0];
    const bars = { width: 5, height: 3, pixels: [...bar, ...bar, ...bar] };
    const slanted = rows(distort(bars, { shear: 1 }, numbers(1)));
    const places = slanted.map((row) => row.indexOf(255));
    expect(places[1]).toBe(2);
    expect([
      [1, 2, 3],
      [3, 2, 1],
    ]).toContainEqual(places);
  });

  test('moves the channels of a pixel together', () => {
    const colour = { width: 3, height: 1, channels: 3, pixels: [1, 2, 3, 4, 5, 6, 7, 8, 9] };
    expect(distort(colour, { shift: 1 }, numbers(1, 0.5))).toEqual([4, 5, 6, 7, 8, 9, 7, 8, 9]);
  });

  test('bends an image elastically by about as many pixels as it is told, neighbours alike', () => {
    // Each pixel's value is its column, so that the difference is how far it was moved.
    const side = 128;
    const ramp = {
      width: side,
      height: side,
      pixels: Array.from({ length: side * side }, (_, index) => 64 + (index % side)),
    };
    const moved = distort(ramp, { elastic: 3, elasticSigma: 4 }, mulberry32(5));
    const inner = Array.from({ length: 100 }, (_, row) =>
      Array.from(
        { length: 100 },
        (_, column) => moved[(row + 14) * side + column + 14]! - 64 - (column + 14),
      ),
    );
    const all = inner.flat();
    const rms = Math.sqrt(all.reduce((sum, value) => sum + value * value, 0) / all.length);
    expect(rms).toBeGreaterThan(2);
    expect(rms).toBeLessThan(4);
    const steps = inner.flatMap((row) => row.slice(1).map((value, index) => Math.abs(value - row[index]!)));
    expect(Math.max(...steps)).toBeLessThanOrEqual(4);
    expect(steps.reduce((sum, step) => sum + step, 0) / steps.length).toBeLessThan(1);
  });

  test('draws the same from the same numbers and seed, and another bend from others', () => {
    const bend = (random: number, seed: number) =>
      distort(square, { elastic: 2 }, mulberry32(random), seed).join();
    expect(bend(1, 1)).toBe(bend(1, 1));
    expect(bend(2, 1)).not.toBe(bend(1, 1));
    expect(bend(1, 2)).not.toBe(bend(1, 1));
  });

  test('never looks outside the image, whatever the limits', () => {
    const wild = { shift: 64, rotate: 180, zoom: 0.9, shear: 2, elastic: 64, elasticSigma: 0.5 };
    const shape = { width: 5, height: 5, channels: 1 };
    const distorter = createDistorter(shape, plain, wild, mulberry32(9), 1);
    const inputs = new Uint8Array(27).fill(7);
    [inputs[0], inputs[26]] = [99, 99];
    const x = new Float32Array(25);
    for (let round = 0; round < 500; round++) {
      distorter(inputs, 1, x.fill(0), 0);
      expect(x).toEqual(new Float32Array(25).fill(7));
    }
  });
});
