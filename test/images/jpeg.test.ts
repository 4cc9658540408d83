import { describe, expect, test } from '@jest/globals';
import sharp, { type JpegOptions, type Sharp } from 'sharp';
import { HubError } from '../../errors.ts';
import { decode } from '../../images/decode.ts';
import { decodeSmallJpeg, isSmallJpeg } from '../../images/jpeg.ts';
import { sniff } from '../../images/sniff.ts';
import { samplePixels } from '../support/sample-images.ts';

const LIMITS = { maxPixels: 10_000_000 };
const EOI = Buffer.from([0xff, 0xd9]);

const sample = (width: number, height: number) =>
  sharp(samplePixels(width, height), { raw: { width, height, channels: 3 } });
const small = (bytes: Buffer) => isSmallJpeg(bytes, sniff(bytes, LIMITS));
const decodeAny = async (bytes: Buffer) => decode(bytes, LIMITS);
const decodeSmall = async (bytes: Buffer) => decodeSmallJpeg(bytes, sniff(bytes, LIMITS));

/** Not toEqual, which takes its time over thousands of samples. */
const same = (a: Uint8Array | null, b: Uint8Array) => a !== null && Buffer.compare(a, b) === 0;

/** Noise with all the contrast there is: nothing that a camera sees is harder on a decoder's arithmetic. */
function noise(width: number, height: number): Sharp {
  let state = 1;
  const data = Uint8Array.from({ length: width * height * 3 }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state >>> 31 ? 255 : 0;
  });
  return sharp(data, { raw: { width, height, channels: 3 } });
}

// First in the file: later the decoder is there.
test('images that come while the decoder is loaded are decoded too', async () => {
  const jpegs = await Promise.all([8, 16, 24, 32].map((side) => sample(side, side).jpeg().toBuffer()));
  const decoded = await Promise.all(
    jpegs.map(async (bytes) => {
      const pixels = decode(bytes, LIMITS);
      expect(pixels).toBeInstanceOf(Promise);
      return pixels;
    }),
  );
  expect(decoded.map(({ width }) => width)).toEqual([8, 16, 24, 32]);
});

describe('a small JPEG has the very samples that libjpeg gives', () => {
  const sizes: [number, number][] = [
    [1, 1],
    [7, 5],
    [16, 16],
    [17, 33],
    [3, 100],
    [200, 150],
  ];
  const kinds: [string, JpegOptions][] = [
    ['4:2:0', { quality: 85, chromaSubsampling: '4:2:0' }],
    ['4:4:4', { quality: 85, chromaSubsampling: '4:4:4' }],
    ['4:2:0 of the lowest quality', { quality: 1, chromaSubsampling: '4:2:0' }],
    ['4:4:4 of the highest quality', { quality: 100, chromaSubsampling: '4:4:4' }],
    ['progressive', { quality: 90, progressive: true }],
    ['with tables and scans of its own', { quality: 75, mozjpeg: true }],
  ];

  test.each(kinds)('%s, in colour and grey', async (_, options) => {
    for (const [width, height] of sizes) {
      for (const picture of [sample(width, height), noise(width, height)]) {
        const colour = await picture.clone().jpeg(options).toBuffer();
        const grey = await picture.clone().toColourspace('b-w').jpeg(options).toBuffer();
        expect(small(colour) && small(grey)).toBe(true);
        expect(same(await decodeSmall(colour), await sharp(colour).raw().toBuffer())).toBe(true);
        const samples = await sharp(grey).toColourspace('b-w').raw().toBuffer();
        expect(same(await decodeSmall(grey), samples)).toBe(true);
      }
    }
  });

  test('it is returned at once, and the next one does not change it', async () => {
    const [first, second] = [await sample(32, 32).jpeg().toBuffer(), await noise(32, 32).jpeg().toBuffer()];
    await decode(first, LIMITS); // the first one waits for the decoder
    const pixels = decode(first, LIMITS);
    if (pixels instanceof Promise) throw new Error('it was promised');
    const before = Uint8Array.from(pixels.data);
    await decode(second, LIMITS);
    expect(pixels.data).toEqual(before);
  });
});

describe('what is not for the small decoder', () => {
  test('large pictures, CMYK, files with much beside the picture, and thousands of scans', async () => {
    const jpeg = await sample(32, 32).jpeg().toBuffer();
    expect(small(await sample(384, 384).jpeg().toBuffer())).toBe(true);
    expect(small(await sample(385, 384).jpeg().toBuffer())).toBe(false);
    expect(small(await sample(32, 32).toColourspace('cmyk').jpeg().toBuffer())).toBe(false);
    expect(small(Buffer.concat([jpeg, Buffer.alloc(1024 * 1024)]))).toBe(false);
    const progressive = await sample(32, 32).jpeg({ progressive: true }).toBuffer();
    const scan = progressive.subarray(progressive.lastIndexOf('ffda', 'hex'), -2);
    const scans = [progressive.subarray(0, -2), ...Array.from({ length: 200 }, () => scan), EOI];
    expect(small(progressive)).toBe(true);
    expect(small(Buffer.concat(scans))).toBe(false);
  });

  test('a large JPEG is decoded all the same', async () => {
    const bytes = await sample(500, 400).jpeg().toBuffer();
    const pixels = await decode(bytes, LIMITS);
    expect(pixels).toMatchObject({ width: 500, height: 400, channels: 3 });
    expect(same(pixels.data, await sharp(bytes).raw().toBuffer())).toBe(true);
  });
});

describe('damage', () => {
  test('more damaged JPEGs than the decoder lives through are all refused, and good ones between them are not', async () => {
    const good = await sample(64, 48).jpeg({ quality: 95 }).toBuffer();
    const expected = await sharp(good).raw().toBuffer();
    const bad = Buffer.concat([good.subarray(0, Math.floor(good.length * 0.98)), EOI]);
    let refused = 0;
    for (let i = 0; i < 250; i++) {
      await Promise.resolve()
        .then(() => decode(bad, LIMITS))
        .catch((error: HubError) => (refused += error.code === 'BAD_IMAGE' ? 1 : 0));
      if (i % 25 === 0) expect(same(await decodeSmall(good), expected)).toBe(true);
    }
    expect(refused).toBe(250);
  });

  const whole = async () => [
    await sample(64, 48).jpeg({ chromaSubsampling: '4:4:4' }).toBuffer(),
    await sample(64, 48).jpeg().toBuffer(),
    await sample(30, 20).toColourspace('b-w').jpeg().toBuffer(),
    await noise(8, 8).jpeg().toBuffer(),
  ];

  test('a picture that lacks its last rows is an error although its end marker is there', async () => {
    for (const jpeg of await whole()) {
      const scan = jpeg.lastIndexOf('ffda', 'hex') + 14;
      for (const part of [0.3, 0.6, 0.8, 0.9, 0.95]) {
        const cut = jpeg.subarray(0, Math.floor(scan + (jpeg.length - scan) * part));
        await expect(decodeAny(Buffer.concat([cut, EOI]))).rejects.toThrow(/^damaged JPEG: /);
      }
    }
  });

  test('bytes too many before the end marker, as some cameras write, do no harm', async () => {
    for (const jpeg of await whole()) {
      const { data } = await decodeAny(jpeg);
      for (const count of [1, 2, 7, 200]) {
        const padded = Buffer.concat([jpeg.subarray(0, -2), Buffer.alloc(count, 0x55), EOI]);
        expect(same((await decodeAny(padded)).data, data)).toBe(true);
      }
    }
  });
});
