import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import type { Channels, Pixels } from '../../images/decode.ts';
import { dominantColours, dominantGreys } from '../../images/dominant-colours.ts';
import { greyHistogram } from '../../images/histogram.ts';

function picture(
  width: number,
  height: number,
  channels: Channels,
  colourAt: (x: number, y: number) => number[],
): Pixels {
  const data = new Uint8Array(width * height * channels);
  for (let y = 0, at = 0; y < height; y++) {
    for (let x = 0; x < width; x++, at += channels) data.set(colourAt(x, y), at);
  }
  return { format: 'png', width, height, channels, data, bitDepth: 8, exif: null, colourSpace: null };
}

const RED = [200, 16, 46];
const WHITE = [255, 255, 255];
const BLUE = [1, 33, 105];

describe('dominant colours', () => {
  test('are exact where areas are flat, the largest first', () => {
    // 6 of 12 stripes white, 4 red, 2 blue
    const stripes = [BLUE, RED, RED, WHITE, WHITE, WHITE, WHITE, WHITE, WHITE, RED, RED, BLUE];
    for (const scale of [1, 2, 40]) {
      const flag = picture(12 * scale, 8 * scale, 3, (x) => stripes[Math.floor(x / scale)]!);
      expect(dominantColours(flag)).toEqual(['#ffffff', '#c8102e', '#012169']);
    }
  });

  test('are the mean of what differs a little, also across the border of two bins', () => {
    const noisy = picture(64, 64, 3, (x, y) => [126 + ((x + y) % 5), 60, 30]);
    expect(dominantColours(noisy)).toEqual([expect.stringMatching(/^#8[01]3c1e$/)]);
  });

  test('leave out what has less than 5 % of the pixels, and are five at most', () => {
    const dots = picture(12, 12, 3, (x, y) => (y === 0 && x < 7 ? RED : WHITE));
    expect(dominantColours(dots)).toEqual(['#ffffff']);
    const many = picture(120, 12, 3, (x) => {
      const n = Math.floor(x / 12);
      return [(n % 3) * 120, (Math.floor(n / 3) % 3) * 120, n === 9 ? 240 : 0];
    });
    expect(dominantColours(many)).toHaveLength(5);
  });

  test('leave out what is transparent', () => {
    const half = picture(10, 10, 4, (x) => [...(x < 5 ? RED : BLUE), x < 5 ? 0 : 255]);
    expect(dominantColours(half)).toEqual(['#012169']);
    const greyHalf = picture(10, 10, 2, (x) => [x < 5 ? 10 : 200, x < 5 ? 255 : 20]);
    expect(dominantColours(greyHalf)).toEqual(['#0a0a0a']);
    expect(dominantColours(picture(10, 10, 4, () => [...RED, 0]))).toBeNull();
  });

  test('of a grey picture are those of the same picture in colour', () => {
    const grey = picture(12, 12, 1, (x) => [x < 7 ? 0 : x < 10 ? 255 : 130]);
    const colour = picture(12, 12, 3, (x) => Array<number>(3).fill(x < 7 ? 0 : x < 10 ? 255 : 130));
    const greys = dominantGreys(greyHistogram(grey), 144);
    expect(greys).toEqual(['#000000', '#ffffff', '#828282']);
    expect(dominantColours(colour)).toEqual(greys);
  });

  test('do not depend on the picture before, and are colours or null for any pixels', () => {
    const pixels = fc
      .record({
        width: fc.integer({ min: 1, max: 70 }),
        height: fc.integer({ min: 1, max: 70 }),
        channels: fc.constantFrom<Channels[]>(2, 3, 4),
        seed: fc.array(fc.nat(255), { minLength: 1, maxLength: 40 }),
      })
      .map(({ width, height, channels, seed }) =>
        picture(width, height, channels, (x, y) =>
          Array.from({ length: channels }, (_, c) => seed[(x * 7 + y * 3 + c) % seed.length]!),
        ),
      );
    fc.assert(
      fc.property(pixels, pixels, (a, b) => {
        const alone = dominantColours(a);
        dominantColours(b);
        expect(dominantColours(a)).toEqual(alone);
        if (alone === null) return;
        expect(alone.length).toBeGreaterThan(0);
        expect(alone.length).toBeLessThanOrEqual(5);
        for (const colour of alone) expect(colour).toMatch(/^#[0-9a-f]{6}$/);
        expect(new Set(alone).size).toBe(alone.length);
      }),
    );
  });

  test('of sides that are as long as they may be take no longer than others', () => {
    const line = { ...picture(1, 1, 3, () => RED), width: 1_000_000, data: new Uint8Array(3_000_000) };
    expect(dominantColours(line)).toEqual(['#000000']);
  });
});
