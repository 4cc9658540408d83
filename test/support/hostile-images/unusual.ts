import { deflateSync } from 'node:zlib';
import sharp from 'sharp';
import { type Grey, toGrey } from '../../../images/grey.ts';
import { digitPixels, SIDE } from '../digits.ts';
import { PNG_SIGNATURE, pngChunk, pngHeader, type PngToWrite, writePng } from '../png-writer.ts';
import { type HostileImage, u16be, u32be, u32le } from './hostile-image.ts';
import { animation, colourImage, DIGIT, digitImage } from './sources.ts';

const { width, height, data: digit } = DIGIT;
const AREA = width * height;

/** Every sample of the digit becomes so many. */
const spread = (samples: (value: number, at: number) => number[]): number[] => [...digit].flatMap(samples);
/** A sample of 16 bits whose upper half is the digit's, and whose lower half is nobody's business. */
const deep = (value: number, at: number) => value * 256 + ((at * 37) & 255);
/** The digit in a few greys, as samples and as what they mean. */
const levels = (bits: number) => {
  const most = 2 ** bits - 1;
  const samples = Array.from(digit, (value) => Math.round((value * most) / 255));
  return { samples, grey: { ...DIGIT, data: Uint8Array.from(samples, (sample) => (sample * 255) / most) } };
};
const greys = (count: number) =>
  Array.from({ length: count }, (_, i) => Array(3).fill((i * 255) / (count - 1))).flat();

/** The digit over white, as transparent as that. */
const over = (alphas: (value: number, at: number) => number): Grey =>
  toGrey({
    format: 'png',
    width,
    height,
    channels: 2,
    bitDepth: 8,
    exif: null,
    colourSpace: null,
    data: Uint8Array.from(spread((value, at) => [value, alphas(value, at)])),
  });

function pngs(): [name: string, png: Omit<PngToWrite, 'width' | 'height'>, grey: Grey][] {
  const alpha = (_: number, at: number) => (at * 7) & 255;
  const [two, four, sixteen] = [levels(1), levels(2), levels(4)];
  const transparency = Uint8Array.from({ length: 256 }, (_, i) => 255 - i);
  return [
    ['of 16-bit greys', { colourType: 0, bitDepth: 16, samples: spread((v, at) => [deep(v, at)]) }, DIGIT],
    [
      'of 16-bit colours',
      {
        colourType: 2,
        bitDepth: 16,
        samples: spread((v, at) => [deep(v, at), deep(v, at + 1), deep(v, at + 2)]),
      },
      DIGIT,
    ],
    [
      'of 16-bit greys and alpha',
      { colourType: 4, bitDepth: 16, samples: spread((v, at) => [deep(v, at), alpha(v, at) * 257]) },
      over(alpha),
    ],
    [
      'of 16-bit colours and alpha',
      {
        colourType: 6,
        bitDepth: 16,
        samples: spread((v, at) => [deep(v, at), deep(v, at), deep(v, at), alpha(v, at) * 257]),
      },
      over(alpha),
    ],
    [
      'of greys and alpha',
      { colourType: 4, bitDepth: 8, samples: spread((v, at) => [v, alpha(v, at)]) },
      over(alpha),
    ],
    [
      'of colours and alpha',
      { colourType: 6, bitDepth: 8, samples: spread((v, at) => [v, v, v, alpha(v, at)]) },
      over(alpha),
    ],
    ['of 2 greys', { colourType: 0, bitDepth: 1, samples: two.samples }, two.grey],
    [
      'of 4 greys, interlaced',
      { colourType: 0, bitDepth: 2, samples: four.samples, interlaced: true },
      four.grey,
    ],
    [
      'of a palette of 16',
      { colourType: 3, bitDepth: 4, samples: sixteen.samples, palette: greys(16) },
      sixteen.grey,
    ],
    [
      'of a palette with transparency',
      { colourType: 3, bitDepth: 8, samples: digit, palette: greys(256), transparency },
      over((v) => 255 - v),
    ],
    [
      'of a palette with transparency, interlaced',
      { colourType: 3, bitDepth: 8, samples: digit, palette: greys(256), transparency, interlaced: true },
      over((v) => 255 - v),
    ],
    [
      'of a palette whose first colour is transparent',
      { colourType: 3, bitDepth: 8, samples: digit, palette: greys(256), transparency: Uint8Array.of(0) },
      over((v) => (v === 0 ? 0 : 255)),
    ],
    [
      'of greys of which one is transparent',
      { colourType: 0, bitDepth: 8, samples: digit, transparency: u16be(digit[400]!) },
      over((v) => (v === digit[400] ? 0 : 255)),
    ],
  ];
}

