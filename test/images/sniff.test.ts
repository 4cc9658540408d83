import { describe, expect, test } from '@jest/globals';
import { HubError } from '../../errors.ts';
import { decode } from '../../images/decode.ts';
import { sniff } from '../../images/sniff.ts';
import { PNG_SIGNATURE, pngChunk, pngHeader } from '../support/png-writer.ts';
import { sampleImages } from '../support/sample-images.ts';

const LIMITS = { maxPixels: 100_000_000 };
const SAMPLES = await sampleImages(64, 48);

function refusal(bytes: Uint8Array): HubError {
  try {
    sniff(bytes, LIMITS);
  } catch (error) {
    expect(error).toBeInstanceOf(HubError);
    expect((error as HubError).code).toBe('BAD_IMAGE');
    expect((error as HubError).retryable).toBe(false);
    return error as HubError;
  }
  throw new Error('not refused');
}

describe('sniff', () => {
  test.each(SAMPLES)('$name: format and size come from the header alone', ({ format, bytes }) => {
    expect(sniff(bytes, LIMITS)).toMatchObject({ format, width: 64, height: 48, truncated: false });
  });

  test('a PNG of 50,000 × 50,000 pixels in a few bytes is refused before it is decoded', () => {
    const bomb = Buffer.concat([
      PNG_SIGNATURE,
      pngChunk('IHDR', pngHeader(50_000, 50_000, 8, 0)),
      pngChunk('IDAT', Buffer.from('789c030000000001', 'hex')),
      pngChunk('IEND'),
    ]);
    const error = refusal(bomb);
    expect(error.message).toBe('PNG of 50000 × 50000 = 2500000000 pixels is over the limit of 100000000');
    expect(error.hint).toMatch(/IMAGEHUB_MAX_PIXELS/);
    // Decoding it would say that its data is cut short.
    expect(() => decode(bomb, LIMITS)).toThrow(error.message);
  });

  test('a huge size is named even where the file is cut short as well', () => {
    const start = Buffer.concat([PNG_SIGNATURE, pngChunk('IHDR', pngHeader(50_000, 50_000, 8, 0))]);
    expect(refusal(start).message).toMatch(/50000 × 50000/);
    expect(refusal(Buffer.from('P5 50000 50000 255\nabc')).message).toMatch(/^PGM of 50000 × 50000/);
  });

  test('a side over a million pixels is refused, however few pixels there are', () => {
    const start = (width: number) => Buffer.from(`P1 ${width} 2 1`);
    const error = refusal(start(1_000_001));
    expect(error.message).toBe('PBM of 1000001 × 2: a side is over the limit of 1000000 pixels');
    expect(error).toMatchObject({ kind: 'too-large' });
    expect(sniff(start(1_000_000), LIMITS)).toMatchObject({ width: 1_000_000 });
  });

  test('an image of exactly the limit is let in', () => {
    const { bytes } = SAMPLES[0]!;
    expect(sniff(bytes, { maxPixels: 64 * 48 })).toMatchObject({ width: 64 });
  });

  test('an empty value says that it is empty', () => {
    expect(refusal(new Uint8Array()).message).toBe('empty: there are no bytes to decode');
  });

  test.each([
    [
      'text',
      'hello, this is no image',
      'not an image in a format we know (starts with ‘hello, this is no im’)',
    ],
    ['text that begins like a BMP', 'BMW is a car maker, and this is text', /starts with ‘BMW is a car/],
    ['text that begins like a PGM', 'P5 is a format', /starts with ‘P5 is a format’/],
    ['one letter', 'B', /starts with ‘B’/],
    ['text with umlauts', 'Grüße', /starts with ‘Grüße’/],
    ['lines', 'a\r\nb\tc', /starts with ‘a b c’/],
    ['SVG', '<svg xmlns="http://www.w3.org/2000/svg"/>', /starts with ‘<svg/],
    ['bytes that are no beginning of a text', Buffer.alloc(9, 0xff), /starts with bytes ffffffffffffffff/],
    ['zeros', '\0\0\0\0\0\0\0\0\0\0', /starts with bytes 0000000000000000/],
    ['HEIC', '\0\0\0\x18ftypheic\0\0\0\0mif1heic', /brand ‘heic’/],
  ])('%s is not an image, and the error shows how it starts', (_, content, message) => {
    const error = refusal(Buffer.from(content));
    expect(error.message).toMatch(message);
    expect(error.hint).toMatch(/PNG|JPEG/);
  });

  test('the errors hold no NUL, which Postgres texts cannot', () => {
    expect(refusal(Buffer.from('a\0b')).message).not.toContain('\0');
    expect(refusal(Buffer.from('\0\0\0\x18ftyp\0\0\0\0\0\0\0\0mif1heic')).message).not.toContain('\0');
  });

  test('boxes within each other are followed no deeper than an AVIF has them', () => {
    let boxes = Buffer.alloc(0);
    for (let depth = 0; depth < 20_000; depth++) {
      const start = Buffer.from('\0\0\0\0ipco', 'latin1');
      start.writeUInt32BE(8 + boxes.length);
      boxes = Buffer.concat([start, boxes]);
    }
    const around = Buffer.from('\0\0\0\0meta\0\0\0\0\0\0\0\0iprp', 'latin1');
    around.writeUInt32BE(around.length + boxes.length);
    around.writeUInt32BE(8 + boxes.length, 12);
    const brand = Buffer.from('\0\0\0\x10ftypavif\0\0\0\0', 'latin1');
    expect(refusal(Buffer.concat([brand, around, boxes])).message).toBe('damaged AVIF: its size is missing');
  });

  test('a size of zero is damage', () => {
    const empty = Buffer.concat([PNG_SIGNATURE, pngChunk('IHDR', pngHeader(0, 5, 8, 0)), pngChunk('IEND')]);
    expect(refusal(empty).message).toMatch(/^damaged PNG: it says it is 0 × 5 pixels large/);
  });

  test('a file cut short says how much there is', () => {
    const { bytes } = SAMPLES[0]!;
    expect(refusal(bytes.subarray(0, bytes.length - 5)).message).toBe(
      `truncated PNG: the file ends after ${bytes.length - 5} bytes`,
    );
  });
});
