import { Transformer } from '@napi-rs/image';
import sharp, { type Sharp } from 'sharp';
import { type Grey, toGrey } from '../../../images/grey.ts';
import { numberedDigit } from '../digit-stream.ts';
import { digitPixels, SIDE } from '../digits.ts';
import { exifBlock } from '../exif-block.ts';
import { writePng } from '../png-writer.ts';
import { samplePixels } from '../sample-images.ts';
import {
  avifBorders,
  bmpBorders,
  type Borders,
  gifBorders,
  jpegBorders,
  pngBorders,
  pnmBorders,
  tiffBorders,
  webpBorders,
} from './blocks.ts';
import { independentPixels } from './independent.ts';

/** A good image that hostile ones are made of. */
export interface Source {
  name: string;
  format: string;
  bytes: Buffer;
  borders: Borders;
}

/** The digit of the sources that are without loss. */
export const DIGIT: Grey = { width: SIDE, height: SIDE, data: digitPixels(4, 321) };

const raw = (data: Uint8Array, channels: 1 | 2 | 3 | 4, height = SIDE): Sharp =>
  sharp(data, { raw: { width: SIDE, height, channels } });

export const digitImage = (): Sharp => raw(DIGIT.data, 1).toColourspace('b-w');
export const colourImage = (): Sharp => raw(samplePixels(SIDE, SIDE), 3);

/** The digit, then two other pictures. */
export function animation(): Sharp {
  const frames = Buffer.concat([DIGIT.data, digitPixels(5, 1), digitPixels(6, 2)]);
  const rgb = Buffer.alloc(3 * frames.length);
  frames.forEach((value, i) => rgb.fill(value, 3 * i, 3 * i + 3));
  return sharp(rgb, { raw: { width: SIDE, height: 3 * SIDE, channels: 3, pageHeight: SIDE } });
}

const EXIF = exifBlock({ image: [{ tag: 0x10f, ascii: 'A maker of cameras' }] });

/** One or more files of every format that is decoded. */
export async function sources(): Promise<Source[]> {
  const chunky = writePng({
    width: SIDE,
    height: SIDE,
    colourType: 2,
    bitDepth: 8,
    samples: samplePixels(SIDE, SIDE),
    before: [
      ['gAMA', Buffer.from([0, 0, 0xb1, 0x8f])],
      ['tEXt', Buffer.from('Title\0a picture')],
      ['eXIf', EXIF],
    ],
    after: [['tIME', Buffer.from([7, 0xea, 5, 1, 12, 30, 45])]],
  });
  const made: [name: string, format: string, borders: Borders, bytes: Buffer | Promise<Buffer>][] = [
    ['PNG', 'png', pngBorders, numberedDigit(4321)],
    ['PNG with many chunks', 'png', pngBorders, chunky],
    ['JPEG', 'jpeg', jpegBorders, colourImage().jpeg({ quality: 90 }).toBuffer()],
    ['progressive JPEG', 'jpeg', jpegBorders, colourImage().jpeg({ progressive: true }).toBuffer()],
    ['GIF', 'gif', gifBorders, colourImage().gif().toBuffer()],
    ['animated GIF', 'gif', gifBorders, animation().gif().toBuffer()],
    ['lossy WebP', 'webp', webpBorders, colourImage().webp().toBuffer()],
    ['lossless WebP', 'webp', webpBorders, colourImage().webp({ lossless: true }).toBuffer()],
    ['animated WebP', 'webp', webpBorders, animation().webp({ lossless: true }).toBuffer()],
    ['TIFF', 'tiff', tiffBorders, colourImage().tiff({ compression: 'lzw' }).toBuffer()],
    [
      'tiled TIFF',
      'tiff',
      tiffBorders,
      colourImage().tiff({ compression: 'deflate', tile: true }).toBuffer(),
    ],
    ['AVIF', 'avif', avifBorders, colourImage().avif().toBuffer()],
    ['BMP', 'bmp', bmpBorders, new Transformer(chunky).bmp()],
    ['PGM', 'pgm', pnmBorders, Buffer.concat([Buffer.from(`P5\n${SIDE} ${SIDE}\n255\n`), DIGIT.data])],
    ['text PGM', 'pgm', pnmBorders, Buffer.from(`P2\n${SIDE} ${SIDE}\n255\n${DIGIT.data.join(' ')}\n`)],
  ];
  return Promise.all(
    made.map(async ([name, format, borders, bytes]) => ({ name, format, borders, bytes: await bytes })),
  );
}

/** What a good file holds, decoded by another decoder than ours. */
export const greyOf = async (bytes: Buffer): Promise<Grey> => toGrey((await independentPixels(bytes))!);
