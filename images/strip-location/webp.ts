import { stripExif } from './jpeg.ts';
import { stripXmp } from './xmp.ts';

const FIRST_CHUNK = 12;
const CHUNK_HEAD = 8;

/**
 * Takes the place out of the `EXIF` and `XMP ` chunks of a WebP (RFC 9649), in place.
 * @param bytes to be changed
 * @returns the same bytes, without what lies behind the picture
 */
export function stripWebp(bytes: Buffer): Buffer {
  const end = Math.min(bytes.length, CHUNK_HEAD + bytes.readUInt32LE(4));
  for (let at = FIRST_CHUNK; at + CHUNK_HEAD <= end;) {
    const type = bytes.toString('latin1', at, at + 4);
    const size = bytes.readUInt32LE(at + 4);
    const body = at + CHUNK_HEAD;
    if (type === 'EXIF') stripExif(bytes.subarray(body, body + size));
    if (type === 'XMP ') stripXmp(bytes, body, body + size);
    at = body + size + (size & 1);
  }
  return bytes.subarray(0, end);
}
