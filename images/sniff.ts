import { readAvifHeader } from './headers/avif.ts';
import { readBmpHeader } from './headers/bmp.ts';
import { readGifHeader } from './headers/gif.ts';
import { badImage, truncatedImage, type HeaderReader, type ImageHeader } from './headers/header.ts';
import { readJpegHeader } from './headers/jpeg.ts';
import { readPngHeader } from './headers/png.ts';
import { readPnmHeader } from './headers/pnm.ts';
import { readTiffHeader } from './headers/tiff.ts';
import { readWebpHeader } from './headers/webp.ts';

export type { ImageFormat, ImageHeader } from './headers/header.ts';

/** What an image may be, at most. */
export interface ImageLimits {
  /** Width × height in pixels; the setting IMAGEHUB_MAX_PIXELS. */
  maxPixels: number;
}

/** The likeliest first. */
const READERS: HeaderReader[] = [
  readPngHeader,
  readJpegHeader,
  readWebpHeader,
  readGifHeader,
  readTiffHeader,
  readAvifHeader,
  readBmpHeader,
  readPnmHeader,
];

/**
 * Longer sides are refused whatever the area: nobody takes such pictures, and to make one smaller that is a hundred million
 * pixels wide, or high, takes gigabytes or minutes.
 */
const MAX_SIDE = 1_000_000;

/** How much of an unknown file its error quotes. */
const QUOTED_BYTES = 20;

/**
 * Format and size of an encoded image from its header alone, in microseconds and without decoding a pixel.
 * Throws HubError BAD_IMAGE if the bytes are empty, in no format we know, larger than the limits
 * (however few bytes they are compressed to), or visibly cut short.
 */
export function sniff(bytes: Uint8Array, limits: ImageLimits): ImageHeader {
  if (bytes.length === 0) throw badImage('empty: there are no bytes to decode', { kind: 'empty' });
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const header = readHeader(buffer);
  const { format, width, height } = header;
  if (width < 1 || height < 1) {
    throw badImage(`damaged ${format.toUpperCase()}: it says it is ${width} × ${height} pixels large`);
  }
  if (width * height > limits.maxPixels) throw tooLarge(header, limits);
  if (Math.max(width, height) > MAX_SIDE) throw tooLong(header);
  if (header.truncated) throw truncatedImage(format, bytes);
  return header;
}

function readHeader(bytes: Buffer): ImageHeader {
  for (const read of READERS) {
    const header = read(bytes);
    if (header) return header;
  }
  throw badImage(`not an image in a format we know (starts with ${quote(bytes)})`, {
    kind: 'not-an-image',
    hint: 'Known are PNG, JPEG, WebP, GIF, TIFF, AVIF, BMP and PBM/PGM/PPM.',
  });
}

function tooLarge({ format, width, height }: ImageHeader, { maxPixels }: ImageLimits) {
  return badImage(
    `${format.toUpperCase()} of ${width} × ${height} = ${width * height} pixels is over the limit of ${maxPixels}`,
    {
      kind: 'too-large',
      hint: `Raise IMAGEHUB_MAX_PIXELS to let images of this size in; decoding takes up to 4 bytes a pixel.`,
    },
  );
}

function tooLong({ format, width, height }: ImageHeader) {
  return badImage(
    `${format.toUpperCase()} of ${width} × ${height}: a side is over the limit of ${MAX_SIDE} pixels`,
    { kind: 'too-large' },
  );
}

/** The first bytes as text if they are text, else in hexadecimal. */
function quote(bytes: Buffer): string {
  const start = bytes.subarray(0, QUOTED_BYTES);
  const text = start.toString('utf8').replace(/�+$/, ''); // a character cut at the end
  const isText = text !== '' && !/[\p{Cc}�]/u.test(text.replace(/[\t\r\n]/g, ' '));
  return isText ? `‘${text.replace(/\s+/g, ' ')}’` : `bytes ${start.subarray(0, 8).toString('hex')}`;
}
