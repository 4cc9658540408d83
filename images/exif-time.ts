import { type Group, type Groups, isNumbers } from './exif-groups.ts';

export interface CaptureTime {
  /**
   * When the picture was taken (DateTimeOriginal, else DateTimeDigitized, GPS time, DateTime). EXIF times are local
   * times: with an OffsetTime tag they become the exact moment, without one they are taken as UTC.
   */
  capturedAt: Date | null;
  /** Minutes that local time was ahead of UTC, −720 to 840, where an OffsetTime tag says so. */
  capturedOffset: number | null;
}

/** A clock that was never set says 0000:00:00, which dates of JavaScript turn into 1899. */
const EARLIEST_YEAR = 1900;
/** From Baker Island to the Line Islands. */
const LEAST_OFFSET = -12 * 60;
const MOST_OFFSET = 14 * 60;

export function captureTime({ Image, Photo, GPSInfo }: Groups): CaptureTime {
  return (
    moment(Photo?.DateTimeOriginal, Photo?.OffsetTimeOriginal, Photo?.SubSecTimeOriginal) ??
    moment(Photo?.DateTimeDigitized, Photo?.OffsetTimeDigitized, Photo?.SubSecTimeDigitized) ??
    gpsTime(GPSInfo) ??
    moment(Image?.DateTime, Photo?.OffsetTime, Photo?.SubSecTime) ?? {
      capturedAt: null,
      capturedOffset: null,
    }
  );
}

/** A local time, its offset such as `+02:00`, and its fraction of a second. */
function moment(local: unknown, offset: unknown, fraction: unknown): CaptureTime | null {
  if (!isSensible(local)) return null;
  const capturedOffset = typeof offset === 'string' ? offsetMinutes(offset.trim()) : null;
  const digits = typeof fraction === 'string' ? /^\d{1,9}/.exec(fraction)?.[0] : undefined;
  const milliseconds = digits ? Math.trunc(Number(`0.${digits}`) * 1000) : 0;
  const capturedAt = new Date(local.getTime() - (capturedOffset ?? 0) * 60_000 + milliseconds);
  return { capturedAt, capturedOffset };
}

/**
 * Minutes of a UTC offset `+02:00`, `+0200` or `Z` (ISO 8601); null if it is none, or none on Earth.
 */
export function offsetMinutes(zone: string): number | null {
  if (zone === 'Z') return 0;
  const parts = /^([+-])(\d\d):?([0-5]\d)$/.exec(zone);
  if (!parts) return null;
  const minutes = Number(parts[2]) * 60 + Number(parts[3]);
  const signed = parts[1] === '-' && minutes > 0 ? -minutes : minutes;
  return signed >= LEAST_OFFSET && signed <= MOST_OFFSET ? signed : null;
}

export const isSensible = (date: unknown): date is Date =>
  date instanceof Date && !Number.isNaN(date.getTime()) && date.getUTCFullYear() >= EARLIEST_YEAR;

const DATES = ['DateTime', 'DateTimeOriginal', 'DateTimeDigitized'];

/**
 * Drops dates that are none, such as the 30th of February or the month 13: exif-reader makes some other day of them, and that
 * day does not stand in the block.
 */
export function keepWrittenDates(groups: Groups, block: Buffer): void {
  for (const group of [groups.Image, groups.Photo]) {
    for (const tag of DATES) {
      const date = group?.[tag];
      if (date instanceof Date && !(isSensible(date) && block.includes(written(date), 0, 'latin1')))
        delete group![tag];
    }
  }
}

/** As EXIF has it: `2024:05:01 12:30:00`. */
const written = (date: Date): string =>
  date.toISOString().slice(0, 19).replace('T', ' ').replaceAll('-', ':');

/** GPSDateStamp `2024:05:01` and GPSTimeStamp [hours, minutes, seconds], in UTC. */
function gpsTime(gps: Group | null | undefined): CaptureTime | null {
  const day = typeof gps?.GPSDateStamp === 'string' ? /^(\d{4}):(\d\d):(\d\d)$/.exec(gps.GPSDateStamp) : null;
  const time = gps?.GPSTimeStamp;
  if (!day || !isNumbers(time) || time.length !== 3) return null;
  const [hours, minutes, seconds] = time as [number, number, number];
  if (!(hours >= 0 && hours < 24 && minutes >= 0 && minutes < 60 && seconds >= 0 && seconds < 61))
    return null;
  const midnight = new Date(Date.UTC(Number(day[1]), Number(day[2]) - 1, Number(day[3])));
  if (!isSensible(midnight) || midnight.toISOString().slice(0, 10) !== day.slice(1).join('-')) return null;
  return {
    capturedAt: new Date(midnight.getTime() + Math.round(((hours * 60 + minutes) * 60 + seconds) * 1000)),
    capturedOffset: null,
  };
}