/** A PNG whose later frames show other digits. */
function animatedPng(): Buffer {
  const rows = (pixels: Uint8Array) =>
    deflateSync(
      Buffer.concat(
        Array.from({ length: height }, (_, y) =>
          Buffer.concat([Buffer.of(0), pixels.subarray(y * width, (y + 1) * width)]),
        ),
      ),
    );
  const frame = (sequence: number) =>
    pngChunk(
      'fcTL',
      Buffer.concat([
        u32be(sequence),
        u32be(width),
        u32be(height),
        u32be(0),
        u32be(0),
        u16be(1),
        u16be(10),
        Buffer.alloc(2),
      ]),
    );
  return Buffer.concat([
    PNG_SIGNATURE,
    pngChunk('IHDR', pngHeader(width, height, 8, 0)),
    pngChunk('acTL', Buffer.concat([u32be(2), u32be(0)])),
    frame(0),
    pngChunk('IDAT', rows(digit)),
    frame(1),
    pngChunk('fdAT', Buffer.concat([u32be(2), rows(digitPixels(9, 9))])),
    pngChunk('IEND'),
  ]);
}

/** A BMP of 8 bits with a palette of greys; rows from the top when its height is negative. */
function bmp(rows: 'from the top' | 'from the bottom'): Buffer {
  const palette = Buffer.from(Array.from({ length: 256 }, (_, i) => [i, i, i, 0]).flat());
  const pixels = Buffer.alloc(AREA);
  for (let y = 0; y < height; y++) {
    pixels.set(
      digit.subarray(y * width, (y + 1) * width),
      (rows === 'from the top' ? y : height - 1 - y) * width,
    );
  }
  const header = Buffer.alloc(40);
  header.writeUInt32LE(40, 0);
  header.writeInt32LE(width, 4);
  header.writeInt32LE(rows === 'from the top' ? -height : height, 8);
  header.set([1, 0, 8, 0], 12);
  const pixelsAt = 14 + header.length + palette.length;
  return Buffer.concat([
    Buffer.from('BM'),
    u32le(pixelsAt + AREA),
    u32le(0),
    u32le(pixelsAt),
    header,
    palette,
    pixels,
  ]);
}

/** Right images of kinds that are rare, and that decoders get wrong: all of them must become what they show. */
export async function unusual(): Promise<HostileImage[]> {
  const deepSamples = Uint16Array.from(digit, deep);
  const bigEndian = Buffer.concat(Array.from(deepSamples, (sample) => u16be(sample)));
  const deepTiff = sharp(deepSamples, { raw: { width, height, channels: 1 } })
    .toColourspace('grey16')
    .tiff({ compression: 'lzw' });
  const known: [name: string, bytes: Buffer | Promise<Buffer>, grey: Grey][] = [
    ...pngs().map(([name, png, grey]): [string, Buffer, Grey] => [
      `PNG ${name}`,
      writePng({ width, height, ...png }),
      grey,
    ]),
    ['animated PNG', animatedPng(), DIGIT],
    ['animated GIF', animation().gif({ dither: 0 }).toBuffer(), DIGIT],
    ['animated WebP', animation().webp({ lossless: true }).toBuffer(), DIGIT],
    ['TIFF of several pages', animation().tiff({ compression: 'lzw' }).toBuffer(), DIGIT],
    ['TIFF of 16-bit greys', deepTiff.toBuffer(), DIGIT],
    ['PGM of 16-bit greys', Buffer.concat([Buffer.from(`P5 ${SIDE} ${SIDE} 65535\n`), bigEndian]), DIGIT],
    [
      'PPM',
      Buffer.concat([Buffer.from(`P6 ${SIDE} ${SIDE} 255\n`), Buffer.from(spread((v) => [v, v, v]))]),
      DIGIT,
    ],
    ['BMP from the top', bmp('from the top'), DIGIT],
    ['BMP from the bottom', bmp('from the bottom'), DIGIT],
  ];
  const decoded: [name: string, bytes: Promise<Buffer>][] = [
    ['CMYK JPEG', colourImage().toColourspace('cmyk').jpeg().toBuffer()],
    ['CMYK TIFF', colourImage().toColourspace('cmyk').tiff({ compression: 'lzw' }).toBuffer()],
    ['grey JPEG', digitImage().jpeg().toBuffer()],
    ['progressive grey JPEG', digitImage().jpeg({ progressive: true }).toBuffer()],
    ['JPEG without subsampling', colourImage().jpeg({ chromaSubsampling: '4:4:4' }).toBuffer()],
    ['TIFF of 2 greys', digitImage().tiff({ bitdepth: 1 }).toBuffer()],
    ['JPEG in TIFF', colourImage().tiff({ compression: 'jpeg' }).toBuffer()],
    ['AVIF with alpha', colourImage().ensureAlpha(0.5).avif({ lossless: true }).toBuffer()],
    ['WebP with alpha', colourImage().ensureAlpha(0.5).webp({ lossless: true }).toBuffer()],
    ['JPEG of one pixel', colourImage().resize(1, 1).jpeg().toBuffer()],
    ['GIF of one pixel', colourImage().resize(1, 1).gif().toBuffer()],
    ['JPEG as high as JPEGs can be', digitImage().resize(1, 65_500, { fit: 'fill' }).jpeg().toBuffer()],
    ['WebP as wide as WebPs can be', digitImage().resize(16_383, 1, { fit: 'fill' }).webp().toBuffer()],
  ];
  const images = [...known, ...decoded].map(async ([name, bytes, grey]): Promise<HostileImage> => ({
    name: `unusual: ${name}`,
    bytes: await bytes,
    fates: ['row'],
    ...(grey && { grey }),
  }));
  return Promise.all(images);
}
