import { truncatedImage, type HeaderReader } from './header.ts';

/** Sizes of the information headers in use: OS/2 1 and 2, Windows 3, its two extensions, versions 4 and 5. */
const INFO_SIZES = new Set([12, 16, 40, 52, 56, 64, 108, 124]);
const CORE_HEADER = 12;

/**
 * BMP: `BM fileSize:u32 reserved:u32 pixelsAt:u32`, then `infoSize:u32 width:i32 height:i32 planes:u16 bits:u16 …`
 * (16-bit sizes in the oldest header). A negative height means rows from top to bottom.
 */
export const readBmpHeader: HeaderReader = (bytes) => {
  if (bytes[0] !== 0x42 || bytes[1] !== 0x4d) return null;
  // Two letters alone are also the beginning of many a text.
  if (bytes.length >= 18 && !INFO_SIZES.has(bytes.readUInt32LE(14))) return null;
  if (bytes.length < 30) {
    if (bytes.subarray(2).every((byte) => byte >= 0x20 && byte < 0x7f)) return null;
    throw truncatedImage('bmp', bytes);
  }
  const core = bytes.readUInt32LE(14) === CORE_HEADER;
  return {
    format: 'bmp',
    width: core ? bytes.readUInt16LE(18) : bytes.readInt32LE(18),
    height: core ? bytes.readUInt16LE(20) : Math.abs(bytes.readInt32LE(22)),
    bitDepth: 8,
    exif: null,
    truncated: false, // the size fields are unreliable; the decoder says
  };
};
