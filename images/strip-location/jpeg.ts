import { createHash } from 'node:crypto';
import { stripExifBlock } from './exif.ts';
import { notRemovable } from './refusal.ts';
import { stripXmp } from './xmp.ts';

const EXIF = 'Exif\0\0';
const XMP = 'http://ns.adobe.com/xap/1.0/\0';
const EXTENDED_XMP = 'http://ns.adobe.com/xmp/extension/\0';
/** Of a part of an extended XMP packet: the MD5 of all of it in hexadecimal, `length:u32 offset:u32`. */
const GUID_LENGTH = 32;
const PART_HEAD = GUID_LENGTH + 8;
const [SOI, EOI, SOS, APP1] = [0xd8, 0xd9, 0xda, 0xe1];
/** TEM and RST0–RST7 stand alone; every other marker is followed by its length. */
const standsAlone = (marker: number) => marker === 0x01 || (marker >= 0xd0 && marker <= 0xd8);

/**
 * Takes the place out of a JPEG: out of EXIF and XMP (APP1), in place, and of further pictures behind the first (a
 * multi-picture file, CIPA DC-007), which are JPEGs themselves. What else lies behind the picture, such as the video of a
 * motion photo, can hold the place in ways of its own and is cut off; decoders do not read it.
 * @param bytes to be changed
 * @returns the same bytes, shorter where something was cut off
 */
export function stripJpeg(bytes: Buffer): Buffer {
  let at = 0;
  let end = bytes.length;
  while (at < bytes.length) {
    const next = stripPicture(bytes, at);
    if (next === null) break; // cut short, which the decoder will say
    end = next;
    at = nextPicture(bytes, next);
  }
  return bytes.subarray(0, end);
}

/** Another picture may be behind zeros. */
function nextPicture(bytes: Buffer, from: number): number {
  let at = from;
  while (bytes[at] === 0) at++;
  return isPicture(bytes, at) ? at : bytes.length;
}

const isPicture = (bytes: Buffer, at: number): boolean =>
  bytes[at] === 0xff && bytes[at + 1] === SOI && bytes[at + 2] === 0xff;

/** @returns where the picture that begins at `start` ends; null: it does not */
function stripPicture(bytes: Buffer, start: number, withPreviews = true): number | null {
  const extended: Range[] = [];
  const packets: Range[] = [];
  let end: number | null = null;
  let at = start + 2;
  while (at + 2 <= bytes.length) {
    if (bytes[at] !== 0xff) {
      // Within a scan, or damaged: on to the next marker.
      at = bytes.indexOf(0xff, at);
      if (at < 0) break;
      continue;
    }
    const marker = bytes[at + 1]!;
    if (marker === EOI) {
      end = at + 2;
      break;
    }
    if (marker === 0xff || marker === 0 || standsAlone(marker)) {
      at += marker === 0xff ? 1 : 2;
      continue;
    }
    if (at + 4 > bytes.length) break;
    const segmentEnd = at + 2 + bytes.readUInt16BE(at + 2);
    if (marker === APP1) {
      const strip = withPreviews ? stripExif : stripExifBlock;
      stripApp1(bytes.subarray(0, segmentEnd), at + 4, packets, extended, strip);
    }
    at = marker === SOS ? at + 4 : segmentEnd;
  }
  stripExtended(bytes, packets, extended);
  return end;
}

type Range = [from: number, to: number];

/** Takes the place out of an EXIF block, or a TIFF file, and of the previews in it, in place. Previews of previews stay alone. */
export function stripExif(block: Buffer): void {
  for (const preview of stripExifBlock(block)) if (isPicture(preview, 0)) stripPicture(preview, 0, false);
}

function stripApp1(
  bytes: Buffer,
  body: number,
  packets: Range[],
  extended: Range[],
  strip: (block: Buffer) => unknown,
): void {
  const begins = (prefix: string) => bytes.toString('latin1', body, body + prefix.length) === prefix;
  if (begins(EXIF)) strip(bytes.subarray(body));
  if (begins(XMP)) {
    packets.push([body + XMP.length, bytes.length]);
    stripXmp(bytes, body + XMP.length, bytes.length);
  }
  if (begins(EXTENDED_XMP) && body + EXTENDED_XMP.length + PART_HEAD <= bytes.length) {
    extended.push([body + EXTENDED_XMP.length, bytes.length]);
  }
}

/**
 * XMP that is too long for a segment continues in others (ISO 16684-3, 1.1.3.1): parts of one packet, which all name its
 * MD5, and so does the first packet.
 */
function stripExtended(bytes: Buffer, packets: Range[], extended: Range[]): void {
  if (extended.length === 0) return;
  const guidAt = ([from]: Range) => bytes.toString('latin1', from, from + GUID_LENGTH);
  const old = guidAt(extended[0]!);
  const parts = extended.map((range): Range & { offset?: number } => range);
  if (parts.some((part) => guidAt(part) !== old)) throw notRemovable('its XMP is of several packets');
  const offsetOf = ([from]: Range) => bytes.readUInt32BE(from + GUID_LENGTH + 4);
  const ordered = parts.toSorted((a, b) => offsetOf(a) - offsetOf(b));
  const bodies = ordered.map(([from, to]) => bytes.subarray(from + PART_HEAD, to));
  const whole = Buffer.concat(bodies);
  const before = Buffer.from(whole);
  stripXmp(whole, 0, whole.length);
  if (whole.equals(before)) return;
  let at = 0;
  for (const body of bodies) at += whole.copy(body, 0, at, at + body.length);
  const guid = createHash('md5').update(whole).digest('hex').toUpperCase();
  for (const [from] of parts) bytes.write(guid, from, 'latin1');
  for (const [from, to] of packets) {
    const place = bytes.subarray(from, to).indexOf(old, 0, 'latin1');
    if (place >= 0) bytes.write(guid, from + place, 'latin1');
  }
}
