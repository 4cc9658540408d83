import { describe, expect, test } from '@jest/globals';
import { Transformer } from '@napi-rs/image';
import fc from 'fast-check';
import { readPngHeader } from '../../images/headers/png.ts';
import { decodeSmallPng } from '../../images/small-png.ts';
import { COLOUR_TYPES, type ColourType, pngChunk, type PngToWrite, writePng } from '../support/png-writer.ts';

const CHANNELS: Partial<Record<ColourType, number>> = { 0: 1, 2: 3, 4: 2, 6: 4 };

function png(options: Partial<PngToWrite> = {}): Buffer {
  const { width = 9, height = 11, colourType = COLOUR_TYPES.grey, bitDepth = 8 } = options;
  const count = width * height * (CHANNELS[colourType] ?? 1);
  const samples = Array.from({ length: count }, (_, i) => (i * i * 7 + 13 * i) % 2 ** bitDepth);
  return writePng({ width, height, colourType, bitDepth, samples, ...options });
}

const decode = (bytes: Buffer) => decodeSmallPng(bytes, readPngHeader(bytes)!);
/** The judge. */
const library = (bytes: Buffer) => new Transformer(bytes).rawPixelsSync();

describe('a small plain PNG', () => {
  test.each([COLOUR_TYPES.grey, COLOUR_TYPES.rgb, COLOUR_TYPES.greyAlpha, COLOUR_TYPES.rgba])(
    'of colour type %s, all filters, has the samples that @napi-rs/image finds',
    (colourType) => {
      const side = fc.integer({ min: 1, max: 40 });
      const samples = fc.uint8Array({ minLength: 40 * 40 * 4, maxLength: 40 * 40 * 4 });
      fc.assert(
        fc.property(side, side, samples, (width, height, random) => {
          const bytes = png({ width, height, colourType, samples: random });
          const found = decode(bytes);
          expect(found?.channels).toBe(CHANNELS[colourType]);
          expect(Buffer.compare(found!.data, library(bytes))).toBe(0);
        }),
        { numRuns: 50 },
      );
    },
  );

  const plain = png();
  test.each([
    ['a palette', png({ colourType: COLOUR_TYPES.palette, palette: Array(768).fill(7) })],
    ['16 bits', png({ bitDepth: 16 })],
    ['4 bits', png({ bitDepth: 4 })],
    ['interlaced', png({ interlaced: true })],
    ['a transparent colour', png({ transparency: Buffer.from([0, 7]) })],
    ['EXIF', png({ before: [['eXIf', Buffer.from('MM')]] })],
    ['something behind the pixels', png({ after: [['tEXt', Buffer.from('a\0b')]] })],
    ['something behind the end', Buffer.concat([plain, Buffer.of(0)])],
    ['two IDAT chunks', png({ after: [['IDAT', Buffer.of()]] })],
    ['many pixels', png({ width: 129, height: 128 })],
  ])('is not one with %s', (_, bytes) => {
    expect(decode(bytes)).toBeNull();
  });

  test('is not one whose stream is longer or shorter than its size says, or broken, or has an unknown filter', () => {
    const taller = (height: number) => {
      const bytes = png({ height: 11 });
      const header = Buffer.from(bytes.subarray(16, 29));
      header.writeUInt32BE(height, 4);
      return Buffer.concat([bytes.subarray(0, 8), pngChunk('IHDR', header), bytes.subarray(33)]);
    };
    expect(decode(taller(11))).not.toBeNull();
    expect(decode(taller(10))).toBeNull();
    expect(decode(taller(12))).toBeNull();
    const rows = png({ after: [] });
    const start = 41;
    const end = rows.length - 16;
    const withStream = (stream: Buffer) =>
      Buffer.concat([rows.subarray(0, 33), pngChunk('IDAT', stream), pngChunk('IEND')]);
    const stream = Buffer.from(rows.subarray(start, end));
    expect(decode(withStream(stream))).not.toBeNull();
    expect(decode(withStream(stream.subarray(0, -1)))).toBeNull();
    stream[stream.length - 1]! ^= 1;
    expect(decode(withStream(stream))).toBeNull();
  });

  test('with any byte changed or cut off is left to the library', () => {
    const header = readPngHeader(plain)!;
    for (let at = 8; at < plain.length; at++) {
      const changed = Buffer.from(plain);
      changed[at]! ^= 0x55;
      expect(decodeSmallPng(changed, header)).toBeNull();
      expect(decodeSmallPng(plain.subarray(0, at), header)).toBeNull();
    }
  });
});
