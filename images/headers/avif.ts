import { badImage, truncatedImage, type HeaderReader } from './header.ts';

/** Boxes on the way to the sizes, and what comes before their children: `meta` is a full box, with version and flags. */
const WAY = [
  { type: 'meta', skip: 4 },
  { type: 'iprp', skip: 0 },
  { type: 'ipco', skip: 0 },
];

/**
 * AVIF (ISO/IEC 23000-22 on ISO/IEC 14496-12 and 23008-12): boxes `size:u32 type:4 body`. `ftyp` names the brands;
 * `meta/iprp/ipco/ispe` hold the sizes `version:u32 width:u32 height:u32` of every image in the file: the picture,
 * its alpha plane, tiles, thumbnails; the largest is the one that counts. A `colr` box beside them that begins with `prof` or `rICC` holds
 * a colour profile. The pixels lie in `mdat`, or in `meta/idat`.
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
  const found: Found = { sizes: [], types: new Set(), profiles: [] };
  const { sizes, types, profiles } = found;
  const whole = readBoxes(bytes, 0, bytes.length, 0, found) && types.has('meta');
  const largest = sizes.reduce((a, b) => (b.width * b.height > a.width * a.height ? b : a), {
    width: 0,
    height: 0,
  });
  if (largest.width === 0) {
    throw whole ? badImage('damaged AVIF: its size is missing') : truncatedImage('avif', bytes);
  }
  const hasPixels = types.has('mdat') || types.has('idat');
  const truncated = !whole || !hasPixels;
  return { format: 'avif', ...largest, bitDepth: null, exif: undefined, profiles, truncated };
};

interface Found {
  /** Of all images in the file. */
  sizes: { width: number; height: number }[];
  /** Of all boxes on the way to them. */
  types: Set<string>;
  profiles: [number, number][];
}

/**
 * Collects all `ispe` boxes, colour profiles, and the types of all boxes on the way to them.
 * @param depth how many of the boxes on the way the stretch lies in
 * @returns false if a box reaches beyond the end of its parent.
 */
function readBoxes(bytes: Buffer, start: number, end: number, depth: number, found: Found): boolean {
  for (let at = start; at < end;) {
    if (at + 8 > end) return false;
    const size = bytes.readUInt32BE(at);
    const type = bytes.toString('latin1', at + 4, at + 8);
    found.types.add(type);
    if (size === 0) return true; // reaches to the end of the file
    if (size === 1) return true; // 64-bit size: only media data is that large, and it comes last
    const boxEnd = at + size;
    if (size < 8 || boxEnd > end) return false;
    if (type === 'ispe' && size >= 20) {
      found.sizes.push({ width: bytes.readUInt32BE(at + 12), height: bytes.readUInt32BE(at + 16) });
    }
    if (type === 'colr' && /^(prof|rICC)$/.test(bytes.toString('latin1', at + 8, at + 12))) {
      found.profiles.push([at + 12, boxEnd]);
    }
    const next = WAY[depth];
    if (type === next?.type && !readBoxes(bytes, at + 8 + next.skip, boxEnd, depth + 1, found)) {
      return false;
    }
    at = boxEnd;
  }
  return true;
}

const printable = (text: string) => text.slice(0, 4).replace(/[^\x20-\x7e]/g, '?');
