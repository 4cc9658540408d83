import { badImage, truncatedImage, type HeaderReader } from './header.ts';

const TAG = { width: 256, height: 257, bitsPerSample: 258 } as const;
const ENTRY_BYTES = 12;
const SHORT = 3;

/**
 * TIFF 6.0: `II*\0` or `MM\0*`, offset:u32 of the first image file directory (IFD):
 * `entries:u16`, each `tag:u16 type:u16 count:u32 value-or-offset:4`, then the next IFD's offset:u32.
 * EXIF is made of the same directories, so the whole file is its own EXIF block.
 */
export const readTiffHeader: HeaderReader = (bytes) => {
  const magic = bytes.toString('latin1', 0, 4);
  if (magic === 'II+\0' || magic === 'MM\0+') {
    throw badImage('BigTIFF is not supported', {
      kind: 'unsupported',
      hint: 'Save the image as an ordinary TIFF (under 4 GB).',
    });
  }
  if (magic !== 'II*\0' && magic !== 'MM\0*') return null;
  if (bytes.length < 8) throw truncatedImage('tiff', bytes);
  const little = magic === 'II*\0';
  const u16 = (at: number) => (little ? bytes.readUInt16LE(at) : bytes.readUInt16BE(at));
  const u32 = (at: number) => (little ? bytes.readUInt32LE(at) : bytes.readUInt32BE(at));

  const directory = u32(4);
  if (directory + 2 > bytes.length) throw truncatedImage('tiff', bytes);
  const entries = u16(directory);
  const end = directory + 2 + entries * ENTRY_BYTES;
  if (end > bytes.length) throw truncatedImage('tiff', bytes);
  const found = new Map<number, number>();
  for (let at = directory + 2; at < end; at += ENTRY_BYTES) {
    const isShort = u16(at + 2) === SHORT;
    const fitsInEntry = u32(at + 4) <= (isShort ? 2 : 1);
    const valueAt = fitsInEntry ? at + 8 : u32(at + 8);
    if (valueAt + 4 <= bytes.length) found.set(u16(at), isShort ? u16(valueAt) : u32(valueAt));
  }
  const [width, height] = [found.get(TAG.width), found.get(TAG.height)];
  if (width === undefined || height === undefined) throw badImage('damaged TIFF: its size is missing');
  return {
    format: 'tiff',
    width,
    height,
    bitDepth: found.get(TAG.bitsPerSample) ?? 1, // the standard's default
    exif: bytes,
    truncated: end + 4 > bytes.length,
  };
};
