import parseExif from 'exif-reader';
import { isReadable } from './exif-guard.ts';

/** What EXIF says about a picture; everything is null where it says nothing, or nothing sensible. */
export interface ExifFacts {
  /**
   * When the picture was taken (DateTimeOriginal, else DateTimeDigitized, GPS time, DateTime). EXIF times are local
   * times: with an OffsetTime tag they become the exact moment, without one they are taken as UTC.
   */
  capturedAt: Date | null;
  /** Degrees, −90 to 90, north positive. */
  latitude: number | null;
  /** Degrees, −180 to 180, east positive. Null together with latitude. */
  longitude: number | null;
  /** Make and model, the make once: `Canon EOS 5D`. */
  camera: string | null;
  /**
   * The tags by group (Image, Photo, GPSInfo, Iop), fit for jsonb: numbers, texts without NUL, short lists of numbers,
   * dates as local times `2024-05-01T12:30:00`. Binary, long and unknown tags (MakerNote, previews) are left out.
   */
  exif: Record<string, Record<string, ExifValue>> | null;
}

export type ExifValue = number | string | number[];

const NOTHING: ExifFacts = { capturedAt: null, latitude: null, longitude: null, camera: null, exif: null };

const GROUPS = ['Image', 'Photo', 'GPSInfo', 'Iop'] as const;
type Group = Record<string, unknown>;
type Groups = Partial<Record<(typeof GROUPS)[number], Group | null>>;

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
const MAX_TEXT = 500;
const MAX_LIST = 16;
const MAX_CAMERA = 100;
/** A clock that was never set says 0000:00:00, which dates of JavaScript turn into 1899. */
const EARLIEST_YEAR = 1900;

/**
 * Reads a raw EXIF block (starting with `Exif\0\0` or a TIFF header; a TIFF file is one). Never throws: from a broken
 * block comes what can be read, or nothing.
 */
export function readExif(block: Uint8Array | null): ExifFacts {
  const groups = block && parse(block);
  if (!groups) return NOTHING;
  return {
    capturedAt: capturedAt(groups),
    ...position(groups.GPSInfo),
    camera: camera(groups.Image),
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
    return isReadable(buffer) ? (parseExif(buffer) as Groups) : null;
  } catch {
    return null;
  }
}

function capturedAt({ Image, Photo, GPSInfo }: Groups): Date | null {
  return (
    moment(Photo?.DateTimeOriginal, Photo?.OffsetTimeOriginal, Photo?.SubSecTimeOriginal) ??
    moment(Photo?.DateTimeDigitized, Photo?.OffsetTimeDigitized, Photo?.SubSecTimeDigitized) ??
    gpsTime(GPSInfo) ??
    moment(Image?.DateTime, Photo?.OffsetTime, Photo?.SubSecTime)
  );
}

/** A local time (held by a Date as if it were UTC), its offset such as `+02:00`, and its fraction of a second. */
function moment(local: unknown, offset: unknown, fraction: unknown): Date | null {
  if (!isSensible(local)) return null;
  const zone = typeof offset === 'string' ? /^([+-])(\d\d):(\d\d)$/.exec(offset.trim()) : null;
  const minutes = zone ? (Number(zone[2]) * 60 + Number(zone[3])) * (zone[1] === '-' ? -1 : 1) : 0;
  const digits = typeof fraction === 'string' ? /^\d{1,9}/.exec(fraction)?.[0] : undefined;
  const milliseconds = digits ? Math.trunc(Number(`0.${digits}`) * 1000) : 0;
  return new Date(local.getTime() - minutes * 60_000 + milliseconds);
}

const isSensible = (date: unknown): date is Date =>
  date instanceof Date && !Number.isNaN(date.getTime()) && date.getUTCFullYear() >= EARLIEST_YEAR;

/** GPSDateStamp `2024:05:01` and GPSTimeStamp [hours, minutes, seconds], in UTC. */
function gpsTime(gps: Group | null | undefined): Date | null {
  const day = typeof gps?.GPSDateStamp === 'string' ? /^(\d{4}):(\d\d):(\d\d)$/.exec(gps.GPSDateStamp) : null;
  const time = gps?.GPSTimeStamp;
  if (!day || !isNumbers(time) || time.length !== 3) return null;
  const [hours, minutes, seconds] = time as [number, number, number];
  const at = Date.UTC(Number(day[1]), Number(day[2]) - 1, Number(day[3]), hours, minutes, 0) + seconds * 1000;
  const date = new Date(at);
  return isSensible(date) ? date : null;
}

function position(gps: Group | null | undefined): { latitude: number | null; longitude: number | null } {
  const latitude = degrees(gps?.GPSLatitude, gps?.GPSLatitudeRef, 'S', 90);
  const longitude = degrees(gps?.GPSLongitude, gps?.GPSLongitudeRef, 'W', 180);
  return latitude === null || longitude === null
    ? { latitude: null, longitude: null }
    : { latitude, longitude };
}

/** [degrees, minutes, seconds] (the latter may be missing) and the hemisphere. */
function degrees(value: unknown, hemisphere: unknown, negative: string, limit: number): number | null {
  const parts = typeof value === 'number' ? [value] : value;
  if (!isNumbers(parts) || parts.length === 0 || parts.length > 3) return null;
  const [degree = 0, minutes = 0, seconds = 0] = parts;
  const size = (degree * 3600 + minutes * 60 + seconds) / 3600; // rounded once
  if (!(size >= 0 && size <= limit)) return null; // NaN from 0/0 too
  const sign = typeof hemisphere === 'string' && hemisphere.toUpperCase().startsWith(negative) ? -1 : 1;
  return size === 0 ? 0 : sign * size;
}

function camera(image: Group | null | undefined): string | null {
  const make = text(image?.Make);
  const model = text(image?.Model);
  if (!model) return make?.slice(0, MAX_CAMERA) || null;
  const brand = make?.split(' ')[0]?.toLowerCase();
  const named = !make || !brand || model.toLowerCase().startsWith(brand) ? model : `${make} ${model}`;
  return named.slice(0, MAX_CAMERA).toWellFormed();
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

/** A text without padding and control characters; bytes if they are text in UTF-8 (EXIF knows ASCII only). Else null. */
function text(value: unknown): string | null {
  let string = value;
  if (Buffer.isBuffer(value)) {
    string = value.toString('utf8', 0, MAX_TEXT * 4).replace(/\0+$/, '');
    if (/[\p{Cc}\ufffd]/u.test(string as string)) return null; // binary
  }
  if (typeof string !== 'string') return null;
  const clean = string.replace(/\0[^]*$/, '').replace(/\p{Cc}+/gu, ' ');
  return clean.trim().slice(0, MAX_TEXT).toWellFormed() || null;
}

const isNumbers = (value: unknown): value is number[] =>
  Array.isArray(value) && value.every((item) => typeof item === 'number');
