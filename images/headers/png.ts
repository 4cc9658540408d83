import { badImage, truncatedImage, type HeaderReader } from './header.ts';

const SIGNATURE = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]);
const IHDR = 0x49484452;
const IEND = 0x49454e44;
const EXIF = 0x65584966; // eXIf
const PROFILE = 0x69434350; // iCCP
/** Length, type and CRC around a chunk's body. */
const CHUNK_FRAME = 12;
const IHDR_END = SIGNATURE.length + 8 + 13;

/**
 * PNG (ISO/IEC 15948): signature, then chunks `length:u32 type:4 body crc:u32`. IHDR comes first and holds
 * `width:u32 height:u32 depth:u8 colourType:u8 compression:u8 filter:u8 interlace:u8`; IEND comes last.
 */
export const readPngHeader: HeaderReader = (bytes) => {
  if (
    bytes.length < 4 ||
    SIGNATURE.compare(bytes, 0, Math.min(8, bytes.length), 0, Math.min(8, bytes.length))
  )
    return null;
  if (bytes.length < IHDR_END) throw truncatedImage('png', bytes);
  if (bytes.readUInt32BE(12) !== IHDR || bytes.readUInt32BE(8) !== 13) {
    throw badImage('damaged PNG: it does not begin with an IHDR chunk');
  }
  let exif: Buffer | null = null;
  const profiles: [number, number][] = [];
  let truncated = true;
  for (let at = SIGNATURE.length; at + CHUNK_FRAME <= bytes.length;) {
    const length = bytes.readUInt32BE(at);
    const type = bytes.readUInt32BE(at + 4);
    const end = at + CHUNK_FRAME + length;
    if (end > bytes.length) break;
    if (type === PROFILE) profiles.push([at, end]);
    if (type === EXIF) exif = bytes.subarray(at + 8, end - 4);
    if (type === IEND) {
      truncated = false;
      break;
    }
    at = end;
  }
  return {
    format: 'png',
    width: bytes.readUInt32BE(16),
    height: bytes.readUInt32BE(20),
    bitDepth: bytes[24]!,
    exif,
    truncated,
    profiles,
  };
};
