import { expect, test } from '@jest/globals';
import sharp from 'sharp';
import { type Channels, decode, type Pixels } from '../../images/decode.ts';
import { reduceToBytes } from '../../images/reduce-to-bytes.ts';

/** A picture with smooth parts, edges and noise, as photos have them. */
function picture(width: number, height: number, channels: Channels, noise = 24): Pixels {
  let state = 7;
  const data = new Uint8Array(width * height * channels);
  for (let y = 0, at = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      for (let c = 0; c < channels; c++) {
        state = Math.imul(state, 48271) & 0x7fffffff;
        const smooth = 80 + 60 * Math.sin((x * (c + 1)) / 40) + 50 * Math.cos(y / 55);
        const edge = Math.floor(x / 50 + y / 70) % 2 === 0 ? 30 : 0;
        data[at++] = Math.max(0, Math.min(255, smooth + edge + (noise * (state >> 16)) / 32768 - noise / 2));
      }
    }
  }
  return { format: 'png', width, height, channels, data, bitDepth: 8, exif: null, colourSpace: null };
}

test.each<[string, Pixels, number, 'jpeg' | 'webp']>([
  ['a colour photo', picture(900, 600, 3), 48 * 1024, 'jpeg'],
  ['a grey one', picture(900, 600, 1), 48 * 1024, 'jpeg'],
  ['one with alpha', picture(700, 500, 4), 48 * 1024, 'webp'],
  ['a narrow one', picture(3000, 20, 3), 8 * 1024, 'jpeg'],
  ['noise alone', picture(600, 600, 3, 500), 48 * 1024, 'jpeg'],
])('%s becomes the largest that fits, in its proportions', async (_title, pixels, limit, format) => {
  const { bytes, width, height } = (await reduceToBytes(pixels, limit))!;
  expect(bytes.length).toBeLessThanOrEqual(limit);
  expect(bytes.length).toBeGreaterThan(0.85 * limit);
  const shown = await decode(bytes, { maxPixels: 1e8 });
  expect(shown).toMatchObject({ format, width, height, channels: pixels.channels });
  expect(Math.abs(width - (height * pixels.width) / pixels.height)).toBeLessThanOrEqual(
    Math.max(1, pixels.width / pixels.height),
  );
  expect(await reduceToBytes(pixels, limit)).toEqual({ bytes, width, height });
});

test.each<[string, Pixels]>([
  ['JPEG', picture(70_000, 2, 1)],
  ['WebP', picture(20_000, 2, 4)],
])('one that is longer than a %s can be becomes shorter', async (_format, pixels) => {
  const { width, height } = (await reduceToBytes(pixels, 1024 * 1024))!;
  expect(width).toBeLessThan(pixels.width);
  expect(width).toBeGreaterThan(16_000);
  expect(height).toBe(2);
});

test('it looks like the original', async () => {
  const pixels = picture(900, 600, 3);
  const { bytes, width, height } = (await reduceToBytes(pixels, 48 * 1024))!;
  const raw = { raw: { width: pixels.width, height: pixels.height, channels: 3 as const } };
  const wanted = await sharp(pixels.data, raw).resize({ width, height, fit: 'fill' }).raw().toBuffer();
  const got = await sharp(bytes).raw().toBuffer();
  const difference = got.reduce((sum, value, i) => sum + Math.abs(value - wanted[i]!), 0) / got.length;
  expect(difference).toBeLessThan(5);
});

test('one that fits when it is encoded anew keeps its size', async () => {
  const pixels = picture(300, 200, 3, 0);
  expect(await reduceToBytes(pixels, 48 * 1024)).toMatchObject({ width: 300, height: 200 });
});

test('where nothing fits there is none', async () => {
  expect(await reduceToBytes(picture(300, 200, 3), 100)).toBeNull();
});
