import { createHash } from 'node:crypto';
import { describe as group, expect, test } from '@jest/globals';
import sharp from 'sharp';
import { NO_FACTS } from '../../images/exif.ts';
import { describe } from '../../images/metadata.ts';
import { parsePgm, pgmHeader } from '../../images/pgm.ts';
import { encodeGreyPng } from '../../images/png.ts';
import { stripLocation } from '../../images/strip-location/strip-location.ts';
import { placedPicture } from '../support/placed-images.ts';
import { sampleImages } from '../support/sample-images.ts';

const OPTIONS = { maxPixels: 1_000_000, pgmMaxSide: 256, background: 255, measure: true };

group('describe', () => {
  test('says everything about a digit', async () => {
    const digit = Uint8Array.from({ length: 28 * 28 }, (_, i) => {
      const [x, y] = [i % 28, Math.floor(i / 28)];
      return x >= 12 && x < 16 && y >= 4 && y < 24 ? 255 : 0; // a “1”: 80 pixels
    });
    const png = encodeGreyPng(digit, 28, 28);
    const described = await describe(png, OPTIONS);
    const share = 80 / 784;
    expect(described).toEqual({
      grey: { width: 28, height: 28, data: Buffer.from(digit) },
      facts: NO_FACTS,
      colourSpace: 'grey',
      measures: {
        sha256: createHash('sha256').update(png).digest('binary'),
        phash: expect.any(BigInt),
        statistics: {
          mean: 255 * share,
          stddev: expect.closeTo(255 * Math.sqrt(share * (1 - share)), 9),
          entropy: expect.closeTo(-share * Math.log2(share) - (1 - share) * Math.log2(1 - share), 9),
          sharpness: expect.any(Number),
          objectCount: 1,
        },
        exposure: { brightness: share, blank: false, overExposed: false },
        dominantColours: ['#000000', '#ffffff'],
      },
      pixels: {
        format: 'png',
        width: 28,
        height: 28,
        channels: 1,
        data: Buffer.from(digit),
        bitDepth: 8,
        exif: null,
        colourSpace: null,
      },
    });
    // the Laplacian: 255 outside of each edge pixel, −255 (sides) or −510 (corners) inside; 26 × 26 pixels
    const [outside, sides, corners] = [2 * (4 + 20), 2 * (2 + 18), 4];
    const squares = (outside + sides + 4 * corners) * 255 ** 2;
    expect(described.measures!.statistics.sharpness).toBeCloseTo(squares / 26 ** 2, 6);
  });

  test('the PGM and its statistics are of the reduced picture, the pixels are the original', async () => {
    const [photo] = await sampleImages(64, 48);
    const described = await describe(photo!.bytes, { ...OPTIONS, pgmMaxSide: 16 });
    expect(described.pixels).toMatchObject({ width: 64, height: 48, channels: 3 });
    const { grey, measures } = described;
    expect(grey).toMatchObject({ width: 16, height: 12 });
    expect(parsePgm(Buffer.concat([pgmHeader(grey), grey.data]))).toEqual(grey);
    const mean = grey.data.reduce((a, b) => a + b, 0) / grey.data.length;
    expect(measures!.statistics.mean).toBeCloseTo(mean, 9);
  });

  test('transparent pixels lie over the background of the options', async () => {
    const clear = await sharp({ create: { width: 4, height: 4, channels: 4, background: '#0000' } })
      .png()
      .toBuffer();
    const meanOver = async (background: number) =>
      (await describe(clear, { ...OPTIONS, background })).measures!.statistics.mean;
    expect(await meanOver(255)).toBe(255);
    expect(await meanOver(30)).toBe(30);
  });

  test('an image that still says where it was taken is refused where it must not', async () => {
    const placed = await placedPicture().jpeg().toBuffer();
    const options = { ...OPTIONS, withoutPlace: true };
    await expect((async () => describe(placed, options))()).rejects.toMatchObject({
      kind: 'location-not-removed',
    });
    expect((await describe(stripLocation(placed), options)).facts).toMatchObject({
      latitude: null,
      aperture: 5.6,
    });
  });

  test('without measures there is the picture alone', async () => {
    const [photo] = await sampleImages(64, 48);
    const { grey, ...rest } = await describe(photo!.bytes, { ...OPTIONS, measure: false });
    expect(grey).toMatchObject({ width: 64, height: 48 });
    expect(rest.measures).toBeNull();
  });

  test('bad images are refused', async () => {
    const rejected = (bytes: Uint8Array) =>
      expect((async () => describe(bytes, OPTIONS))()).rejects.toMatchObject({ code: 'BAD_IMAGE' });
    await rejected(new Uint8Array());
    await rejected(Buffer.from('hello'));
    for (const { bytes } of await sampleImages(16, 16)) await rejected(bytes.subarray(0, bytes.length / 2));
  });

  test('many images at once are each described by their own bytes', async () => {
    const samples = await sampleImages(40, 30);
    const alone = [];
    for (const { bytes } of samples) alone.push(await describe(bytes, OPTIONS));
    expect(await Promise.all(samples.map(async ({ bytes }) => describe(bytes, OPTIONS)))).toEqual(alone);
  });
});
