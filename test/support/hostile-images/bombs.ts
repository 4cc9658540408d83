import { deflateSync } from 'node:zlib';
import { Transformer } from '@napi-rs/image';
import { inflating } from '../inflating.ts';
import { PNG_SIGNATURE, pngChunk, pngHeader } from '../png-writer.ts';
import { block, directory, type Entry, FIRST, LONG, SHORT } from './directories.ts';
import { gifImage } from './blocks.ts';
import { type Fate, type HostileImage, patched, u16le, u32be, u32le } from './hostile-image.ts';
import { colourImage, DIGIT, digitImage, greyOf } from './sources.ts';

/** What a bomb of a megabyte inflates to. */
const INFLATED_MIB = 1000;

/** Unfiltered rows, as they lie in a PNG. */
const ROWS = Buffer.concat(
  Array.from({ length: DIGIT.height }, (_, y) =>
    Buffer.concat([Buffer.of(0), DIGIT.data.subarray(y * DIGIT.width, (y + 1) * DIGIT.width)]),
  ),
);

const png = (header: Buffer, ...chunks: [type: string, body: Uint8Array][]): Buffer =>
  Buffer.concat([
    PNG_SIGNATURE,
    pngChunk('IHDR', header),
    ...chunks.map(([type, body]) => pngChunk(type, body)),
    pngChunk('IEND'),
  ]);

const digitPng = (...before: [type: string, body: Uint8Array][]): Buffer =>
  png(pngHeader(DIGIT.width, DIGIT.height, 8, 0), ...before, ['IDAT', deflateSync(ROWS)]);

/** A small PNG that holds something enormous beside the picture, which nobody needs. */
function pngBombs(): HostileImage[] {
  const bomb = inflating(Buffer.alloc(0), INFLATED_MIB);
  const text = Buffer.concat([Buffer.from('Comment\0\0'), bomb]);
  const international = Buffer.concat([Buffer.from('Comment\0\x01\0\0\0'), bomb]);
  const digitHeader = pngHeader(DIGIT.width, DIGIT.height, 8, 0);
  const many = (count: number, type: string, body: Uint8Array) =>
    Array.from({ length: count }, (): [string, Uint8Array] => [type, body]);
  const beside: [name: string, bytes: Buffer][] = [
    ['zTXt of 1 GB', digitPng(['zTXt', text])],
    ['iTXt of 1 GB', digitPng(['iTXt', international])],
    ['iCCP of 1 GB', digitPng(['iCCP', Buffer.concat([Buffer.from('profile\0\0'), bomb])])],
    ['20,000 texts', digitPng(...many(20_000, 'tEXt', Buffer.from('a\0b')))],
    ['4 billion frames', digitPng(['acTL', Buffer.concat([u32be(0xffffffff), u32be(0)])])],
    [
      '50,000 empty IDAT',
      png(digitHeader, ...many(50_000, 'IDAT', Buffer.alloc(0)), ['IDAT', deflateSync(ROWS)]),
    ],
  ];
  const whole = beside.map(([name, bytes]): HostileImage => ({
    name: `bomb: PNG with ${name}`,
    bytes,
    fates: ['row'],
    grey: DIGIT,
  }));
  return [
    ...whole,
    {
      name: 'bomb: PNG whose 28 × 28 pixels inflate to 1 GB',
      bytes: png(digitHeader, ['IDAT', inflating(ROWS, INFLATED_MIB)]),
      fates: ['row', 'damaged'],
      grey: DIGIT,
    },
    {
      name: 'bomb: PNG of a size within the limit without any pixels',
      bytes: png(pngHeader(9999, 9999, 16, 6), ['IDAT', deflateSync(Buffer.alloc(100))]),
      fates: ['damaged'],
    },
    tooLong('as high as it can be, a pixel wide', 1, 99_999_999),
    tooLong('as wide as it can be, a pixel high', 99_999_999, 1),
    solid('of 25 million pixels', 5000, 5000),
    solid('a million pixels high', 10, 1_000_000),
    solid('a million pixels wide', 1_000_000, 10),
  ];
}

