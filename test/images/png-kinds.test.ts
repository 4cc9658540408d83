import { describe, expect, test } from '@jest/globals';
import sharp from 'sharp';
import { decode } from '../../images/decode.ts';
import { type ColourType, writePng } from '../support/png-writer.ts';

const [WIDTH, HEIGHT] = [13, 11]; // no multiple of 8: rows end within bytes, and Adam7 passes differ in size
const LIMITS = { maxPixels: 1_000_000 };

interface Kind {
  name: string;
  colourType: ColourType;
  depths: (1 | 2 | 4 | 8 | 16)[];
  samplesPerPixel: number;
}

const KINDS: Kind[] = [
  { name: 'grey', colourType: 0, depths: [1, 2, 4, 8, 16], samplesPerPixel: 1 },
  { name: 'RGB', colourType: 2, depths: [8, 16], samplesPerPixel: 3 },
  { name: 'palette', colourType: 3, depths: [1, 2, 4, 8], samplesPerPixel: 1 },
  { name: 'grey + alpha', colourType: 4, depths: [8, 16], samplesPerPixel: 2 },
  { name: 'RGBA', colourType: 6, depths: [8, 16], samplesPerPixel: 4 },
];

const CASES = KINDS.flatMap((kind) =>
  kind.depths.flatMap((depth) =>
    [false, true].flatMap((interlaced) =>
      (kind.colourType === 4 || kind.colourType === 6 ? [false] : [false, true]).map((transparent) => ({
        ...kind,
        depth,
        interlaced,
        transparent,
      })),
    ),
  ),
);

/** Numbers from 0 to max that look random and are the same in every run. */
function noise(length: number, max: number, seed: number): number[] {
  let state = seed;
  return Array.from({ length }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * (max + 1));
  });
}

describe('PNG', () => {
  test.each(CASES)(
    '$name of $depth bits, interlaced: $interlaced, tRNS: $transparent, has the pixels that were written',
    async ({ colourType, depth, samplesPerPixel, interlaced, transparent }) => {
      const max = 2 ** depth - 1;
      const samples = noise(WIDTH * HEIGHT * samplesPerPixel, max, 7 * colourType + depth);
      const palette = colourType === 3 ? noise(3 * (max + 1), 255, 5) : undefined;
      // a palette's tRNS may be shorter than the palette; the others name one transparent colour
      const alphas = noise(max, 255, 3);
      const key = samples.slice(0, samplesPerPixel);
      const body =
        colourType === 3 ? Buffer.from(alphas) : Buffer.from(key.flatMap((v) => [v >> 8, v & 255]));
      const png = writePng({
        width: WIDTH,
        height: HEIGHT,
        colourType,
        bitDepth: depth,
        interlaced,
        samples,
        ...(palette && { palette }),
        ...(transparent && { transparency: body }),
      });

      const to8 = (sample: number) => (depth === 16 ? sample >> 8 : (sample * 255) / max);
      const expected: number[] = [];
      for (let at = 0; at < samples.length; at += samplesPerPixel) {
        const pixel = samples.slice(at, at + samplesPerPixel);
        if (palette) {
          expected.push(...palette.slice(3 * pixel[0]!, 3 * pixel[0]! + 3));
          if (transparent) expected.push(alphas[pixel[0]!] ?? 255);
        } else {
          expected.push(...pixel.map(to8));
          if (transparent) expected.push(pixel.every((v, i) => v === key[i]) ? 0 : 255);
        }
      }

      const pixels = await decode(png, LIMITS);
      expect(pixels).toMatchObject({
        format: 'png',
        width: WIDTH,
        height: HEIGHT,
        bitDepth: depth,
        exif: null,
        colourSpace: null,
      });
      expect(pixels.channels).toBe(expected.length / (WIDTH * HEIGHT));
      expect([...pixels.data]).toEqual(expected);

      // and an independent decoder sees the same
      const rgba = await sharp(png).ensureAlpha().raw({ depth: 'uchar' }).toBuffer();
      expect([...rgba]).toEqual(toRgba(expected, pixels.channels));
    },
  );
});

function toRgba(data: number[], channels: number): number[] {
  const rgba: number[] = [];
  for (let at = 0; at < data.length; at += channels) {
    const [a, b, c, d] = data.slice(at, at + channels) as [number, number, number, number];
    if (channels <= 2) rgba.push(a, a, a, b ?? 255);
    else rgba.push(a, b, c, d ?? 255);
  }
  return rgba;
}
