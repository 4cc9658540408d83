import { truncatedImage, type HeaderReader, type ImageHeader } from './header.ts';

const EXTENSION = 0x21;
const IMAGE = 0x2c;
const TRAILER = 0x3b;
/** Size of a colour table: the low three bits are log2 of its entries, less one; bit 7 says that there is one. */
const colourTableBytes = (flags: number) => (flags & 0x80 ? 3 << ((flags & 7) + 1) : 0);

/**
 * GIF (89a specification): `GIF87a|GIF89a width:u16 height:u16 flags:u8 background:u8 aspect:u8`, a colour table, then
 * extensions and images, each ending in sub-blocks `size:u8 body` up to a zero size, and the trailer 3B.
 * Decoders enlarge the canvas for a first image that reaches beyond it, and so does the size given here.
 */
export const readGifHeader: HeaderReader = (bytes) => {
  const magic = bytes.toString('latin1', 0, 6);
  if (magic !== 'GIF87a' && magic !== 'GIF89a') return null;
  if (bytes.length < 13) throw truncatedImage('gif', bytes);
  let width = bytes.readUInt16LE(6);
  let height = bytes.readUInt16LE(8);
  let firstImage: ImageHeader['firstImage'];
  let truncated = true;
  let at = 13 + colourTableBytes(bytes[10]!);
  while (at < bytes.length) {
    const block = bytes[at]!;
    // Some writers leave the trailer out and pad with zeros: after an image the file is whole at any such byte.
    if (block === TRAILER || (firstImage && block !== EXTENSION && block !== IMAGE)) {
      truncated = false;
      break;
    }
    if (block === IMAGE && at + 10 <= bytes.length) {
      const dataAt = at + 10 + colourTableBytes(bytes[at + 9]!); // descriptor, table
      if (!firstImage) {
        const [imageWidth, imageHeight] = [bytes.readUInt16LE(at + 5), bytes.readUInt16LE(at + 7)];
        width = Math.max(width, bytes.readUInt16LE(at + 1) + imageWidth);
        height = Math.max(height, bytes.readUInt16LE(at + 3) + imageHeight);
        firstImage = { pixels: imageWidth * imageHeight, dataAt };
      }
      at = dataAt + 1; // LZW code size
    } else {
      at += 2; // introducer and label
    }
    while (at < bytes.length && bytes[at] !== 0) at += 1 + bytes[at]!;
    at++;
  }
  return {
    format: 'gif',
    width,
    height,
    bitDepth: 8,
    exif: null,
    truncated,
    ...(firstImage && { firstImage }),
  };
};
