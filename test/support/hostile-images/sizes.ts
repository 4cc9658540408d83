import { gifImage } from './blocks.ts';
import { repairChecksums } from '../png-writer.ts';
import {
  ANY_FATE,
  type Fate,
  type HostileImage,
  patched,
  u16be,
  u16le,
  u32be,
  u32le,
} from './hostile-image.ts';
import type { Source } from './sources.ts';

type Resize = (bytes: Buffer, width: number, height: number) => Buffer;

/** How a file is made to say that it is of another size, and the largest that its format can say. */
const RESIZES: Record<string, { most: number; resize: Resize }> = {
  PNG: {
    most: 2 ** 31 - 1,
    resize: (bytes, width, height) =>
      repairChecksums(patched(bytes, 16, Buffer.concat([u32be(width), u32be(height)]))),
  },
  JPEG: {
    most: 65_535,
    resize: (bytes, width, height) =>
      patched(bytes, bytes.indexOf('ffc0', 0, 'hex') + 5, Buffer.concat([u16be(height), u16be(width)])),
  },
  'progressive JPEG': {
    most: 65_535,
    resize: (bytes, width, height) =>
      patched(bytes, bytes.indexOf('ffc2', 0, 'hex') + 5, Buffer.concat([u16be(height), u16be(width)])),
  },
  // Of its first image: decoders make the canvas at least as large.
  GIF: {
    most: 65_535,
    resize: (bytes, width, height) => {
      const size = Buffer.concat([u16le(width), u16le(height)]);
      return patched(patched(bytes, 6, size), gifImage(bytes).at + 5, size);
    },
  },
  'lossy WebP': {
    most: 16_383,
    resize: (bytes, width, height) => patched(bytes, 26, Buffer.concat([u16le(width), u16le(height)])),
  },
  // Both are stored less one: zero is not to be said.
  'lossless WebP': {
    most: 16_384,
    resize: (bytes, width, height) =>
      patched(
        bytes,
        21,
        u32le(
          (((width - 1) & 0x3fff) | (((height - 1) & 0x3fff) << 14) | ((bytes[24]! & 0xf0) * 2 ** 24)) >>> 0,
        ),
      ),
  },
  'animated WebP': {
    most: 2 ** 24,
    resize: (bytes, width, height) =>
      patched(bytes, 24, Buffer.concat([u32le(width - 1).subarray(0, 3), u32le(height - 1).subarray(0, 3)])),
  },
  TIFF: { most: 2 ** 32 - 1, resize: resizeTiff },
  'tiled TIFF': { most: 2 ** 32 - 1, resize: resizeTiff },
  AVIF: {
    most: 2 ** 32 - 1,
    resize: (bytes, width, height) =>
      patched(bytes, bytes.indexOf('ispe') + 8, Buffer.concat([u32be(width), u32be(height)])),
  },
  BMP: {
    most: 2 ** 31 - 1,
    resize: (bytes, width, height) => patched(bytes, 18, Buffer.concat([u32le(width), u32le(height)])),
  },
  PGM: {
    most: 999_999_999,
    resize: (bytes, width, height) =>
      Buffer.concat([Buffer.from(`P5\n${width} ${height}\n255\n`), bytes.subarray(13)]),
  },
};

/** Of a little-endian file; each size becomes a LONG in its entry. */
function resizeTiff(bytes: Buffer, width: number, height: number): Buffer {
  let resized = bytes;
  const directory = bytes.readUInt32LE(4);
  for (let i = 0, at = directory + 2; i < bytes.readUInt16LE(directory); i++, at += 12) {
    const size = { 256: width, 257: height }[bytes.readUInt16LE(at)];
    if (size === undefined) continue;
    resized = patched(resized, at + 2, Buffer.concat([u16le(4), u32le(1), u32le(size)]));
  }
  return resized;
}

/** Just within the default limit of 100 million pixels: memory may be taken for it before anything is found amiss. */
const LARGE = 9999;

/** Files that say they are another size than they are. */
export function wrongSizes(sources: Source[]): HostileImage[] {
  return sources.flatMap(({ name, bytes }) => {
    const format = RESIZES[name];
    if (!format) return [];
    const { most, resize } = format;
    const sized = (width: number, height: number, fates: readonly Fate[], detail?: RegExp): HostileImage => ({
      name: `size: ${name} that says ${width} × ${height}`,
      bytes: resize(bytes, width, height),
      fates,
      ...(detail && { detail }),
    });
    // What a canvas has beside its pictures is blank, and that is right.
    const canvas = name === 'animated WebP';
    const pixels = new RegExp(`${most} × ${most} = ${most * most} pixels is over the limit of 100000000`);
    const saysZero = most !== 16_384 && most !== 2 ** 24;
    return [
      ...(saysZero
        ? [
            sized(0, 28, ['damaged'], /0 × 28|size is missing/),
            sized(28, 0, ['damaged'], /28 × 0|size is missing/),
          ]
        : []),
      sized(most, most, ['too-large'], pixels),
      ...(canvas ? [] : [sized(LARGE, LARGE, ['damaged', 'truncated'])]),
      sized(29, 29, ANY_FATE),
      sized(28, 1000, canvas ? ['row'] : ['damaged', 'truncated']),
    ];
  });
}
