import { describe, expect, test } from '@jest/globals';
import sharp from 'sharp';
import { HubError } from '../../errors.ts';
import { decode, type Pixels } from '../../images/decode.ts';
import { BadImage } from '../../images/headers/header.ts';
import { inflating } from '../support/inflating.ts';
import { exifBlock, withExifSegment } from '../support/exif-block.ts';
import { animated, multiPageTiff, type Page } from '../support/pages.ts';
import { PNG_SIGNATURE, pngChunk, writePng } from '../support/png-writer.ts';
import { sampleImages, samplePixels } from '../support/sample-images.ts';

const LIMITS = { maxPixels: 1_000_000 };
const [WIDTH, HEIGHT] = [64, 48];
const SAMPLES = await sampleImages(WIDTH, HEIGHT);

/** In fewer bytes of a file its format does not show. */
const LONGEST_SIGNATURE = 12;

/** The error that decoding ends with; a decoded image is a failure of the test. */
async function refusal(bytes: Uint8Array): Promise<BadImage> {
  let pixels: Pixels;
  try {
    pixels = await decode(bytes, LIMITS);
  } catch (error) {
    if (error instanceof BadImage) return error;
    throw error;
  }
  throw new Error(`decoded to ${pixels.width} × ${pixels.height} × ${pixels.channels}`);
}

const text = (string: string) => Buffer.from(string, 'latin1');

describe('every format', () => {
  const original = samplePixels(WIDTH, HEIGHT);

  test.each(SAMPLES)('$name is decoded to the picture that was encoded', async ({ format, bytes, loss }) => {
    const pixels = await decode(bytes, LIMITS);
    expect(pixels).toMatchObject({ format, width: WIDTH, height: HEIGHT, channels: 3 });
    expect(pixels.data).toHaveLength(original.length);
    const differences = original.map((sample, i) => Math.abs(sample - pixels.data[i]!));
    expect(Math.max(...differences)).toBeLessThanOrEqual(loss);
    expect(differences.reduce((a, b) => a + b, 0) / differences.length).toBeLessThanOrEqual(loss / 8);
  });

  test.each(SAMPLES)(
    '$name cut short anywhere is called truncated, and never half a picture',
    async ({ bytes }) => {
      const cuts = [1, 2, 3, 4, 8, 12, 16, 24, 30, 40, 64, 100];
      const lengths = new Set([
        ...cuts.map((cut) => bytes.length - cut),
        ...cuts,
        ...[0.2, 0.4, 0.5, 0.6, 0.8, 0.9, 0.95].map((part) => Math.floor(part * bytes.length)),
      ]);
      for (const length of lengths) {
        if (length <= 0 || length >= bytes.length) continue;
        const { kind, message } = await refusal(bytes.subarray(0, length));
        if (length < LONGEST_SIGNATURE) continue;
        expect(kind).toBe('truncated');
        expect(message).toContain(`the file ends after ${length} bytes`);
      }
    },
  );

  test.each(SAMPLES)(
    '$name over the limit in pixels is refused with size, limit and setting',
    async ({ bytes }) => {
      const limits = { maxPixels: WIDTH * HEIGHT - 1 };
      const error = await Promise.resolve()
        .then(() => decode(bytes, limits))
        .catch((reason: unknown) => reason as HubError);
      expect(error).toBeInstanceOf(HubError);
      expect((error as HubError).message).toMatch(/64 × 48 = 3072 pixels is over the limit of 3071/);
      expect((error as HubError).hint).toMatch(/IMAGEHUB_MAX_PIXELS/);
    },
  );
});

