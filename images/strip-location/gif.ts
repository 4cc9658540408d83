import { stripXmp } from './xmp.ts';

/** Identifier and authentication code of the application extension with XMP. */
const XMP = Buffer.from('XMP DataXMP', 'latin1');
/** XMP lies in a GIF as it is; behind it these bytes lead a reader that takes it for sub-blocks to its end (XMP part 3, 1.1.2). */
const TRAILER = Buffer.from([0x01, 0xff, 0xfe, 0xfd]);

/**
 * Takes the place out of the XMP of a GIF, in place; GIFs have no EXIF.
 * @param bytes to be changed
 */
export function stripGif(bytes: Buffer): void {
  for (let at = bytes.indexOf(XMP); at >= 0; at = bytes.indexOf(XMP, at + XMP.length)) {
    const from = at + XMP.length;
    const to = bytes.indexOf(TRAILER, from);
    stripXmp(bytes, from, to < 0 ? bytes.length : to);
  }
}
