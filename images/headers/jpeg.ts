import { badImage, truncatedImage, type HeaderReader } from './header.ts';

const EXIF_PREFIX = 'Exif\0\0';
const PROFILE_PREFIX = 'ICC_PROFILE\0';
const APP1 = 0xe1;
const APP2 = 0xe2;
const SOS = 0xda;
const EOI = 0xd9;
const END = Buffer.from([0xff, EOI]);

/** SOF0–SOF15 are C0–CF, except C4 (Huffman tables), C8 (reserved) and CC (arithmetic conditioning). */
const isFrame = (marker: number) => marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker);
/** TEM and RST0–RST7 stand alone; every other marker is followed by its length. */
const standsAlone = (marker: number) => marker === 0x01 || (marker >= 0xd0 && marker <= 0xd8);

/**
 * JPEG (ITU-T T.81, annex B): markers `FF xx length:u16 body`. A frame header (SOFn) holds
 * `precision:u8 height:u16 width:u16 components:u8`; EXIF is an APP1 segment that starts with `Exif\0\0`, a
 * part of a colour profile an APP2 segment that starts with `ICC_PROFILE\0`.
 * Reads up to the first scan (SOS), and looks for the end marker behind it: in a scan the byte FF is written FF 00. Whether
 * the scans are whole, the decoder says.
 */
export const readJpegHeader: HeaderReader = (bytes) => {
  if (bytes.length < 2 || bytes[0] !== 0xff || bytes[1] !== 0xd8 || (bytes[2] ?? 0xff) !== 0xff) return null;
  let frame: { bitDepth: number; height: number; width: number; components: number } | undefined;
  let exif: Buffer | null = null;
  const profiles: [number, number][] = [];
  let at = 2;
  while (at + 4 <= bytes.length) {
    if (bytes[at] !== 0xff) throw badImage(`damaged JPEG: no marker where one is due, at byte ${at}`);
    const marker = bytes[at + 1]!;
    if (marker === 0xff || standsAlone(marker)) {
      at += marker === 0xff ? 1 : 2;
      continue;
    }
    if (marker === EOI) break;
    const body = at + 4;
    const length = bytes.readUInt16BE(at + 2);
    if (isFrame(marker) && body + 6 <= bytes.length) {
      frame = {
        bitDepth: bytes[body]!,
        height: bytes.readUInt16BE(body + 1),
        width: bytes.readUInt16BE(body + 3),
        components: bytes[body + 5]!,
      };
    }
    const end = at + 2 + length;
    if (marker === SOS) {
      if (!frame) throw badImage('damaged JPEG: pixels come before the frame header');
      return { format: 'jpeg', ...frame, exif, profiles, truncated: bytes.lastIndexOf(END) < end };
    }
    if (marker === APP1 && exif === null && bytes.toString('latin1', body, body + 6) === EXIF_PREFIX) {
      exif = bytes.subarray(body, end);
    }
    const part = body + PROFILE_PREFIX.length;
    if (marker === APP2 && part + 2 < end && bytes.toString('latin1', body, part) === PROFILE_PREFIX) {
      profiles.push([part, end]);
    }
    at = end;
  }
  if (!frame) throw truncatedImage('jpeg', bytes);
  return { format: 'jpeg', ...frame, exif, truncated: true };
};
