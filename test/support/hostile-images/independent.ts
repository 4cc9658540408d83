import sharp from 'sharp';
import type { Pixels } from '../../../images/decode.ts';

/**
 * What other decoders than ours make of a file, as people see it, with alpha: sharp, which is our own decoder of some formats,
 * but takes files here that are damaged; and for the formats that it does not know the plainest that there can be.
 * @returns null when they make nothing of it
 */
export async function independentPixels(bytes: Buffer): Promise<Pixels | null> {
  try {
    const { data, info } = await sharp(bytes, { failOn: 'none', ignoreIcc: true })
      .autoOrient()
      .toColourspace('srgb')
      .ensureAlpha()
      .raw({ depth: 'uchar' })
      .toBuffer({ resolveWithObject: true });
    return pixels(info.width, info.height, 4, data);
  } catch {
    return bmpPixels(bytes) ?? pgmPixels(bytes);
  }
}

const pixels = (width: number, height: number, channels: 1 | 3 | 4, data: Uint8Array): Pixels => ({
  format: 'png',
  width,
  height,
  channels,
  data,
  bitDepth: 8,
  exif: null,
  colourSpace: null,
});

/** 24 bits without compression, rows from the bottom. */
function bmpPixels(bytes: Buffer): Pixels | null {
  if (
    bytes.toString('latin1', 0, 2) !== 'BM' ||
    bytes.readUInt16LE(28) !== 24 ||
    bytes.readUInt32LE(30) !== 0
  )
    return null;
  const [width, height] = [bytes.readInt32LE(18), bytes.readInt32LE(22)];
  const [pixelsAt, rowBytes] = [bytes.readUInt32LE(10), (width * 3 + 3) & ~3];
  if (height < 1 || pixelsAt + rowBytes * height > bytes.length) return null;
  const data = new Uint8Array(width * height * 3);
  for (let y = 0, to = 0; y < height; y++) {
    const row = pixelsAt + (height - 1 - y) * rowBytes;
    for (let x = 0; x < width * 3; x += 3) for (let c = 2; c >= 0; c--) data[to++] = bytes[row + x + c]!;
  }
  return pixels(width, height, 3, data);
}

/** Samples up to 255, as bytes or as text. */
function pgmPixels(bytes: Buffer): Pixels | null {
  const header = /^P([25])\s+(\d+)\s+(\d+)\s+255\s/.exec(bytes.toString('latin1', 0, 64));
  if (!header) return null;
  const [width, height] = [Number(header[2]), Number(header[3])];
  const body = bytes.subarray(header[0].length);
  const samples = header[1] === '5' ? body : body.toString('latin1').trim().split(/\s+/).map(Number);
  return samples.length < width * height
    ? null
    : pixels(width, height, 1, Uint8Array.from(samples.slice(0, width * height)));
}