describe('channels', () => {
  const grey = Buffer.from(Array.from({ length: 16 * 16 }, (_, i) => i));
  const greyImage = () => sharp(grey, { raw: { width: 16, height: 16, channels: 1 } });

  test('a grey JPEG has one channel', async () => {
    const jpeg = await greyImage().toColourspace('b-w').jpeg({ quality: 100 }).toBuffer();
    const pixels = await decode(jpeg, LIMITS);
    expect(pixels).toMatchObject({ channels: 1, width: 16, height: 16 });
    expect(Math.max(...pixels.data.map((v, i) => Math.abs(v - grey[i]!)))).toBeLessThanOrEqual(3);
  });

  test('a grey TIFF has one channel, also of 16 bits and of 1 bit', async () => {
    const tiff = await greyImage().toColourspace('b-w').tiff({ compression: 'lzw' }).toBuffer();
    expect(await decode(tiff, LIMITS)).toMatchObject({ channels: 1, bitDepth: 8, data: grey });
    const deep = await sharp(
      Uint16Array.from(grey, (v) => v * 257),
      { raw: { width: 16, height: 16, channels: 1 } },
    )
      .toColourspace('grey16')
      .tiff({ compression: 'lzw' })
      .toBuffer();
    expect(await decode(deep, LIMITS)).toMatchObject({ channels: 1, bitDepth: 16, data: grey });
    const bits = await greyImage().toColourspace('b-w').tiff({ bitdepth: 1, compression: 'none' }).toBuffer();
    const pixels = await decode(bits, LIMITS);
    expect(pixels).toMatchObject({ channels: 1, bitDepth: 1 });
    expect(new Set(pixels.data)).toEqual(new Set([0, 255]));
  });

  test('of the 16 bits of a grey TIFF the upper 8 are taken, never rounded', async () => {
    const samples = Uint16Array.from(grey, (v) => v * 256 + 255);
    const tiff = await sharp(samples, { raw: { width: 16, height: 16, channels: 1 } })
      .toColourspace('grey16')
      .tiff({ compression: 'lzw' })
      .toBuffer();
    expect(await decode(tiff, LIMITS)).toMatchObject({ channels: 1, bitDepth: 16, data: grey });
  });

  test('a TIFF with grey and alpha has two channels', async () => {
    const data = Buffer.from([10, 255, 20, 128, 30, 0, 40, 7]);
    const tiff = await sharp(data, { raw: { width: 2, height: 2, channels: 2 } })
      .toColourspace('b-w')
      .tiff({ compression: 'none' })
      .toBuffer();
    expect(await decode(tiff, LIMITS)).toMatchObject({ channels: 2, data });
  });

  test('a WebP with alpha has four', async () => {
    const data = Buffer.from([1, 2, 3, 255, 40, 50, 60, 128, 70, 80, 90, 255, 100, 110, 120, 1]);
    const webp = await sharp(data, { raw: { width: 2, height: 2, channels: 4 } })
      .webp({ lossless: true, exact: true })
      .toBuffer();
    expect(await decode(webp, LIMITS)).toMatchObject({ channels: 4, data });
  });

  test('a CMYK JPEG becomes RGB', async () => {
    const red = sharp({ create: { width: 8, height: 8, channels: 3, background: '#d02020' } });
    const pixels = await decode(await red.toColourspace('cmyk').jpeg({ quality: 100 }).toBuffer(), LIMITS);
    expect(pixels.channels).toBe(3);
    expect(pixels.data[0]).toBeGreaterThan(170);
    expect(pixels.data[1]).toBeLessThan(90);
  });

  test('an animation is its first frame', async () => {
    const animation = () => animated({ width: 4, height: 4 }, [250, 5]);
    for (const bytes of [
      await animation().gif().toBuffer(),
      await animation().webp({ lossless: true }).toBuffer(),
    ]) {
      const pixels = await decode(bytes, LIMITS);
      expect(pixels).toMatchObject({ width: 4, height: 4 });
      expect(pixels.data[0]).toBeGreaterThan(240);
    }
  });

  test('a TIFF is its first page, whatever size the others have', async () => {
    const pages = [
      { width: 6, height: 4, grey: 250 },
      { width: 9, height: 12, grey: 5 },
    ];
    for (const ordered of [pages, pages.toReversed()]) {
      const [{ width, height, grey }] = ordered as [Page, Page];
      const data = new Uint8Array(width * height).fill(grey);
      expect(await decode(multiPageTiff(ordered), LIMITS)).toMatchObject({
        width,
        height,
        channels: 1,
        data,
      });
    }
    // A page that would be too large counts no more than its pixels.
    const thick = [pages[0]!, { width: 2000, height: 2000, grey: 0 }];
    expect(await decode(multiPageTiff(thick), { maxPixels: 100 })).toMatchObject({ width: 6, height: 4 });
  });
});

