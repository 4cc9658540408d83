/** One tag of an EXIF directory: a text (ASCII), a byte, a short, a long, unsigned rationals, or raw bytes (UNDEFINED). */
export type ExifEntry =
  | { tag: number; ascii: string }
  | { tag: number; byte: number }
  | { tag: number; short: number }
  | { tag: number; long: number }
  | { tag: number; rationals: [number, number][] }
  | { tag: number; bytes: Uint8Array };

export interface ExifToWrite {
  image?: ExifEntry[];
  photo?: ExifEntry[];
  gps?: ExifEntry[];
}

const PHOTO_POINTER = 0x8769;
const GPS_POINTER = 0x8825;

function encodeEntry(entry: ExifEntry): { type: number; count: number; value: Buffer } {
  if ('ascii' in entry) {
    const value = Buffer.from(`${entry.ascii}\0`, 'utf8');
    return { type: 2, count: value.length, value };
  }
  if ('short' in entry)
    return { type: 3, count: 1, value: Buffer.from([entry.short >> 8, entry.short & 255]) };
  if ('byte' in entry) return { type: 1, count: 1, value: Buffer.from([entry.byte]) };
  if ('long' in entry) {
    const value = Buffer.alloc(4);
    value.writeUInt32BE(entry.long);
    return { type: 4, count: 1, value };
  }
  if ('bytes' in entry) return { type: 7, count: entry.bytes.length, value: Buffer.from(entry.bytes) };
  const value = Buffer.alloc(8 * entry.rationals.length);
  entry.rationals.forEach(([numerator, denominator], i) => {
    value.writeUInt32BE(numerator, 8 * i);
    value.writeUInt32BE(denominator, 8 * i + 4);
  });
  return { type: 5, count: entry.rationals.length, value };
}

/** A directory at `offset`, with the values that do not fit into its entries behind it. */
function encodeDirectory(
  entries: ExifEntry[],
  pointers: [tag: number, offset: number][],
  offset: number,
): Buffer {
  const count = entries.length + pointers.length;
  const table = Buffer.alloc(2 + 12 * count + 4);
  table.writeUInt16BE(count, 0);
  const values: Buffer[] = [];
  let valueAt = offset + table.length;
  let at = 2;
  for (const entry of entries) {
    const { type, count, value } = encodeEntry(entry);
    table.writeUInt16BE(entry.tag, at);
    table.writeUInt16BE(type, at + 2);
    table.writeUInt32BE(count, at + 4);
    if (value.length <= 4) value.copy(table, at + 8);
    else {
      table.writeUInt32BE(valueAt, at + 8);
      values.push(value);
      valueAt += value.length;
    }
    at += 12;
  }
  for (const [tag, target] of pointers) {
    table.writeUInt16BE(tag, at);
    table.writeUInt16BE(4, at + 2);
    table.writeUInt32BE(1, at + 4);
    table.writeUInt32BE(target, at + 8);
    at += 12;
  }
  return Buffer.concat([table, ...values]);
}

/** An EXIF block (a big-endian TIFF without pixels): cameras write more kinds of tags, and more broken ones, than sharp. */
export function exifBlock({ image = [], photo, gps }: ExifToWrite): Buffer {
  const start = 8;
  const measure = (pointers: number) =>
    encodeDirectory(
      image,
      Array.from({ length: pointers }, () => [0, 0] as [number, number]),
      start,
    ).length;
  const photoAt = start + measure((photo ? 1 : 0) + (gps ? 1 : 0));
  const photoDirectory = photo ? encodeDirectory(photo, [], photoAt) : Buffer.alloc(0);
  const gpsAt = photoAt + photoDirectory.length;
  const gpsDirectory = gps ? encodeDirectory(gps, [], gpsAt) : Buffer.alloc(0);
  const pointers: [number, number][] = [];
  if (photo) pointers.push([PHOTO_POINTER, photoAt]);
  if (gps) pointers.push([GPS_POINTER, gpsAt]);
  return Buffer.concat([
    Buffer.from('MM\0*\0\0\0\x08', 'latin1'),
    encodeDirectory(image, pointers, start),
    photoDirectory,
    gpsDirectory,
  ]);
}

/** Puts an EXIF block into a JPEG, as its first APP1 segment. */
export function withExifSegment(jpeg: Buffer, block: Uint8Array): Buffer {
  const body = Buffer.concat([Buffer.from('Exif\0\0', 'latin1'), block]);
  const head = Buffer.from([0xff, 0xe1, (body.length + 2) >> 8, (body.length + 2) & 255]);
  return Buffer.concat([jpeg.subarray(0, 2), head, body, jpeg.subarray(2)]);
}