/** All of its pixels are there, and they are not more than a square may have. */
const tooLong = (name: string, width: number, height: number): HostileImage => ({
  ...solid(name, width, height),
  fates: ['too-large'],
  detail: /a side is over the limit of 1000000 pixels/,
});

/** Black, all of it there, and a thousandth of its pixels in bytes. */
function solid(name: string, width: number, height: number): HostileImage {
  const side = (length: number) => Math.max(1, Math.round((length * 256) / Math.max(width, height)));
  const grey = { width: side(width), height: side(height), data: new Uint8Array(side(width) * side(height)) };
  return {
    name: `bomb: PNG ${name}`,
    // A few more rows than there are: whole MiB.
    bytes: png(pngHeader(width, height, 8, 0), [
      'IDAT',
      inflating(Buffer.alloc(0), Math.ceil(((width + 1) * height) / 2 ** 20)),
    ]),
    fates: ['row'],
    grey,
    size: [width, height],
  };
}

/** JPEGs that keep a decoder busy. */
async function jpegBombs(): Promise<HostileImage[]> {
  const jpeg = await colourImage().jpeg().toBuffer();
  const progressive = await colourImage().jpeg({ progressive: true }).toBuffer();
  const scan = progressive.subarray(progressive.lastIndexOf('ffda', undefined, 'hex'), -2);
  const comments = Array.from({ length: 100_000 }, () => Buffer.from('fffe0004aaaa', 'hex'));
  const grey = await greyOf(jpeg);
  return [
    {
      name: 'bomb: JPEG of 20,000 scans',
      bytes: Buffer.concat([
        progressive.subarray(0, -2),
        ...Array.from({ length: 20_000 }, () => scan),
        progressive.subarray(-2),
      ]),
      fates: ['damaged'],
    },
    {
      name: 'bomb: JPEG of 100,000 comments',
      bytes: Buffer.concat([jpeg.subarray(0, 2), ...comments, jpeg.subarray(2)]),
      fates: ['row'],
      grey,
    },
    {
      name: 'bomb: JPEG of a million bytes that only fill',
      bytes: Buffer.concat([jpeg.subarray(0, 2), Buffer.alloc(1_000_000, 0xff), jpeg.subarray(2)]),
      fates: ['row'],
      grey,
    },
  ];
}

/** A TIFF of one strip, in which some entries are others, or more. */
function tiff(data: Buffer, ...entries: Entry[]): Buffer {
  const { width, height } = DIGIT;
  const usual: Entry[] = [
    [256, LONG, 1, width],
    [257, LONG, 1, height],
    [258, SHORT, 1, 8],
    [259, SHORT, 1, 1],
    [262, SHORT, 1, 1],
    [273, LONG, 1, FIRST],
    [277, SHORT, 1, 1],
    [278, LONG, 1, height],
    [279, LONG, 1, data.length],
  ];
  const all = new Map([...usual, ...entries].map((entry) => [entry[0], entry]));
  const sorted = [...all.values()].sort(([a], [b]) => a - b);
  return block(FIRST + data.length, data, directory(sorted, 0));
}