describe('EXIF orientation', () => {
  // 3 × 2, all different; the EXIF standard says where row 0 and column 0 lie for each of the eight
  const stored = [10, 50, 90, 130, 170, 210];
  const seen: Record<number, [width: number, values: number[]]> = {
    1: [3, [10, 50, 90, 130, 170, 210]],
    2: [3, [90, 50, 10, 210, 170, 130]],
    3: [3, [210, 170, 130, 90, 50, 10]],
    4: [3, [130, 170, 210, 10, 50, 90]],
    5: [2, [10, 130, 50, 170, 90, 210]],
    6: [2, [130, 10, 170, 50, 210, 90]],
    7: [2, [210, 90, 170, 50, 130, 10]],
    8: [2, [90, 210, 50, 170, 10, 130]],
  };
  const grey = (width: number, height: number, samples: number[]) =>
    sharp(Buffer.from(samples), { raw: { width, height, channels: 1 } });

  test.each([1, 2, 3, 4, 5, 6, 7, 8])(
    '%i is applied: the picture is as people see it',
    async (orientation) => {
      const [width, values] = seen[orientation]!;
      const block = exifBlock({ image: [{ tag: 0x112, short: orientation }] });
      const header = { width: 3, height: 2, colourType: 0, bitDepth: 8 } as const;
      const jpeg = await grey(3, 2, stored).toColourspace('b-w').jpeg({ quality: 100 }).toBuffer();
      const tiff = grey(3, 2, stored).withMetadata({ orientation }).tiff({ compression: 'none' });
      const webp = grey(3, 2, stored).withMetadata({ orientation }).webp({ lossless: true });
      const files: [format: string, channels: number, bytes: Buffer][] = [
        ['png', 1, writePng({ ...header, samples: stored, before: [['eXIf', block]] })],
        ['png', 1, writePng({ ...header, samples: stored, after: [['eXIf', block]] })],
        ['jpeg', 1, withExifSegment(jpeg, block)],
        ['tiff', 3, await tiff.toBuffer()],
        ['webp', 3, await webp.toBuffer()],
      ];
      for (const [format, channels, bytes] of files) {
        const pixels = await decode(bytes, LIMITS);
        expect(pixels).toMatchObject({ format, width, height: 6 / width, channels });
        const firstSamples = values.map((_, i) => pixels.data[i * channels]!);
        values.forEach((value, i) => expect(Math.abs(firstSamples[i]! - value)).toBeLessThanOrEqual(4));
      }
    },
  );
});

