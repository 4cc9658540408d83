import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import sharp from 'sharp';
import { readIcc } from '../../images/colour-profile/icc.ts';
import { tiffWithProfile } from '../../images/colour-profile/tiff.ts';
import { decode, type Channels } from '../../images/decode.ts';
import { exifBlock, withExifSegment } from '../support/exif-block.ts';
import { ADOBE_RGB, SRGB, SRGB_CURVE, writeIcc } from '../support/icc-profile.ts';
import { samplePixels } from '../support/sample-images.ts';

const LIMITS = { maxPixels: 1_000_000 };
const [WIDTH, HEIGHT] = [24, 16];
const GAMMA = 2.2;
const ADOBE = { name: 'Adobe RGB (1998)', primaries: ADOBE_RGB, curve: GAMMA };

/** A picture of so many channels that carries the profile, its samples unchanged. */
function tagged(icc: Buffer, channels: Channels = 3) {
  const data = Buffer.from(samplePixels(WIDTH, HEIGHT)).subarray(0, WIDTH * HEIGHT * Math.min(channels, 3));
  const samples = channels === 4 ? Buffer.concat([data, data]).subarray(0, WIDTH * HEIGHT * 4) : data;
  const tiff = tiffWithProfile({ width: WIDTH, height: HEIGHT, channels, data: samples }, icc);
  return { samples, image: () => sharp(tiff).keepIccProfile() };
}

const encode = (light: number) => {
  const x = Math.min(1, Math.max(0, light));
  return Math.round(255 * (x <= 0.0031308 ? 12.92 * x : 1.055 * x ** (1 / 2.4) - 0.055));
};

/** From the definitions: samples to light, to XYZ, to the light of sRGB's primaries, to samples. */
function adobeToSrgb(rgb: Uint8Array): number[] {
  const light = [...rgb].map((sample) => (sample / 255) ** GAMMA);
  const xyz = [0, 1, 2].map((i) => ADOBE_RGB.reduce((sum, colour, c) => sum + colour[i]! * light[c]!, 0));
  const [r, g, b] = SRGB as [number[], number[], number[]];
  const cross = (p: number[], q: number[]) => [
    p[1]! * q[2]! - p[2]! * q[1]!,
    p[2]! * q[0]! - p[0]! * q[2]!,
    p[0]! * q[1]! - p[1]! * q[0]!,
  ];
  const dot = (p: number[], q: number[]) => p.reduce((sum, value, i) => sum + value * q[i]!, 0);
  const determinant = dot(r, cross(g, b));
  return [cross(g, b), cross(b, r), cross(r, g)].map((row) => encode(dot(row, xyz) / determinant));
}

/** How far two pictures are apart where they are furthest apart. */
const distance = (a: ArrayLike<number>, b: ArrayLike<number>): number =>
  Array.from(a).reduce((most, value, i) => Math.max(most, Math.abs(value - b[i]!)), 0);
/** … and on average. */
const meanDistance = (a: ArrayLike<number>, b: ArrayLike<number>): number =>
  Array.from(a).reduce((sum, value, i) => sum + Math.abs(value - b[i]!), 0) / a.length;

describe('a photo with a colour profile becomes sRGB', () => {
  const { image } = tagged(writeIcc(ADOBE));
  test.each([
    ['PNG', image().png()],
    ['JPEG', image().jpeg({ quality: 95 })],
    ['large JPEG', image().resize(400, 400, { kernel: 'nearest', fit: 'fill' }).jpeg()],
    ['WebP', image().webp({ lossless: true })],
    ['TIFF', image().tiff()],
    ['AVIF', image().avif({ lossless: true })],
    ['PNG of 16 bits', image().toColourspace('rgb16').png()],
  ])('%s', async (_, picture) => {
    const bytes = await picture.toBuffer();
    const asStored = await sharp(bytes, { ignoreIcc: true }).raw({ depth: 'uchar' }).toBuffer();
    const pixels = await decode(bytes, LIMITS);
    expect(pixels).toMatchObject({ channels: 3, colourSpace: ADOBE.name });
    const expected: number[] = [];
    const samples = Math.min(asStored.length, WIDTH * HEIGHT * 3); // of a large picture the first
    for (let i = 0; i < samples; i += 3) expected.push(...adobeToSrgb(asStored.subarray(i, i + 3)));
    // Little CMS counts in 16 bits, and near black one step of them is several of sRGB's.
    expect(distance(expected, pixels.data)).toBeLessThanOrEqual(2);
    expect(distance(expected, asStored)).toBeGreaterThan(20);
  });

  test('its alpha stays as it is', async () => {
    const { samples, image } = tagged(writeIcc(ADOBE), 4);
    const pixels = await decode(await image().png().toBuffer(), LIMITS);
    expect(pixels.channels).toBe(4);
    for (let i = 0; i < samples.length; i += 4) {
      expect(pixels.data[i + 3]).toBe(samples[i + 3]);
      const [red, green, blue] = adobeToSrgb(samples.subarray(i, i + 3));
      expect(distance(pixels.data.subarray(i, i + 3), [red!, green!, blue!])).toBeLessThanOrEqual(2);
    }
  });

  test('one whose profile is longer than a segment of a JPEG too', async () => {
    const { image } = tagged(writeIcc({ ...ADOBE, padding: 150_000 }));
    const bytes = await image().jpeg().toBuffer();
    const asStored = await sharp(bytes, { ignoreIcc: true }).raw().toBuffer();
    const { data } = await decode(bytes, LIMITS);
    expect(distance(data.subarray(0, 3), adobeToSrgb(asStored.subarray(0, 3)))).toBeLessThanOrEqual(2);
  });

  test('and is turned as its EXIF says', async () => {
    const bytes = await image().jpeg().toBuffer();
    const turned = withExifSegment(bytes, exifBlock({ image: [{ tag: 0x0112, short: 6 }] }));
    expect(await decode(turned, LIMITS)).toMatchObject({
      width: HEIGHT,
      height: WIDTH,
      colourSpace: ADOBE.name,
    });
  });
});