/** TIFFs that claim more than there is, or hold more than they claim. */
function tiffBombs(): HostileImage[] {
  const digit = Buffer.from(DIGIT.data);
  const deflated: Entry = [259, SHORT, 1, 8];
  const tile = (side: number): Entry[] => [
    [322, LONG, 1, side],
    [323, LONG, 1, side],
    [324, LONG, 1, FIRST],
    [325, LONG, 1, digit.length],
  ];
  const loop = tiff(digit);
  const directoryAt = FIRST + digit.length;
  const files: [name: string, bytes: Buffer, fates: readonly Fate[]][] = [
    ['that is as it should be', tiff(digit), ['row']],
    ['whose pixels inflate to 1 GB', tiff(inflating(digit, INFLATED_MIB), deflated), ['row', 'damaged']],
    ['whose pixels inflate to nothing', tiff(deflateSync(Buffer.alloc(0)), deflated), ['damaged']],
    ['of one strip that all others would fit into', tiff(digit, [278, LONG, 1, 0xffffffff]), ['row']],
    ['whose tile is of 65,536 × 65,536 pixels', tiff(digit, ...tile(65_536)), ['damaged', 'truncated']],
    ['whose tile is of 0 × 0 pixels', tiff(digit, ...tile(0)), ['row', 'damaged']],
    ['whose pixels are of 65,535 samples', tiff(digit, [277, SHORT, 1, 65_535]), ['damaged', 'unsupported']],
    ['whose samples are of 65,535 bits', tiff(digit, [258, SHORT, 1, 65_535]), ['damaged', 'unsupported']],
    ['whose strip is of 4 GB', tiff(digit, [279, LONG, 1, 0xffffffff]), ['truncated']],
    ['whose strip lies nowhere', tiff(digit, [273, LONG, 1, 0xfffffff0]), ['truncated']],
    [
      'of a billion strips',
      tiff(digit, [273, LONG, 1e9, FIRST], [279, LONG, 1e9, FIRST], [278, LONG, 1, 1]),
      ['truncated'],
    ],
    ['that is its own next page', patched(loop, loop.length - 4, u32le(directoryAt)), ['row', 'damaged']],
    ['whose next page lies nowhere', patched(loop, loop.length - 4, u32le(0xfffffff0)), ['row', 'damaged']],
    ['whose pages within it are itself', tiff(digit, [330, LONG, 1, directoryAt]), ['row', 'damaged']],
  ];
  return files.map(([name, bytes, fates]) => ({
    name: `bomb: TIFF ${name}`,
    bytes,
    fates,
    ...(fates.includes('row') && { grey: DIGIT }),
  }));
}

