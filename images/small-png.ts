import { crc32, inflateSync } from 'node:zlib';
import type { Channels } from './decode.ts';
import type { ImageHeader } from './headers/header.ts';

/** Samples, of all channels together. Larger images are decoded faster by @napi-rs/image, which has SIMD instructions. */
const MOST_SAMPLES = 16 * 1024;
const SIGNATURE_BYTES = 8;
/** Length, type and CRC around a chunk's body. */
const CHUNK_FRAME = 12;
const IHDR = 0x49484452;
const IDAT = 0x49444154;
const IEND = 0x49454e44;
/** Samples per pixel by colour type; palettes are not for us. */
const CHANNELS: Partial<Record<number, Channels>> = { 0: 1, 2: 3, 4: 2, 6: 4 };
const COLOUR_TYPE = 25;
/** Compression method, filter method and interlacing: there is one of each of the first two, and the third may be none. */
const METHODS = [26, 27, 28];

/**
 * Decodes a small plain PNG (ISO/IEC 15948): 8 bits a sample, no palette, not interlaced, and no chunks but IHDR, IDAT
 * and IEND. That is what datasets of small images mostly hold, and 28 × 28 pixels take 5 µs here, where an object
 * of @napi-rs/image takes 9 µs of processor time, its collection included, and keeps memory that V8 does not know of.
 *
 * @returns the samples, row by row, and their channels; null if there is anything else in the file, or anything amiss with
 *   it: that decoder takes it then, or says what is wrong.
 */
export function decodeSmallPng(
  bytes: Buffer,
  { width, height, bitDepth }: ImageHeader,
): { data: Uint8Array; channels: Channels } | null {
  const channels = CHANNELS[bytes[COLOUR_TYPE]!];
  if (channels === undefined || bitDepth !== 8 || METHODS.some((at) => bytes[at] !== 0)) return null;
  const rowBytes = width * channels;
  if (rowBytes * height > MOST_SAMPLES) return null;
  const compressed = imageData(bytes);
  if (!compressed) return null;
  const filtered = inflate(compressed, (rowBytes + 1) * height);
  if (!filtered) return null;
  const data = new Uint8Array(rowBytes * height);
  for (let y = 0; y < height; y++) if (!unfilterRow(filtered, data, y, rowBytes, channels)) return null;
  return { data, channels };
}

/** The body of the IDAT chunk; null if there is not just one, between IHDR and IEND, with the right check sums. */
function imageData(bytes: Buffer): Buffer | null {
  const at = SIGNATURE_BYTES + CHUNK_FRAME + 13;
  if (bytes.length < at + 2 * CHUNK_FRAME) return null;
  const end = at + CHUNK_FRAME + bytes.readUInt32BE(at);
  if (end + CHUNK_FRAME !== bytes.length) return null;
  const plain =
    isChunk(bytes, SIGNATURE_BYTES, at, IHDR) &&
    isChunk(bytes, at, end, IDAT) &&
    isChunk(bytes, end, bytes.length, IEND);
  return plain ? bytes.subarray(at + 8, end - 4) : null;
}

/** Whether [at, end) is a whole chunk of the type: length, type, body, and the CRC-32 of type and body. */
const isChunk = (bytes: Buffer, at: number, end: number, type: number): boolean =>
  bytes.readUInt32BE(at) === end - at - CHUNK_FRAME &&
  bytes.readUInt32BE(at + 4) === type &&
  bytes.readUInt32BE(end - 4) === crc32(bytes.subarray(at + 4, end - 4));

/** null: not a zlib stream of exactly so many bytes. */
function inflate(compressed: Buffer, length: number): Buffer | null {
  try {
    // One more than expected, so that a longer stream shows. With zlib's own 16 kB for each image it takes twice as long.
    const inflated = inflateSync(compressed, {
      chunkSize: Math.max(length + 1, 64),
      maxOutputLength: length + 1,
    });
    return inflated.length === length ? inflated : null;
  } catch {
    return null;
  }
}

/** Undoes the filter that the row begins with; what is beside the picture counts as 0. @returns false: no such filter. */
function unfilterRow(
  filtered: Uint8Array,
  data: Uint8Array,
  y: number,
  rowBytes: number,
  channels: number,
): boolean {
  let from = y * (rowBytes + 1);
  const filter = filtered[from++]!;
  if (filter > 4) return false;
  const first = y * rowBytes;
  const end = first + rowBytes;
  if (filter === 0) {
    for (let to = first; to < end; to++) data[to] = filtered[from++]!;
    return true;
  }
  for (let to = first; to < end; to++) {
    const hasLeft = to - first >= channels;
    const left = hasLeft ? data[to - channels]! : 0;
    const up = y > 0 ? data[to - rowBytes]! : 0;
    const upperLeft = hasLeft && y > 0 ? data[to - rowBytes - channels]! : 0;
    data[to] = filtered[from++]! + predicted(filter, left, up, upperLeft);
  }
  return true;
}

function predicted(filter: number, left: number, up: number, upperLeft: number): number {
  if (filter === 1) return left;
  if (filter === 2) return up;
  return filter === 3 ? (left + up) >> 1 : paeth(left, up, upperLeft);
}

/** Which of the three neighbours is nearest to left + up − upper left; the first of them at a tie. */
function paeth(left: number, up: number, upperLeft: number): number {
  const byLeft = Math.abs(up - upperLeft);
  const byUp = Math.abs(left - upperLeft);
  const byUpperLeft = Math.abs(left + up - 2 * upperLeft);
  if (byLeft <= byUp && byLeft <= byUpperLeft) return left;
  return byUp <= byUpperLeft ? up : upperLeft;
}
