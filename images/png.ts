import { crc32, deflateSync } from 'node:zlib';

const SIGNATURE = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]);
const GREY_8_BIT = [8, 0, 0, 0, 0];
/** Larger images compress better with zlib's full window; small ones should not pay for preparing it. */
const SMALL_IMAGE_BYTES = 4096;

/**
 * Encodes height × width grey samples of 8 bits as a PNG (ISO/IEC 15948) with unfiltered rows, which suits digits and
 * drawings; photographs would be smaller with filters.
 */
export function encodeGreyPng(pixels: Uint8Array, width: number, height: number): Buffer {
  if (pixels.length !== width * height) {
    throw new RangeError(`${pixels.length} pixels are not ${width} × ${height}`);
  }
  const rows = new Uint8Array((width + 1) * height); // each row begins with its filter type, 0
  for (let y = 0; y < height; y++) rows.set(pixels.subarray(y * width, (y + 1) * width), y * (width + 1) + 1);
  const compressed = deflateSync(
    rows,
    rows.length <= SMALL_IMAGE_BYTES ? { windowBits: 12, memLevel: 4 } : {},
  );

  const header = Buffer.alloc(13);
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  header.set(GREY_8_BIT, 8);
  return Buffer.concat([SIGNATURE, chunk('IHDR', header), chunk('IDAT', compressed), chunk('IEND')]);
}

/** A chunk: length, type, body, and the CRC-32 of type and body. */
function chunk(type: string, body: Uint8Array = new Uint8Array()): Buffer {
  const result = Buffer.allocUnsafe(body.length + 12);
  result.writeUInt32BE(body.length, 0);
  result.write(type, 4, 'latin1');
  result.set(body, 8);
  result.writeUInt32BE(crc32(result.subarray(4, body.length + 8)), body.length + 8);
  return result;
}