describe('netpbm', () => {
  test.each([
    ['P1', text('P1\n4 2\n1 0 1 0\n0 1 1 0\n'), 'pbm', 4, 2, [0, 255, 0, 255, 255, 0, 0, 255]],
    ['P1 without spaces', text('P1 4 2 10100110'), 'pbm', 4, 2, [0, 255, 0, 255, 255, 0, 0, 255]],
    ['P2', text('P2 # comment\n3 1\n255\n0 128 255\n'), 'pgm', 3, 1, [0, 128, 255]],
    ['P2 to 15', text('P2 3 1 15 0 8 15'), 'pgm', 3, 1, [0, 136, 255]],
    ['P3', text('P3 2 1 255 1 2 3 4 5 6'), 'ppm', 2, 1, [1, 2, 3, 4, 5, 6]],
    [
      'P4',
      Buffer.concat([text('P4\n10 1\n'), Buffer.from([0xaa, 0xc0])]),
      'pbm',
      10,
      1,
      [0, 255, 0, 255, 0, 255, 0, 255, 0, 0],
    ],
    ['P5', text('P5 3 1 255\nabc'), 'pgm', 3, 1, [97, 98, 99]],
    [
      'P5 of 16 bits',
      Buffer.concat([text('P5 2 1 65535\n'), Buffer.from([1, 2, 255, 255])]),
      'pgm',
      2,
      1,
      [1, 255],
    ],
    ['P6', text('P6\n# by hand\n1 1\n255\nabc'), 'ppm', 1, 1, [97, 98, 99]],
  ])('%s is read', async (_, bytes, format, width, height, data) => {
    expect(await decode(bytes, LIMITS)).toMatchObject({ format, width, height, data: new Uint8Array(data) });
  });
});

describe('BMP', () => {
  /** A BMP with Windows 3 header; rows are padded to 4 bytes and run from the bottom, with negative height from the top. */
  function bmp(
    width: number,
    height: number,
    bits: number,
    palette: number[],
    rows: number[],
    compression = 0,
  ): Buffer {
    const pixelsAt = 54 + palette.length;
    const header = Buffer.alloc(54);
    header.write('BM');
    header.writeUInt32LE(pixelsAt + rows.length, 2);
    header.writeUInt32LE(pixelsAt, 10);
    header.writeUInt32LE(40, 14);
    header.writeInt32LE(width, 18);
    header.writeInt32LE(height, 22);
    header.writeUInt16LE(1, 26);
    header.writeUInt16LE(bits, 28);
    header.writeUInt32LE(compression, 30);
    header.writeUInt32LE(rows.length, 34);
    header.writeUInt32LE(palette.length / 4, 46);
    return Buffer.concat([header, Buffer.from(palette), Buffer.from(rows)]);
  }
  const PALETTE = [0, 0, 255, 0, 0, 255, 0, 0]; // blue, green, red, 0: red, then green
  const [RED, GREEN] = [
    [255, 0, 0],
    [0, 255, 0],
  ];

  test.each([
    ['24 bits, from the bottom', bmp(1, 2, 24, [], [3, 2, 1, 0, 6, 5, 4, 0]), [4, 5, 6, 1, 2, 3]],
    ['24 bits, from the top', bmp(1, -2, 24, [], [3, 2, 1, 0, 6, 5, 4, 0]), [1, 2, 3, 4, 5, 6]],
    ['32 bits without alpha', bmp(1, 2, 32, [], [3, 2, 1, 0, 6, 5, 4, 0]), [4, 5, 6, 1, 2, 3]],
    ['8 bits', bmp(2, 1, 8, PALETTE, [0, 1, 0, 0]), [...RED!, ...GREEN!]],
    ['8 bits, run lengths', bmp(2, 1, 8, PALETTE, [1, 0, 1, 1, 0, 0, 0, 1], 1), [...RED!, ...GREEN!]],
    ['4 bits', bmp(2, 1, 4, PALETTE, [0x01, 0, 0, 0]), [...RED!, ...GREEN!]],
    ['1 bit', bmp(2, 1, 1, PALETTE, [0x40, 0, 0, 0]), [...RED!, ...GREEN!]],
  ])('of %s is read', async (_, bytes, data) => {
    const pixels = await decode(bytes, LIMITS);
    expect(pixels).toMatchObject({ format: 'bmp', channels: 3 });
    expect([...pixels.data]).toEqual(data);
  });
});

