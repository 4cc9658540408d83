import { badImage, truncatedImage, type HeaderReader, type ImageHeader } from './header.ts';

const VP8_START_CODE = 0x9d012a;
const VP8L_SIGNATURE = 0x2f;

/**
 * WebP (RFC 9649): `RIFF size:u32 WEBP`, then chunks `type:4 size:u32 body`, padded to even sizes. The first one is
 * `VP8 ` (lossy), `VP8L` (lossless), or `VP8X` (extended: canvas size, and further chunks such as `EXIF` and `ICCP`, the colour profile).
 */
export const readWebpHeader: HeaderReader = (bytes) => {
  if (bytes.toString('latin1', 0, 4) !== 'RIFF' || bytes.toString('latin1', 8, 12) !== 'WEBP') return null;
  if (bytes.length < 30) throw truncatedImage('webp', bytes);
  return {
    format: 'webp',
    ...readSize(bytes),
    bitDepth: 8,
    ...findChunks(bytes),
    truncated: bytes.length < 8 + bytes.readUInt32LE(4),
  };
};

function readSize(bytes: Buffer): { width: number; height: number } {
  const kind = bytes.toString('latin1', 12, 16);
  if (kind === 'VP8 ' && bytes.readUIntBE(23, 3) === VP8_START_CODE) {
    // 14 bits each; the upper two bits are a scale for the display
    return { width: bytes.readUInt16LE(26) & 0x3fff, height: bytes.readUInt16LE(28) & 0x3fff };
  }
  if (kind === 'VP8L' && bytes[20] === VP8L_SIGNATURE) {
    const packed = bytes.readUInt32LE(21);
    return { width: (packed & 0x3fff) + 1, height: ((packed >>> 14) & 0x3fff) + 1 };
  }
  if (kind === 'VP8X') return { width: bytes.readUIntLE(24, 3) + 1, height: bytes.readUIntLE(27, 3) + 1 };
  throw badImage('damaged WEBP: its first chunk is none that begins an image');
}

function findChunks(bytes: Buffer): Pick<ImageHeader, 'exif' | 'profiles'> {
  let exif: Buffer | null = null;
  const profiles: [number, number][] = [];
  for (let at = 12; at + 8 <= bytes.length;) {
    const size = bytes.readUInt32LE(at + 4);
    const type = bytes.toString('latin1', at, at + 4);
    if (type === 'EXIF') exif ??= bytes.subarray(at + 8, at + 8 + size);
    if (type === 'ICCP') profiles.push([at + 8, at + 8 + size]);
    at += 8 + size + (size & 1);
  }
  return { exif, profiles };
}
