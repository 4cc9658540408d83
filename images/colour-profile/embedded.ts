import { inflateSync } from 'node:zlib';
import type { ImageHeader } from '../headers/header.ts';

/** The largest, of printers, have some 3 MB. In a PNG a kilobyte can inflate to a gigabyte. */
const MOST_BYTES = 4 * 1024 * 1024;

/** The colour profile that an image file carries; null if there is none, or not all of it, or it is absurdly large. */
export function embeddedProfile(
  bytes: Uint8Array,
  { format, profiles = [] }: ImageHeader,
): Uint8Array | null {
  if (profiles.length === 0) return null;
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const parts = profiles.map(([from, to]) => buffer.subarray(from, to));
  if (format === 'jpeg') return joinSegments(parts);
  if (parts.length > 1) return null; // which of them would be meant?
  const profile = format === 'png' ? inflateChunk(parts[0]!) : parts[0]!;
  return profile && profile.length <= MOST_BYTES ? profile : null;
}

/** JPEG: each segment begins with its number, from 1, and how many there are (ICC.1:2022, annex B.4). */
function joinSegments(segments: Buffer[]): Buffer | null {
  const ordered = segments.toSorted((a, b) => a[0]! - b[0]!);
  const isWhole = ordered.every((segment, i) => segment[0] === i + 1 && segment[1] === segments.length);
  const length = segments.reduce((sum, segment) => sum + segment.length, 0);
  return isWhole && length <= MOST_BYTES
    ? Buffer.concat(ordered.map((segment) => segment.subarray(2)))
    : null;
}

/** PNG: `length:u32 iCCP name 0 method:u8 zlib-stream crc:u32`; there is one method, 0. */
function inflateChunk(chunk: Buffer): Buffer | null {
  const method = chunk.indexOf(0, 8) + 1;
  if (method === 0 || chunk[method] !== 0) return null;
  try {
    return inflateSync(chunk.subarray(method + 1, -4), { maxOutputLength: MOST_BYTES });
  } catch {
    return null; // damaged, or larger
  }
}