test('a colour profile that inflates to a gigabyte is not inflated', async () => {
  const profile = Buffer.concat([Buffer.from('profile\0\0'), inflating(new Uint8Array(), 1000)]);
  const png = writePng({
    width: 1,
    height: 1,
    colourType: 2,
    bitDepth: 8,
    samples: [1, 2, 3],
    before: [
      ['iCCP', profile],
      ['iCCP', profile],
    ],
  });
  const mostMemory = () => process.resourceUsage().maxRSS / 1024;
  const before = mostMemory();
  expect(await decode(png, LIMITS)).toMatchObject({ channels: 3, data: new Uint8Array([1, 2, 3]) });
  // Inflated as far as @napi-rs/image does, it takes 470 MiB.
  expect(mostMemory() - before).toBeLessThan(200);
});

describe('damage', () => {
  const png = writePng({ width: 8, height: 8, colourType: 0, bitDepth: 8, samples: Array(64).fill(7) });

  test('a PNG with too few rows is an error although all its chunks are whole', async () => {
    const short = writePng({ width: 8, height: 4, colourType: 0, bitDepth: 8, samples: Array(32).fill(7) });
    const header = Buffer.from(png.subarray(0, 33)); // signature and IHDR: 8 × 8
    await refusal(Buffer.concat([header, short.subarray(33)]));
  });

  test('a PNG with a flipped bit is an error', async () => {
    const flipped = Buffer.from(png);
    flipped[45]! ^= 4;
    expect((await refusal(flipped)).message).toMatch(/^damaged PNG: /);
  });

  test('a PNG without pixels is an error', async () => {
    const header = png.subarray(PNG_SIGNATURE.length, 33);
    await refusal(Buffer.concat([PNG_SIGNATURE, header, pngChunk('IEND')]));
  });

  test('a JPEG whose pixels end in the middle is an error although its end marker is there', async () => {
    const { bytes } = SAMPLES.find(({ name }) => name === 'JPEG')!;
    const middle = Math.floor(bytes.length * 0.7);
    const half = Buffer.concat([bytes.subarray(0, middle), Buffer.from([0xff, 0xd9])]);
    expect((await refusal(half)).message).toMatch(/^damaged JPEG: /);
  });

  test('a GIF whose pixels end before it does is an error, although all its blocks are whole', async () => {
    const screen = Buffer.from('GIF89a\x02\0\x02\0\x80\0\0\0\0\0\xff\xff\xff', 'latin1');
    const image = (...codes: number[]) =>
      Buffer.from([0x2c, 0, 0, 0, 0, 2, 0, 2, 0, 0, 2, codes.length, ...codes, 0, 0x3b]);
    // Codes of 3 bits, then 4, the lowest first: clear (4); white (1), or black (0), white, white, black; the end (5).
    const quarter = image(0b01_001_100, 0b1);
    const whole = image(0b01_000_100, 0b0000_001_0, 0b0101);
    expect((await refusal(Buffer.concat([screen, quarter]))).message).toMatch(
      /pixels end before the picture/,
    );
    const { data } = await decode(Buffer.concat([screen, whole]), LIMITS);
    expect([0, 1, 2, 3].map((pixel) => data[3 * pixel])).toEqual([0, 255, 255, 0]);
  });

  test('bytes that follow an image do no harm', async () => {
    for (const { bytes } of SAMPLES.filter(({ format }) =>
      ['png', 'jpeg', 'gif', 'webp', 'ppm'].includes(format),
    )) {
      expect(await decode(Buffer.concat([bytes, Buffer.alloc(100)]), LIMITS)).toMatchObject({ width: WIDTH });
    }
  });

  test('the bytes may lie anywhere in a larger buffer', async () => {
    const around = Buffer.concat([Buffer.alloc(13, 1), png, Buffer.alloc(9, 2)]);
    const view = new Uint8Array(around.buffer, around.byteOffset + 13, png.length);
    expect(await decode(view, LIMITS)).toMatchObject({
      width: 8,
      height: 8,
      data: new Uint8Array(64).fill(7),
    });
  });
});
