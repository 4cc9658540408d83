import type { Grey } from './grey.ts';
import { badImage } from './headers/header.ts';
import { parsePnmHeader } from './headers/pnm.ts';
import { reduceTo } from './reduce.ts';

/**
 * The image so reduced that its longest side has at most `maxSide` pixels; its proportions stay, no side gets shorter
 * than one pixel, and a smaller image is returned as it is.
 */
export function fitWithin(image: Grey, maxSide: number): Grey {
  const longest = Math.max(image.width, image.height);
  if (longest <= maxSide) return image;
  const side = (length: number) => Math.max(1, Math.round((length * maxSide) / longest));
  return reduceTo(image, side(image.width), side(image.height));
}

/** `P5`, two sides of five digits, `255`, and what stands between them. */
const LONGEST_HEADER = 19;

/** The image so reduced that its PGM takes at most so many bytes; one that does is returned as it is. */
export function fitPgm(image: Grey, maxBytes: number): Grey {
  const { width, height } = image;
  const pixels = maxBytes - LONGEST_HEADER;
  if (width * height <= pixels) return image;
  const longest = Math.floor(Math.max(width, height) * Math.sqrt(Math.max(1, pixels) / (width * height)));
  return fitWithin(image, Math.max(1, longest));
}

let lastHeader = { width: 0, height: 0, bytes: Buffer.alloc(0) };

/** The header of a binary PGM (pgm(5), P5): `P5\n<width> <height>\n255\n`; one byte a pixel follows it. */
export function pgmHeader({ width, height }: Grey): Uint8Array {
  // One image after another is of the same size.
  if (lastHeader.width !== width || lastHeader.height !== height) {
    lastHeader = { width, height, bytes: Buffer.from(`P5\n${width} ${height}\n255\n`, 'latin1') };
  }
  return lastHeader.bytes;
}

/** Binary PGM with the longest side at most `maxSide`, never enlarged. */
export function toPgm(image: Grey, maxSide: number): Buffer {
  const small = fitWithin(image, maxSide);
  return Buffer.concat([pgmHeader(small), small.data]);
}

/**
 * Reads a binary PGM with 8-bit samples, such as `toPgm` writes; `data` is a view into the bytes.
 * Throws HubError BAD_IMAGE for anything else.
 */
export function parsePgm(bytes: Uint8Array): Grey {
  const header = parsePnmHeader(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength));
  if (header?.format !== 'pgm' || !header.binary || header.maxValue !== 255) {
    throw badImage('not a binary PGM (P5) with samples from 0 to 255');
  }
  const { width, height, pixelsAt } = header;
  const data = bytes.subarray(pixelsAt, pixelsAt + width * height);
  if (data.length < width * height) {
    throw badImage(`truncated PGM: ${data.length} of ${width} × ${height} pixels`, { kind: 'truncated' });
  }
  return { width, height, data };
}
