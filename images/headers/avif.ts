import { badImage, truncatedImage, type HeaderReader } from './header.ts';

/** Boxes on the way to the sizes; `meta` is a full box: version and flags come before its children. */
const CONTAINERS: Record<string, number> = { meta: 4, iprp: 0, ipco: 0 };

/**
 * AVIF (ISO/IEC 23000-22 on ISO/IEC 14496-12 and 23008-12): boxes `size:u32 type:4 body`. `ftyp` names the brands;
 * `meta/iprp/ipco/ispe` hold the sizes `version:u32 width:u32 height:u32` of every image in the file: the picture,
 * its alpha plane, tiles, thumbnails. The largest is the one that counts.
 */
export const readAvifHeader: HeaderReader = (bytes) => {
  if (bytes.toString('latin1', 4, 8) !== 'ftyp') return null;
  const brands = bytes.toString('latin1', 8, Math.min(bytes.readUInt32BE(0), bytes.length));
  if (!/^(avif|avis)|^.{8}(.{4})*?(avif|avis)/s.test(brands)) {
    throw badImage(`not an image in a format we know (ISO media file of brand ‘${printable(brands)}’)`, {
      kind: 'unsupported',
      hint: 'HEIC photos and videos cannot be decoded: convert them to JPEG or AVIF.',
    });
  }
  const sizes = new Array<{ width: number; height: number }>();
  const whole = readBoxes(bytes, 0, bytes.length, sizes);
  const largest = sizes.reduce((a, b) => (b.width * b.height > a.width * a.height ? b : a), {
    width: 0,
    height: 0,
  });
  if (largest.width === 0) {
    throw whole ? badImage('damaged AVIF: its size is missing') : truncatedImage('avif', bytes);
  }
  return { format: 'avif', ...largest, bitDepth: null, exif: undefined, truncated: !whole };
};

/** Collects all `ispe` boxes; false if a box reaches beyond the end of its parent. */
function readBoxes(
  bytes: Buffer,
  start: number,
  end: number,
  sizes: { width: number; height: number }[],
): boolean {
  for (let at = start; at < end;) {
    if (at + 8 > end) return false;
    const size = bytes.readUInt32BE(at);
    const type = bytes.toString('latin1', at + 4, at + 8);
    if (size === 0) return true; // reaches to the end of the file
    if (size === 1) return true; // 64-bit size: only media data is that large, and it comes last
    const boxEnd = at + size;
    if (size < 8 || boxEnd > end) return false;
    if (type === 'ispe' && size >= 20) {
      sizes.push({ width: bytes.readUInt32BE(at + 12), height: bytes.readUInt32BE(at + 16) });
    }
    const skip = CONTAINERS[type];
    if (skip !== undefined && !readBoxes(bytes, at + 8 + skip, boxEnd, sizes)) return false;
    at = boxEnd;
  }
  return true;
}

const printable = (text: string) => text.slice(0, 4).replace(/[^\x20-\x7e]/g, '?');
