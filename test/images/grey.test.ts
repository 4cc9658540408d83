import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import type { Channels, Pixels } from '../../images/decode.ts';
import { toGrey } from '../../images/grey.ts';

function pixels(channels: Channels, samples: number[]): Pixels {
  const width = samples.length / channels;
  return {
    format: 'png',
    width,
    height: 1,
    channels,
    data: Uint8Array.from(samples),
    bitDepth: 8,
    exif: null,
    colourSpace: null,
  };
}

describe('toGrey', () => {
  test('is ITU-R BT.601 luma: 0.299 R + 0.587 G + 0.114 B, rounded', () => {
    const primaries = [255, 0, 0, 0, 255, 0, 0, 0, 255, 255, 255, 0, 0, 255, 255, 255, 0, 255, 12, 200, 77];
    // 76.245, 149.685, 29.07, 225.93, 178.755, 105.315, 129.766
    expect([...toGrey(pixels(3, primaries)).data]).toEqual([76, 150, 29, 226, 179, 105, 130]);
  });

  test('is within one half of the exact luma, for any colour', () => {
    const byte = fc.integer({ min: 0, max: 255 });
    fc.assert(
      fc.property(byte, byte, byte, (r, g, b) => {
        const exact = 0.299 * r + 0.587 * g + 0.114 * b;
        expect(Math.abs(toGrey(pixels(3, [r, g, b])).data[0]! - exact)).toBeLessThanOrEqual(0.501);
      }),
    );
  });

  test('leaves every grey as it is, whether stored as grey, RGB or with opaque alpha', () => {
    const values = Array.from({ length: 256 }, (_, v) => v);
    const grey = pixels(1, values);
    expect(toGrey(grey).data).toBe(grey.data); // not even copied
    expect([
      ...toGrey(
        pixels(
          3,
          values.flatMap((v) => [v, v, v]),
        ),
      ).data,
    ]).toEqual(values);
    expect([
      ...toGrey(
        pixels(
          2,
          values.flatMap((v) => [v, 255]),
        ),
      ).data,
    ]).toEqual(values);
    expect([
      ...toGrey(
        pixels(
          4,
          values.flatMap((v) => [v, v, v, 255]),
        ),
      ).data,
    ]).toEqual(values);
  });

  test('lays transparent pixels over the background, which is white unless told otherwise', () => {
    expect([...toGrey(pixels(2, [0, 0, 0, 128, 200, 51, 90, 255])).data]).toEqual([255, 127, 244, 90]);
    expect([...toGrey(pixels(2, [0, 0, 0, 128, 200, 51, 90, 255]), 0).data]).toEqual([0, 0, 40, 90]);
    expect([...toGrey(pixels(4, [255, 0, 0, 0, 255, 0, 0, 255]), 100).data]).toEqual([100, 76]);
  });
});
