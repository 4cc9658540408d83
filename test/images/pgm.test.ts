import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { decode } from '../../images/decode.ts';
import { fitWithin, parsePgm, toPgm } from '../../images/pgm.ts';
import { reduceTo } from '../../images/reduce.ts';

const grey = (width: number, height: number, data: number[]) => ({
  width,
  height,
  data: Uint8Array.from(data),
});
const anyGrey = fc
  .tuple(fc.integer({ min: 1, max: 40 }), fc.integer({ min: 1, max: 40 }))
  .chain(([width, height]) =>
    fc
      .uint8Array({ minLength: width * height, maxLength: width * height })
      .map((data) => ({ width, height, data })),
  );

describe('toPgm', () => {
  test('writes a binary PGM, byte for byte', () => {
    const pgm = toPgm(grey(3, 2, [0, 1, 2, 253, 254, 255]), 256);
    expect(pgm).toEqual(
      Buffer.concat([Buffer.from('P5\n3 2\n255\n'), Buffer.from([0, 1, 2, 253, 254, 255])]),
    );
  });

  test('never enlarges, and keeps an image of the largest size as it is', () => {
    const image = grey(4, 2, [1, 2, 3, 4, 5, 6, 7, 8]);
    expect(fitWithin(image, 4)).toBe(image);
    expect(fitWithin(image, 5)).toBe(image);
  });

  test('averages areas: whole pixels', () => {
    // 4 × 2 → 2 × 1: means of the two 2 × 2 blocks, 11.5 is rounded up
    expect(parsePgm(toPgm(grey(4, 2, [10, 20, 0, 0, 30, 40, 46, 0]), 2))).toEqual(grey(2, 1, [25, 12]));
  });

  test('averages areas: pixels on the border of two count in proportion', () => {
    // 3 → 2: (a + b/2) / 1.5 and (b/2 + c) / 1.5
    expect(parsePgm(toPgm(grey(3, 1, [0, 90, 240]), 2)).data).toEqual(Uint8Array.from([30, 190]));
  });

  test('keeps the proportions, and no side gets shorter than a pixel', () => {
    expect(parsePgm(toPgm(grey(1000, 2, Array(2000).fill(9)), 100))).toEqual(
      grey(100, 1, Array(100).fill(9)),
    );
    expect(parsePgm(toPgm(grey(30, 40, Array(1200).fill(9)), 20))).toMatchObject({ width: 15, height: 20 });
  });

  test('is read back the same, by parsePgm and by the decoder', async () => {
    await fc.assert(
      fc.asyncProperty(anyGrey, async (image) => {
        const pgm = toPgm(image, 256);
        expect(parsePgm(pgm)).toEqual({ ...image, data: expect.anything() });
        expect([...parsePgm(pgm).data]).toEqual([...image.data]);
        const decoded = await decode(pgm, { maxPixels: 10_000 });
        expect([...decoded.data]).toEqual([...image.data]);
      }),
      { numRuns: 50 },
    );
  });
});

describe('parsePgm', () => {
  test.each(['', 'hello', 'P6 1 1 255\nabc', 'P2 1 1 255\n7', 'P5 1 1 65535\nab', 'P5 3 1 255\nab'])(
    'refuses %j',
    (content) => {
      expect(() => parsePgm(Buffer.from(content))).toThrow(/PGM/);
    },
  );

  test('skips comments, and bytes after the pixels', () => {
    expect(parsePgm(Buffer.from('P5 # x\n2 1\n255\nabcd')).data).toEqual(Buffer.from('ab'));
  });
});

describe('reduceTo', () => {
  test('keeps the mean of any image, but for rounding', () => {
    const mean = ({ data }: { data: Uint8Array }) => data.reduce((a, b) => a + b, 0) / data.length;
    fc.assert(
      fc.property(
        anyGrey,
        fc.integer({ min: 1, max: 40 }),
        fc.integer({ min: 1, max: 40 }),
        (image, w, h) => {
          const reduced = reduceTo(image, Math.min(w, image.width), Math.min(h, image.height));
          expect(Math.abs(mean(reduced) - mean(image))).toBeLessThanOrEqual(0.5 + 1e-6);
        },
      ),
    );
  });

  test('refuses to enlarge', () => {
    expect(() => reduceTo(grey(2, 2, [1, 2, 3, 4]), 3, 2)).toThrow(RangeError);
  });
});
