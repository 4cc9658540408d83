import { gzipSync } from 'node:zlib';
import { encodeGreyPng } from '../../../images/png.ts';
import { PNG_SIGNATURE, pngChunk, pngHeader } from '../png-writer.ts';
import { type Fate, type HostileImage, u16le, u32be, u32le } from './hostile-image.ts';
import { DIGIT, digitImage, type Source } from './sources.ts';

const PNG = encodeGreyPng(DIGIT.data, DIGIT.width, DIGIT.height);
const ascii = (text: string) => Buffer.from(text, 'latin1');
const riff = (kind: string, ...parts: Uint8Array[]): Buffer => {
  const body = Buffer.concat([ascii(kind), ...parts]);
  return Buffer.concat([ascii('RIFF'), u32le(body.length), body]);
};
const box = (type: string, ...parts: Uint8Array[]): Buffer => {
  const body = Buffer.concat([ascii(type), ...parts]);
  return Buffer.concat([u32be(body.length + 4), body]);
};
const padded = (start: string | Buffer) => Buffer.concat([Buffer.from(start), Buffer.alloc(200, 7)]);

/** What people call an image, or what ends up among them. */
function others(): [name: string, bytes: Buffer, fate: Fate, detail?: RegExp][] {
  const ico = Buffer.concat([
    Buffer.from('000001000100', 'hex'),
    Buffer.from('1c1c000001002000', 'hex'),
    u32le(PNG.length),
    u32le(22),
    PNG,
  ]);
  return [
    ['a ZIP', padded('PK\x03\x04'), 'not-an-image'],
    ['a PNG in gzip', gzipSync(PNG), 'not-an-image'],
    ['a PNG in base64', ascii(PNG.toString('base64')), 'not-an-image', /iVBORw0KGgo/],
    [
      'a PNG as a data URL',
      ascii(`data:image/png;base64,${PNG.toString('base64')}`),
      'not-an-image',
      /data:image/,
    ],
    ['a PNG behind a line end', Buffer.concat([ascii('\n'), PNG]), 'not-an-image'],
    ['a PNG without carriage returns', Buffer.from(PNG.filter((byte) => byte !== 13)), 'not-an-image'],
    ['a PNG in an ICO', ico, 'not-an-image'],
    ['a PDF', padded('%PDF-1.7\n'), 'not-an-image'],
    [
      'a page that says 404',
      ascii('<html><body><h1>404 Not Found</h1></body></html>'),
      'not-an-image',
      /<html>/,
    ],
    ['JSON', ascii('{"error":"rate limit"}'), 'not-an-image', /error/],
    ['a program', padded('\x7fELF\x02\x01\x01\0'), 'not-an-image'],
    ['a path', ascii('/mnt/camera/0001.png'), 'not-an-image', /camera/],
    ['nothing but zeros', Buffer.alloc(1000), 'not-an-image'],
    ['nothing but ones', Buffer.alloc(1000, 255), 'not-an-image'],
    ['one byte', Buffer.of(0x89), 'not-an-image'],
    ['a Photoshop file', padded('8BPS\0\x01'), 'not-an-image'],
    ['JPEG 2000', padded('\0\0\0\x0cjP  \r\n\x87\n'), 'not-an-image'],
    ['JPEG XL', padded(Buffer.from('ff0a', 'hex')), 'not-an-image'],
    ['OpenEXR', padded(Buffer.from('762f3101', 'hex')), 'not-an-image'],
    ['Radiance', padded('#?RADIANCE\n'), 'not-an-image'],
    ['FITS', padded('SIMPLE  =                    T'), 'not-an-image'],
    ['DICOM', Buffer.concat([Buffer.alloc(128), ascii('DICM')]), 'not-an-image'],
    ['sound in RIFF', riff('WAVE', padded('fmt ')), 'not-an-image'],
    ['a film in RIFF', riff('AVI ', padded('LIST')), 'not-an-image'],
    [
      'a film in MP4',
      Buffer.concat([box('ftyp', ascii('isom\0\0\0\0isommp42')), box('moov')]),
      'unsupported',
      /isom/,
    ],
    ['HEIC', Buffer.concat([box('ftyp', ascii('heic\0\0\0\0mif1heic')), box('meta')]), 'unsupported', /HEIC/],
    ['BigTIFF', padded('II+\0\x08\0\0\0'), 'unsupported', /BigTIFF/],
  ];
}

/** The format within is another one than that of the file around it. */
async function nested(): Promise<[name: string, bytes: Buffer, ...fates: Fate[]][]> {
  const jpeg = await digitImage().jpeg().toBuffer();
  const chunk = (type: string, body: Uint8Array) => Buffer.concat([ascii(type), u32le(body.length), body]);
  const bmp = Buffer.concat([
    ascii('BM'),
    u32le(54 + PNG.length),
    u32le(0),
    u32le(54),
    u32le(40),
    u32le(28),
    u32le(28),
    u16le(1),
    u16le(0),
    u32le(5),
    u32le(PNG.length),
    Buffer.alloc(16),
    PNG,
  ]);
  const header = pngChunk('IHDR', pngHeader(DIGIT.width, DIGIT.height, 8, 0));
  return [
    [
      'a JPEG as the pixels of a PNG',
      Buffer.concat([PNG_SIGNATURE, header, pngChunk('IDAT', jpeg), pngChunk('IEND')]),
      'damaged',
    ],
    [
      'a PNG as the pixels of a PNG',
      Buffer.concat([PNG_SIGNATURE, header, pngChunk('IDAT', PNG), pngChunk('IEND')]),
      'damaged',
    ],
    [
      'a JPEG as the picture of a WebP',
      riff('WEBP', chunk('VP8 ', padded(jpeg).subarray(0, 400))),
      'damaged',
    ],
    ['a PNG as the pixels of a BMP', bmp, 'damaged'],
    [
      'a PNG behind the beginning of a JPEG',
      Buffer.concat([Buffer.from('ffd8ff', 'hex'), PNG]),
      'damaged',
      'truncated',
    ],
    ['a PNG behind the beginning of a GIF', Buffer.concat([ascii('GIF89a'), PNG]), 'damaged', 'too-large'],
    ['a JPEG behind the signature of a PNG', Buffer.concat([PNG_SIGNATURE, jpeg]), 'damaged'],
  ];
}

/** Not what they seem: files of other formats, and right images whose messages say they are something else. */
export async function mistaken(sources: Source[]): Promise<HostileImage[]> {
  return [
    ...others().map(([name, bytes, fate, detail]): HostileImage => ({
      name: `mistaken: ${name}`,
      bytes,
      contentType: 'image/png',
      fates: [fate],
      ...(detail && { detail }),
    })),
    ...(await nested()).map(([name, bytes, ...fates]): HostileImage => ({
      name: `nested: ${name}`,
      bytes,
      fates,
    })),
    ...sources.map(({ name, bytes }, i): HostileImage => {
      const other = sources[(i + 4) % sources.length]!.format;
      return {
        name: `mistaken: ${name}, called ${other}`,
        bytes,
        contentType: `image/${other}`,
        fates: ['row'],
      };
    }),
  ];
}
