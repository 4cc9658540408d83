import type { ExifFacts } from '../exif.ts';
import { stripAvif } from './avif.ts';
import { stripGif } from './gif.ts';
import { stripExif, stripJpeg } from './jpeg.ts';
import { stripPng } from './png.ts';
import { notRemovable } from './refusal.ts';
import { stripWebp } from './webp.ts';

/** By what a file of each format begins with. Of BMP and netpbm nothing can be removed, as they have no metadata. */
const FORMATS: { begins: RegExp; strip: (bytes: Buffer) => Buffer | void }[] = [
  { begins: /^\xff\xd8\xff/, strip: stripJpeg },
  { begins: /^\x89PNG/, strip: stripPng },
  { begins: /^RIFF.{4}WEBP/s, strip: stripWebp },
  { begins: /^(II\*\0|MM\0\*)/, strip: stripExif },
  { begins: /^.{4}ftyp/s, strip: stripAvif },
  { begins: /^GIF8/, strip: stripGif },
];
const MAGIC_BYTES = 12;
const UNKNOWN_PART = 'it is still there, in a part of the file that is not understood';

/**
 * An encoded image without the place where it was taken: GPS of EXIF and XMP is overwritten or removed in the bytes; pixels and all
 * other metadata stay as they are. Place names in words (IPTC, captions) and what camera makers keep in notes of their own stay.
 * Bytes that are no image are returned as they are: the decoder says what is wrong with them.
 * @returns other bytes; the given ones are not changed
 * @throws BadImage location-not-removed where it cannot be done without harm
 */
export function stripLocation(bytes: Uint8Array): Buffer<ArrayBuffer> {
  const copy = Buffer.from(bytes);
  const magic = copy.toString('latin1', 0, MAGIC_BYTES);
  const format = FORMATS.find(({ begins }) => begins.test(magic));
  const stripped = ((format && format.strip(copy)) ?? copy) as Buffer<ArrayBuffer>;
  if (stripped.includes('GPSLatitude', 0, 'latin1')) throw notRemovable(UNKNOWN_PART);
  return stripped;
}

/**
 * The proof: what is read of the stripped image must know no place.
 * @throws BadImage location-not-removed
 */
export function refusePlaced({ latitude, longitude, altitude, exif }: ExifFacts): void {
  const known = [latitude, longitude, altitude, exif?.GPSInfo ?? null];
  if (known.some((fact) => fact !== null)) {
    throw notRemovable(UNKNOWN_PART);
  }
}
