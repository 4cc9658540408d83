import { notRemovable } from './refusal.ts';

/**
 * Properties about the place, by their local names: `exif:GPSLatitude` (EXIF's own), `drone-dji:GpsLongitude`,
 * `Camera:GPSXYAccuracy`; and DJI's heights. As an element's name behind `<`, or as an attribute's behind a space.
 */
const NAME = String.raw`(?:[\w.-]+:)?gps[\w.-]*|[\w.-]*dji:(?:absolute|relative)altitude`;
const ELEMENT = new RegExp(`<(${NAME})`, 'gi');
const ATTRIBUTE = new RegExp(String.raw`\s(?:${NAME})\s*=\s*(?:"[^"]*"|'[^']*')`, 'gi');
/** A place in any way of writing, also in one that we do not read. */
const COORDINATE = /gps_?-?(?:latitude|longitude|longtitude|altitude|position|coordinates)/i;
/** The same in UTF-16, either order. */
const WIDE_COORDINATE = /g\0p\0s\0(?:l\0a\0t|l\0o\0n|a\0l\0t)/i;
const SPACE = 0x20;

/**
 * Takes the place out of an XMP packet (ISO 16684-1), in place: properties whose name begins with GPS become spaces, which
 * XMP may hold anywhere between its elements and attributes. Length and all other properties stay.
 * @param bytes to be changed, from `from` to `to`
 * @throws BadImage location-not-removed where a place is left that is written in another way (UTF-16, a cut packet)
 */
export function stripXmp(bytes: Buffer, from: number, to: number): void {
  const end = Math.min(to, bytes.length);
  // A character for each byte.
  const text = bytes.toString('latin1', from, end);
  if (!/gps|dji/i.test(text) && !WIDE_COORDINATE.test(text)) return;
  const blank = (start: number, stop: number) => bytes.fill(SPACE, from + start, from + stop);
  ELEMENT.lastIndex = 0;
  for (let match = ELEMENT.exec(text); match; match = ELEMENT.exec(text)) {
    const stop = elementEnd(text, match.index, match[1]!);
    blank(match.index, stop);
    ELEMENT.lastIndex = stop;
  }
  for (const match of bytes.toString('latin1', from, end).matchAll(ATTRIBUTE)) {
    blank(match.index, match.index + match[0].length);
  }
  const left = bytes.toString('latin1', from, end);
  if (COORDINATE.test(left) || WIDE_COORDINATE.test(left)) {
    throw notRemovable('its XMP names it in a way that is not understood');
  }
}

/** Where `<name …/>` or `<name …>…</name>` ends. */
function elementEnd(text: string, start: number, name: string): number {
  const open = text.indexOf('>', start);
  if (open > 0 && text[open - 1] === '/') return open + 1;
  const close = open < 0 ? -1 : text.indexOf(`</${name}`, open);
  const end = close < 0 ? -1 : text.indexOf('>', close);
  if (end < 0) throw notRemovable('its XMP is cut short');
  return end + 1;
}
