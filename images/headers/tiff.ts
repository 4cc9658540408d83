import { badImage, truncatedImage, type HeaderReader } from './header.ts';

const TAG = { width: 256, height: 257, bitsPerSample: 258, photometric: 262, profile: 34675 } as const;
/** Tags of where the parts of the picture lie, strips or tiles, and of how many bytes each takes. */
const PARTS = [
  { offsets: 273, lengths: 279 },
  { offsets: 324, lengths: 325 },
];
/** Of the photometric interpretations, the one that is called ‘separated’. */
const CMYK = 5;
const ENTRY_BYTES = 12;
const [SHORT, LONG] = [3, 4];
/** Of the types BYTE (1) to DOUBLE (12). */
const VALUE_BYTES = [0, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8];

/**
 * TIFF 6.0: `II*\0` or `MM\0*`, offset:u32 of the first image file directory (IFD):
 * `entries:u16`, each `tag:u16 type:u16 count:u32 value-or-offset:4`, then the next IFD's offset:u32.
 * EXIF is made of the same directories, so the whole file is its own EXIF block. Writers put the pixels before or behind
 * the directory that says where they are.
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
  const entryOf = new Map<number, number>();
  let truncated = end + 4 > bytes.length;
  for (let at = directory + 2; at < end; at += ENTRY_BYTES) {
    entryOf.set(u16(at), at);
    const valueBytes = (VALUE_BYTES[u16(at + 2)] ?? 0) * u32(at + 4);
    if (valueBytes > 4 && u32(at + 8) + valueBytes > bytes.length) truncated = true;
  }
  /** None where the tag is missing, of another type, or beyond the file's end. */
  const numbers = (tag: number): { count: number; at(i: number): number } => {
    const none = { count: 0, at: () => 0 };
    const entry = entryOf.get(tag);
    if (entry === undefined) return none;
    const [type, count] = [u16(entry + 2), u32(entry + 4)];
    const size = VALUE_BYTES[type]!;
    const from = count * size <= 4 ? entry + 8 : u32(entry + 8);
    if ((type !== SHORT && type !== LONG) || from + count * size > bytes.length) return none;
    return { count, at: (i) => (type === SHORT ? u16(from + 2 * i) : u32(from + 4 * i)) };
  };
  const first = (tag: number) => {
    const found = numbers(tag);
    return found.count > 0 ? found.at(0) : undefined;
  };
  const [width, height] = [first(TAG.width), first(TAG.height)];
  if (width === undefined || height === undefined) throw badImage('damaged TIFF: its size is missing');
  for (const tags of PARTS) {
    const [offsets, lengths] = [numbers(tags.offsets), numbers(tags.lengths)];
    for (let i = 0; i < offsets.count && !truncated; i++) {
      truncated = offsets.at(i) + (i < lengths.count ? lengths.at(i) : 0) > bytes.length;
    }
  }
  const profile = entryOf.get(TAG.profile);
  return {
    format: 'tiff',
    width,
    height,
    bitDepth: first(TAG.bitsPerSample) ?? 1, // the standard's default
    exif: bytes,
    profiles: profile === undefined ? [] : [[u32(profile + 8), u32(profile + 8) + u32(profile + 4)]],
    truncated,
    ...(first(TAG.photometric) === CMYK ? { components: 4 } : {}),
  };
};