test.each([1, 2] as const)(
  'grey with %i channels stays grey, and takes the curve of sRGB',
  async (channels) => {
    const { samples, image } = tagged(writeIcc({ name: 'Gamma 1.8', curve: 1.8 }), channels);
    const pixels = await decode(await image().toColourspace('b-w').png().toBuffer(), LIMITS);
    expect(pixels).toMatchObject({ channels, colourSpace: 'Gamma 1.8' });
    for (let i = 0; i < samples.length; i += channels) {
      expect(Math.abs(pixels.data[i]! - encode((samples[i]! / 255) ** 1.8))).toBeLessThanOrEqual(2);
      if (channels === 2) expect(pixels.data[i + 1]).toBe(samples[i + 1]);
    }
  },
);

test('CMYK becomes RGB by its own profile or a common one, in a TIFF as in a JPEG', async () => {
  const { image } = tagged(writeIcc({ name: 'sRGB', primaries: SRGB, curve: SRGB_CURVE }));
  const printed = () => image().withIccProfile('cmyk').toColourspace('cmyk');
  const tiff = await decode(await printed().tiff().toBuffer(), LIMITS);
  const jpeg = await decode(
    await printed().jpeg({ quality: 100, chromaSubsampling: '4:4:4' }).toBuffer(),
    LIMITS,
  );
  expect([tiff, jpeg]).toMatchObject([
    { channels: 3, colourSpace: 'CMYK' },
    { channels: 3, colourSpace: 'CMYK' },
  ]);
  expect(meanDistance(tiff.data, jpeg.data)).toBeLessThan(6); // what JPEG loses of noise
});

describe('a profile is left alone', () => {
  const asStored = async (icc: Buffer) => {
    const { samples, image } = tagged(icc);
    const pixels = await decode(await image().png().toBuffer(), LIMITS);
    expect(Buffer.compare(pixels.data, samples)).toBe(0);
    return pixels.colourSpace;
  };

  test('that is sRGB, whatever its name: every sample stays', async () => {
    expect(await asStored(writeIcc({ name: 'c2', primaries: SRGB, curve: SRGB_CURVE }))).toBe('c2');
  });

  test.each([
    ['about grey, in a picture of colours', writeIcc({ name: 'Gamma 1.8', curve: 1.8 })],
    ['whose end is missing', writeIcc(ADOBE).subarray(0, 300)],
    ['whose tags lie beyond its end', Buffer.concat([writeIcc(ADOBE).subarray(0, 128), Buffer.alloc(64, 9)])],
    ['that is none', Buffer.alloc(600, 7)],
  ])('%s', async (_, icc) => {
    // sharp would not write these: into a TIFF, as they are.
    const data = samplePixels(WIDTH, HEIGHT);
    const pixels = await decode(
      tiffWithProfile({ width: WIDTH, height: HEIGHT, channels: 3, data }, icc),
      LIMITS,
    );
    expect(pixels.colourSpace).toBeNull();
    expect(Buffer.compare(pixels.data, data)).toBe(0);
  });

  test('of a JPEG that lacks one of its segments', async () => {
    const bytes = await tagged(writeIcc({ ...ADOBE, padding: 150_000 }))
      .image()
      .jpeg()
      .toBuffer();
    const second = bytes.indexOf('ICC_PROFILE\0\x02', 0, 'latin1') - 4;
    const end = second + 2 + bytes.readUInt16BE(second + 2);
    const without = Buffer.concat([bytes.subarray(0, second), bytes.subarray(end)]);
    const pixels = await decode(without, LIMITS);
    expect(pixels.colourSpace).toBeNull();
    expect(Buffer.compare(pixels.data, await sharp(bytes, { ignoreIcc: true }).raw().toBuffer())).toBe(0);
  });
});

test('whatever a profile holds, the picture is decoded', async () => {
  const icc = writeIcc(ADOBE);
  const change = fc.tuple(fc.nat(icc.length - 1), fc.integer({ min: 0, max: 255 }));
  await fc.assert(
    fc.asyncProperty(fc.array(change, { minLength: 1, maxLength: 8 }), async (changes) => {
      const broken = Buffer.from(icc);
      for (const [at, value] of changes) broken[at] = value;
      expect(() => readIcc(broken)).not.toThrow();
      const data = samplePixels(WIDTH, HEIGHT);
      const picture = tiffWithProfile({ width: WIDTH, height: HEIGHT, channels: 3, data }, broken);
      expect(await decode(picture, LIMITS)).toMatchObject({ width: WIDTH, height: HEIGHT, channels: 3 });
    }),
    { numRuns: 200 },
  );
});