/** Of the other formats. */
async function otherBombs(): Promise<HostileImage[]> {
  const gif = await digitImage().gif().toBuffer();
  const webp = await colourImage().webp({ lossless: true }).toBuffer();
  const bmp = await new Transformer(digitPng()).bmp();
  const avif = await colourImage().avif().toBuffer();
  const frame = gif.subarray(gifImage(gif).at, -1);
  const digits = (count: number) => Buffer.alloc(count, '9');
  const ftyp = (brands: Buffer) => Buffer.concat([u32be(8 + brands.length), Buffer.from('ftyp'), brands]);
  let nested = Buffer.alloc(0);
  for (let depth = 0; depth < 20_000; depth++) {
    nested = Buffer.concat([u32be(8 + nested.length), Buffer.from('ipco'), nested]);
  }
  const meta = (content: Buffer) =>
    Buffer.concat([u32be(12 + content.length), Buffer.from('meta'), u32be(0), content]);
  const avifBrand = ftyp(Buffer.from('avif\0\0\0\0avifmif1'));
  const files: [name: string, bytes: Buffer, fates: readonly Fate[], grey?: HostileImage['grey']][] = [
    [
      'GIF of 5,000 frames',
      Buffer.concat([gif.subarray(0, -1), ...Array.from({ length: 5000 }, () => frame), gif.subarray(-1)]),
      ['row'],
      DIGIT,
    ],
    ['GIF whose codes are of 200 bits', patched(gif, gifImage(gif).codeBitsAt, Buffer.of(200)), ['damaged']],
    ['GIF whose pixels end before it does', endsEarly(gif), ['damaged']],
    [
      'GIF of 25 million pixels that are not there',
      patched(gif, 6, Buffer.concat([u16le(5000), u16le(5000)])),
      ['row'],
    ],
    ['WebP of a larger picture than its canvas', riffWithCanvas(webp, 4, 4), ['damaged']],
    ['BMP of 4 billion colours', patched(bmp, 46, u32le(0xffffffff)), ['row', 'damaged']],
    ['BMP whose pixels lie nowhere', patched(bmp, 10, u32le(0xffffffff)), ['truncated', 'damaged']],
    ['BMP of 0 bits', patched(bmp, 28, u16le(0)), ['damaged']],
    ['BMP of negative width', patched(bmp, 18, u32le(0xffffffff)), ['damaged']],
    ['BMP of the most negative height', patched(bmp, 22, u32le(0x80000000)), ['too-large']],
    ['text PGM of one number', Buffer.concat([Buffer.from('P2 28 28 255 '), digits(1_000_000)]), ['damaged']],
    [
      'PGM whose width is a number of a million digits',
      Buffer.concat([Buffer.from('P5 '), digits(1_000_000)]),
      ['not-an-image', 'truncated'],
    ],
    [
      'PGM of a comment of a megabyte',
      Buffer.concat([Buffer.from('P5 #'), digits(1_000_000), Buffer.from('\n28 28 255\n'), DIGIT.data]),
      ['not-an-image'],
    ],
    ['AVIF of boxes 20,000 deep', Buffer.concat([avifBrand, meta(nested)]), ['damaged', 'truncated']],
    [
      'AVIF of a megabyte of brands',
      Buffer.concat([ftyp(Buffer.alloc(1_000_000, 'mif1')), meta(Buffer.alloc(0))]),
      ['unsupported'],
    ],
    ['AVIF of 40,000 sizes', Buffer.concat([avifBrand, meta(sizes(40_000))]), ['damaged', 'truncated']],
    [
      'AVIF whose boxes are of no size',
      patched(avif, avif.indexOf('meta') - 4, u32be(0)),
      ['damaged', 'truncated'],
    ],
  ];
  return files.map(([name, bytes, fates, grey]) => ({
    name: `bomb: ${name}`,
    bytes,
    fates,
    ...(grey && { grey }),
  }));
}

/** A GIF whose codes end, as they should at the end, after the first pixels. */
function endsEarly(gif: Buffer): Buffer {
  const { codeBitsAt } = gifImage(gif);
  // Of 8 bits a sample, codes of 9 bits: clear (256), a pixel (1), the end (257).
  const codes = Buffer.from([0x00, 0x03, 0x04, 0x04]);
  return Buffer.concat([gif.subarray(0, codeBitsAt), Buffer.of(8, codes.length), codes, Buffer.of(0, 0x3b)]);
}

/** The sizes of so many pictures in an AVIF. */
function sizes(count: number): Buffer {
  const ispe = Buffer.concat([u32be(20), Buffer.from('ispe'), u32be(0), u32be(28), u32be(28)]);
  const ipco = Buffer.concat([
    u32be(8 + 20 * count),
    Buffer.from('ipco'),
    ...Array.from({ length: count }, () => ispe),
  ]);
  return Buffer.concat([u32be(8 + ipco.length), Buffer.from('iprp'), ipco]);
}

/** A WebP of one picture, put on a canvas of another size. */
function riffWithCanvas(webp: Buffer, width: number, height: number): Buffer {
  const size = Buffer.concat([u32le(width - 1).subarray(0, 3), u32le(height - 1).subarray(0, 3)]);
  const extended = Buffer.concat([Buffer.from('VP8X'), u32le(10), u32le(0), size, webp.subarray(12)]);
  return Buffer.concat([Buffer.from('RIFF'), u32le(extended.length + 4), Buffer.from('WEBP'), extended]);
}

/** Small files that take a decoder's memory or time: more inflated than they say, more claimed than there is. */
export async function bombs(): Promise<HostileImage[]> {
  return [...pngBombs(), ...(await jpegBombs()), ...tiffBombs(), ...(await otherBombs())];
}
