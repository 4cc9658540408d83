import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import sharp from 'sharp';
import { decode } from '../../images/decode.ts';
import { encodeGreyPng } from '../../images/png.ts';

describe('encodeGreyPng', () => {
  test('writes an 8-bit grey PNG that our decoder and an independent one read back', async () => {
    const size = fc.integer({ min: 1, max: 90 }); // to both sides of the change in compression
    await fc.assert(
      fc.asyncProperty(size, size, fc.integer(), async (width, height, seed) => {
        const pixels = Uint8Array.from({ length: width * height }, (_, i) => Math.imul(i + 1, seed) >>> 24);
        const png = encodeGreyPng(pixels, width, height);
        expect(await decode(png, { maxPixels: 10_000 })).toEqual({
          format: 'png',
          width,
          height,
          channels: 1,
          data: Buffer.from(pixels),
          bitDepth: 8,
          exif: null,
          colourSpace: null,
        });
        const independent = await sharp(png).toColourspace('b-w').raw().toBuffer();
        expect([...independent]).toEqual([...pixels]);
      }),
      { numRuns: 30 },
    );
  });

  test('refuses pixels that do not fill the size', () => {
    expect(() => encodeGreyPng(new Uint8Array(783), 28, 28)).toThrow(/783 pixels are not 28 × 28/);
  });
});
