import { crc32 } from 'node:zlib';
import { Transformer } from '@napi-rs/image';
import { writePng } from '../png-writer.ts';
import { type HostileImage, patched, u16be, u16le, u32be, u32le } from './hostile-image.ts';
import { animation, colourImage, DIGIT, digitImage, greyOf } from './sources.ts';

/** A ZIP archive of one stored file. */
function zip(name: string, content: string): Buffer {
  const [path, data] = [Buffer.from(name), Buffer.from(content)];
  const facts = Buffer.concat([
    u16le(0),
    u16le(0),
    u32le(0),
    u32le(crc32(data)),
    u32le(data.length),
    u32le(data.length),
    u16le(path.length),
  ]);
  const local = Buffer.concat([Buffer.from('PK\x03\x04\x14\0'), facts, u16le(0), path, data]);
  const central = Buffer.concat([Buffer.from('PK\x01\x02\x14\0\x14\0'), facts, Buffer.alloc(14), path]);
  const end = Buffer.concat([
    u16le(0),
    u16le(0),
    u16le(1),
    u16le(1),
    u32le(central.length),
    u32le(local.length),
  ]);
  return Buffer.concat([local, central, Buffer.from('PK\x05\x06'), end, u16le(0)]);
}

const HTML = '<!DOCTYPE html><script>alert(document.domain)</script>';
const PHP = '<?php system($_GET["c"]); ?>';

/** A JPEG segment right behind its beginning. */
const withSegment = (jpeg: Buffer, marker: number, body: string | Buffer): Buffer =>
  Buffer.concat([
    jpeg.subarray(0, 2),
    Buffer.from([0xff, marker]),
    u16be(Buffer.byteLength(body) + 2),
    Buffer.from(body),
    jpeg.subarray(2),
  ]);

/** A GIF with a comment before its first image. */
function withComment(gif: Buffer, comment: string): Buffer {
  const at = 13 + (gif[10]! & 0x80 ? 3 << ((gif[10]! & 7) + 1) : 0);
  const block = Buffer.concat([
    Buffer.from([0x21, 0xfe, comment.length]),
    Buffer.from(comment),
    Buffer.of(0),
  ]);
  return Buffer.concat([gif.subarray(0, at), block, gif.subarray(at)]);
}

/**
 * Files that are images and something else besides: they are images, and what else they are does not matter to us.
 * @param origin of an HTTP server that nobody may ask for anything
 */
export async function polyglots(origin: string): Promise<HostileImage[]> {
  const archive = zip('evil.sh', 'rm -rf /');
  const digit = { ...DIGIT, colourType: 0, bitDepth: 8, samples: DIGIT.data } as const;
  const png = writePng(digit);
  const jpeg = await colourImage().jpeg().toBuffer();
  const gif = await digitImage().gif().toBuffer();
  const webp = await animation().webp({ lossless: true }).toBuffer();
  const tiff = await digitImage().tiff({ compression: 'lzw' }).toBuffer();
  const avif = await colourImage().avif().toBuffer();
  const bmp = await new Transformer(png).bmp();
  const pgm = Buffer.concat([Buffer.from(`P5\n# ${HTML}\n28 28\n255\n`), DIGIT.data]);
  const svg = `<svg xmlns="http://www.w3.org/2000/svg"><image href="${origin}/polyglot"/></svg>`;
  // A comment of JavaScript begins in the first segment's length, 0x2F2A, and ends behind it.
  const javaScript = withSegment(jpeg, 0xe9, Buffer.from('*/=alert(1)/*'.padEnd(0x2f2a - 2, ' ')));
  const [jpegGrey, avifGrey] = await Promise.all([jpeg, avif].map(greyOf));
  const files: [name: string, bytes: Buffer, grey?: HostileImage['grey']][] = [
    ['PNG and ZIP', Buffer.concat([png, archive]), DIGIT],
    ['PNG and PHP', writePng({ ...digit, before: [['tEXt', Buffer.from(`Comment\0${PHP}`)]] }), DIGIT],
    ['PNG and HTML', writePng({ ...digit, after: [['htMl', Buffer.from(HTML)]] }), DIGIT],
    ['PNG and a program', Buffer.concat([png, Buffer.from('\x7fELF\x02\x01\x01\0')]), DIGIT],
    ['PNG and another PNG', Buffer.concat([png, png]), DIGIT],
    ['PNG and a JPEG in a chunk', writePng({ ...digit, before: [['jpEg', jpeg]] }), DIGIT],
    ['JPEG and ZIP', Buffer.concat([jpeg, archive]), jpegGrey],
    ['JPEG and HTML before the picture', withSegment(jpeg, 0xfe, HTML), jpegGrey],
    ['JPEG and HTML behind the picture', Buffer.concat([jpeg, Buffer.from(HTML)]), jpegGrey],
    ['JPEG and PDF', withSegment(jpeg, 0xfe, '%PDF-1.4\n1 0 obj<</Type/Catalog>>endobj\n'), jpegGrey],
    ['JPEG and JavaScript', javaScript, jpegGrey],
    ['JPEG and a PNG before the picture', withSegment(jpeg, 0xe9, png), jpegGrey],
    ['JPEG and a PNG behind the picture', Buffer.concat([jpeg, png]), jpegGrey],
    ['JPEG and a JPEG before the picture', withSegment(jpeg, 0xe9, jpeg), jpegGrey],
    ['JPEG and a JPEG behind the picture', Buffer.concat([jpeg, jpeg]), jpegGrey],
    ['JPEG and SVG', withSegment(jpeg, 0xfe, svg), jpegGrey],
    ['GIF and PHP', withComment(gif, PHP), DIGIT],
    ['GIF and SVG', withComment(gif, svg), DIGIT],
    // The canvas is 0x2A2F = 10799 wide: /*
    ['GIF and JavaScript', Buffer.concat([patched(gif, 6, Buffer.from('/*')), Buffer.from('*/=1;alert(1)')])],
    ['WebP and ZIP', Buffer.concat([webp, archive]), DIGIT],
    ['TIFF and ZIP', Buffer.concat([tiff, archive]), DIGIT],
    [
      'AVIF and ZIP',
      Buffer.concat([avif, u32be(8 + archive.length), Buffer.from('free'), archive]),
      avifGrey,
    ],
    // Its own size in bytes is a field that nobody needs: BM/*
    ['BMP and JavaScript', Buffer.concat([patched(bmp, 2, Buffer.from('/*')), Buffer.from('*/=1')]), DIGIT],
    ['PGM and HTML', pgm, DIGIT],
  ];
  return [
    ...files.map(([name, bytes, grey]): HostileImage => ({
      name: `polyglot: ${name}`,
      bytes,
      fates: ['row'],
      ...(grey && { grey }),
    })),
    ...(
      [
        ['ZIP and PNG', Buffer.concat([archive, png])],
        ['HTML and JPEG', Buffer.concat([Buffer.from(HTML), jpeg])],
        ['a program and PNG', Buffer.concat([Buffer.from('MZ'), png])],
      ] as const
    ).map(([name, bytes]): HostileImage => ({ name: `polyglot: ${name}`, bytes, fates: ['not-an-image'] })),
  ];
}
