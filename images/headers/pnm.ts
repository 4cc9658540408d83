import { badImage, truncatedImage, type HeaderReader, type ImageFormat } from './header.ts';

const KINDS: Record<string, ImageFormat> = {
  1: 'pbm',
  2: 'pgm',
  3: 'ppm',
  4: 'pbm',
  5: 'pgm',
  6: 'ppm',
};
const SAMPLES: Partial<Record<ImageFormat, number>> = { pgm: 1, ppm: 3 };
/** A header with its comments; anything longer is not looked at. */
const HEADER_LIMIT = 4096;
const GAP = String.raw`(?:\s|#[^\r\n]*[\r\n])+`;
const START = /^P([1-6])[\s#]/;
const BITMAP = new RegExp(`^P[14]${GAP}(\\d{1,9})${GAP}(\\d{1,9})\\s`);
const GREY_OR_COLOUR = new RegExp(`^P[2356]${GAP}(\\d{1,9})${GAP}(\\d{1,9})${GAP}(\\d{1,9})\\s`);

/** The fields of a netpbm header and where the pixels begin. */
export interface PnmHeader {
  format: ImageFormat;
  /** P1–P3 hold the pixels as text, P4–P6 as bytes. */
  binary: boolean;
  width: number;
  height: number;
  /** The sample value of white; 1 in bitmaps. */
  maxValue: number;
  pixelsAt: number;
}

/**
 * netpbm (pbm(5), pgm(5), ppm(5)): `P1`–`P6`, width, height and, except in bitmaps, the largest sample value,
 * separated by white space or comments (`# … end of line`), and one white-space character before the pixels.
 * Null if the bytes do not begin so.
 */
export function parsePnmHeader(bytes: Buffer): PnmHeader | null {
  const text = bytes.toString('latin1', 0, HEADER_LIMIT);
  const kind = START.exec(text)?.[1];
  if (kind === undefined) return null;
  const format = KINDS[kind]!;
  const match = (format === 'pbm' ? BITMAP : GREY_OR_COLOUR).exec(text);
  if (!match) return null;
  return {
    format,
    binary: kind >= '4',
    width: Number(match[1]),
    height: Number(match[2]),
    maxValue: format === 'pbm' ? 1 : Number(match[3]),
    pixelsAt: match[0].length,
  };
}

/** Header of a netpbm file; see parsePnmHeader for its grammar. */
export const readPnmHeader: HeaderReader = (bytes) => {
  const header = parsePnmHeader(bytes);
  if (!header) {
    // `P5 28` and the end: a header cut short, where text would go on with letters
    const cut = /^P[1-6]\s[\s\d]*$/.test(bytes.toString('latin1', 0, 64)) && bytes.length < 64;
    if (cut) throw truncatedImage('pnm', bytes);
    return null;
  }
  const { format, binary, width, height, maxValue, pixelsAt } = header;
  if (maxValue < 1 || maxValue > 65535) {
    throw badImage(
      `damaged ${format.toUpperCase()}: its largest sample value is ${maxValue}, not 1 to 65535`,
    );
  }
  const bytesPerRow =
    format === 'pbm' ? Math.ceil(width / 8) : width * SAMPLES[format]! * (maxValue > 255 ? 2 : 1);
  return {
    format,
    width,
    height,
    bitDepth: format === 'pbm' ? 1 : maxValue > 255 ? 16 : 8,
    exif: null,
    truncated: binary && bytes.length < pixelsAt + bytesPerRow * height,
  };
};
