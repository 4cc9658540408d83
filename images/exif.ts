import parseExif from 'exif-reader';
import { type Groups, GROUPS, isNumbers, text } from './exif-groups.ts';
import { isReadable } from './exif-guard.ts';
import { optics, type Optics } from './exif-optics.ts';
import { place, type Place } from './exif-place.ts';
import { captureTime, type CaptureTime, isSensible, keepWrittenDates } from './exif-time.ts';

/** What EXIF says about a picture; everything is null where it says nothing, or nothing possible. */
export interface ExifFacts extends CaptureTime, Place, Optics {
  /**
   * The tags by group (Image, Photo, GPSInfo, Iop), fit for jsonb: numbers, texts without NUL, short lists of numbers,
   * dates as local times `2024-05-01T12:30:00`. Binary, long and unknown tags (MakerNote, previews) are left out.
   */
  exif: Record<string, Record<string, ExifValue>> | null;
}

export type ExifValue = number | string | number[];

/** What a picture without EXIF says. */
export const NO_FACTS: ExifFacts = { ...captureTime({}), ...place(null), ...optics({}), exif: null };

/** Where the file keeps its parts, not what the picture is of. */
const STRUCTURE = new Set([
  'ExifTag',
  'GPSTag',
  'InteroperabilityTag',
  'StripOffsets',
  'StripByteCounts',
  'TileOffsets',
  'TileByteCounts',
  'JPEGInterchangeFormat',
  'JPEGInterchangeFormatLength',
  'MakerNote',
  'XMLPacket',
]);
const MAX_LIST = 16;

/**
 * Reads a raw EXIF block (starting with `Exif\0\0` or a TIFF header; a TIFF file is one). Never throws: from a broken
 * block comes what can be read, or nothing.
 */
export function readExif(block: Uint8Array | null): ExifFacts {
  const groups = block && parse(block);
  if (!groups) return NO_FACTS;
  return {
    ...captureTime(groups),
    ...place(groups.GPSInfo),
    ...optics(groups),
    exif: tidy(groups),
  };
}

/** The EXIF orientation, 1 to 8; 1 (as it is) where the block names none. */
export function readOrientation(block: Uint8Array): number {
  const orientation = parse(block)?.Image?.Orientation;
  return typeof orientation === 'number' && orientation >= 1 && orientation <= 8 ? orientation : 1;
}

/** Null if nothing can be read: pictures with broken EXIF are pictures all the same. */
function parse(block: Uint8Array): Groups | null {
  const buffer = Buffer.from(block.buffer, block.byteOffset, block.byteLength);
  try {
    if (!isReadable(buffer)) return null;
    const groups = parseExif(buffer) as Groups;
    keepWrittenDates(groups, buffer);
    return groups;
  } catch {
    return null;
  }
}

function tidy(groups: Groups): ExifFacts['exif'] {
  const result: Record<string, Record<string, ExifValue>> = {};
  for (const name of GROUPS) {
    const tags: Record<string, ExifValue> = {};
    for (const [tag, value] of Object.entries(groups[name] ?? {})) {
      if (STRUCTURE.has(tag) || /^\d+$/.test(tag)) continue;
      const plain = plainValue(tag, value);
      if (plain !== null) tags[tag] = plain;
    }
    if (Object.keys(tags).length > 0) result[name] = tags;
  }
  return Object.keys(result).length > 0 ? result : null;
}

function plainValue(tag: string, value: unknown): ExifValue | null {
  if (typeof value === 'number') return Number.isFinite(value) ? value : null;
  if (value instanceof Date) return isSensible(value) ? value.toISOString().slice(0, 19) : null;
  if (isNumbers(value))
    return value.length > 0 && value.length <= MAX_LIST && value.every(Number.isFinite) ? value : null;
  // UserComment begins with eight bytes that name its character set.
  if (tag === 'UserComment' && Buffer.isBuffer(value)) {
    return value.toString('latin1', 0, 5) === 'ASCII' ? text(value.subarray(8)) : null;
  }
  return text(value);
}
