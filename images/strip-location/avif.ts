import { notRemovable } from './refusal.ts';
import { stripExif } from './jpeg.ts';
import { stripXmp } from './xmp.ts';

/**
 * Takes the place out of the metadata items of an AVIF, in place: `Exif` (ISO/IEC 23008-12, annex A) and XMP, an item of the type
 * `mime` with the content type `application/rdf+xml`. Where items lie, `meta/iloc` says (ISO/IEC 14496-12, 8.11.3).
 * @param bytes to be changed
 * @throws BadImage location-not-removed where such an item lies in a way that is not understood, in a sequence with a place of its own
 */
export function stripAvif(bytes: Buffer): void {
  const boxes = readBoxes(bytes, 0, bytes.length);
  const movie = boxes.find(({ type }) => type === 'moov');
  // A sequence's user data: 3GPP's `loci`, QuickTime's `©xyz`.
  if (movie && /loci|\xa9xyz|location/i.test(bytes.toString('latin1', movie.body, movie.end))) {
    throw notRemovable('it is in the sequence’s user data');
  }
  const meta = boxes.find(({ type }) => type === 'meta');
  if (!meta) return;
  const inner = readBoxes(bytes, meta.body + 4, meta.end);
  const items = readItems(
    bytes,
    inner.find(({ type }) => type === 'iinf'),
  );
  if (items.length === 0) return;
  const places = readPlaces(bytes, inner);
  for (const { id, kind } of items) {
    const extents = places.get(id);
    if (extents?.length !== 1) throw notRemovable('a metadata item of the AVIF does not lie in one piece');
    const [[from, to]] = extents as [Range];
    if (from > to || to > bytes.length) throw notRemovable('a metadata item of the AVIF lies beyond its end');
    if (kind === 'xmp') stripXmp(bytes, from, to);
    else if (to - from > 4) {
      // `offset:u32` of the TIFF header behind it
      const tiff = from + 4 + bytes.readUInt32BE(from);
      if (tiff < to) stripExif(bytes.subarray(tiff, to));
    }
  }
}

type Range = [from: number, to: number];

interface Box {
  type: string;
  body: number;
  end: number;
}

/** `size:u32 type:4`; size 1: `size:u64` follows; 0: to the end. */
function readBoxes(bytes: Buffer, start: number, end: number): Box[] {
  const boxes: Box[] = [];
  for (let at = start; at + 8 <= end;) {
    let size = bytes.readUInt32BE(at);
    const type = bytes.toString('latin1', at + 4, at + 8);
    let head = 8;
    if (size === 1 && at + 16 <= end) {
      size = Number(bytes.readBigUInt64BE(at + 8));
      head = 16;
    } else if (size === 0) size = end - at;
    if (size < head || at + size > end) break;
    boxes.push({ type, body: at + head, end: at + size });
    at += size;
  }
  return boxes;
}

interface Item {
  id: number;
  kind: 'exif' | 'xmp';
}

/**
 * `iinf`: version:u8 flags:u24, a count (u16, from version 1 on u32), then `infe` boxes: version:u8 flags:u24 id (u16, in version 3
 * u32) protection:u16 type:4 name 0, and for `mime` its content type.
 */
function readItems(bytes: Buffer, iinf: Box | undefined): Item[] {
  if (!iinf || iinf.body + 8 > iinf.end) return [];
  const items: Item[] = [];
  for (const { type, body, end } of readBoxes(
    bytes,
    iinf.body + (bytes[iinf.body] === 0 ? 6 : 8),
    iinf.end,
  )) {
    const version = bytes[body]!;
    const wide = version === 3 ? 2 : 0;
    if (type !== 'infe' || version < 2 || body + 12 + wide > end) continue;
    const id = wide ? bytes.readUInt32BE(body + 4) : bytes.readUInt16BE(body + 4);
    const typeAt = body + 8 + wide;
    const kind = bytes.toString('latin1', typeAt, typeAt + 4);
    if (kind === 'Exif') items.push({ id, kind: 'exif' });
    if (kind === 'mime' && /rdf\+xml|xmp/i.test(bytes.toString('latin1', typeAt + 4, end)))
      items.push({ id, kind: 'xmp' });
  }
  return items;
}

/** Where each item's pieces lie in the file. */
function readPlaces(bytes: Buffer, boxes: Box[]): Map<number, Range[]> {
  const iloc = boxes.find(({ type }) => type === 'iloc');
  const places = new Map<number, Range[]>();
  if (!iloc) return places;
  let at = iloc.body;
  const read = (size: number): number => {
    if (at + size > iloc.end) throw notRemovable('the AVIF’s list of items is cut short');
    const value =
      size === 8 ? Number(bytes.readBigUInt64BE(at)) : size === 0 ? 0 : bytes.readUIntBE(at, size);
    at += size;
    return value;
  };
  const version = read(4) >>> 24;
  const sizes = read(2);
  const [offsetSize, lengthSize, baseSize] = [sizes >> 12, (sizes >> 8) & 15, (sizes >> 4) & 15];
  const indexSize = version === 0 ? 0 : sizes & 15;
  if ([offsetSize, lengthSize, baseSize, indexSize].some((size) => size !== 0 && size !== 4 && size !== 8)) {
    throw notRemovable('the AVIF’s list of items is damaged');
  }
  const idat = boxes.find(({ type }) => type === 'idat');
  const count = read(version < 2 ? 2 : 4);
  for (let i = 0; i < count; i++) {
    const id = read(version < 2 ? 2 : 4);
    const method = version === 0 ? 0 : read(2) & 15;
    read(2); // the file, which is this one
    const base = read(baseSize);
    const extents = read(2);
    const ranges: Range[] = [];
    for (let e = 0; e < extents; e++) {
      read(indexSize);
      const offset = read(offsetSize);
      const length = read(lengthSize);
      const from = base + offset + (method === 1 ? (idat?.body ?? Infinity) : 0);
      if (method < 2) ranges.push([from, from + length]);
    }
    places.set(id, ranges);
  }
  return places;
}
