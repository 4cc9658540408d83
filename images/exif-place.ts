import { type Group, isNumbers } from './exif-groups.ts';

export interface Place {
  /** Degrees, −90 to 90, north positive. */
  latitude: number | null;
  /** Degrees, −180 to 180, east positive. Null together with latitude. */
  longitude: number | null;
  /** Metres above the sea, below it negative. */
  altitude: number | null;
}

/** The group GPSInfo: where the picture was taken. */
export function place(gps: Group | null | undefined): Place {
  const latitude = degrees(gps?.GPSLatitude, gps?.GPSLatitudeRef, 'S', 90);
  const longitude = degrees(gps?.GPSLongitude, gps?.GPSLongitudeRef, 'W', 180);
  const known = latitude !== null && longitude !== null;
  return {
    latitude: known ? latitude : null,
    longitude: known ? longitude : null,
    altitude: altitude(gps?.GPSAltitude, gps?.GPSAltitudeRef),
  };
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

/** GPSAltitudeRef: 1, and since EXIF 3.0 also 3, say that the altitude is one below the sea (or the ellipsoid). */
const BELOW = new Set([1, 3]);
/** Balloons rise to 53 km, and space begins at 100: what is said to be higher is a mistake. */
const HIGHEST = 100_000;
/** The deepest trench has 10,935 m. */
const LOWEST = -11_000;

function altitude(value: unknown, ref: unknown): number | null {
  if (typeof value !== 'number' || !Number.isFinite(value)) return null;
  const side = Buffer.isBuffer(ref) ? ref[0] : ref;
  const metres = value > 0 && typeof side === 'number' && BELOW.has(side) ? -value : value;
  return metres >= LOWEST && metres <= HIGHEST ? metres : null;
}
