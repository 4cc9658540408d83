import { hash } from 'node:crypto';
import { decode, type Pixels } from './decode.ts';
import { readExif, type ExifFacts } from './exif.ts';
import { toGrey } from './grey.ts';
import { encodePgm, fitWithin } from './pgm.ts';
import { perceptualHash } from './phash.ts';
import type { ImageFormat, ImageLimits } from './sniff.ts';
import { pixelStatistics } from './statistics.ts';

export interface DescribeOptions extends ImageLimits {
  /** Longest side of the PGM; the dataset's `pgm_max_side`. */
  pgmMaxSide: number;
  /** Grey value (0–255) behind transparent pixels; the dataset's background. */
  background: number;
}

/** Everything the table says about an image, and its pixels. */
export interface Described extends ExifFacts {
  format: ImageFormat;
  /** Pixels as people see them, after EXIF orientation. */
  width: number;
  height: number;
  /** Of the decoded image: 1 grey, 2 grey + alpha, 3 RGB, 4 RGBA. */
  channels: number;
  byteSize: number;
  /** SHA-256 of the encoded bytes, 32 bytes. */
  sha256: Buffer;
  /** Signed 64 bits; see perceptualHash. */
  phash: bigint;
  /** Binary PGM (P5), the whole picture in grey; the statistics below are of these pixels. */
  pgm: Buffer;
  /** Mean of the grey values, 0–255. */
  pixelMean: number;
  pixelStddev: number;
  /** Bits per pixel, 0–8. */
  entropy: number;
  sharpness: number;
  objectCount: number;
  /** For the classifier, so that nothing is decoded twice; the original channels and size, not the PGM's. */
  pixels: Pixels;
}

/**
 * Decodes an image and describes it. Rejects with HubError BAD_IMAGE if it is none, is too large, damaged or truncated
 * (see decode). For PNG, BMP and netpbm images the promise is resolved without leaving the thread; images of other
 * formats wait for sharp, so it pays to have several under way.
 */
export async function describe(bytes: Uint8Array, options: DescribeOptions): Promise<Described> {
  const decoded = decode(bytes, options);
  const pixels = decoded instanceof Promise ? await decoded : decoded;
  const { format, width, height, channels } = pixels;
  const grey = fitWithin(toGrey(pixels, options.background), options.pgmMaxSide);
  const { mean, stddev, entropy, sharpness, objectCount } = pixelStatistics(grey);
  return {
    format,
    width,
    height,
    channels,
    byteSize: bytes.length,
    sha256: hash('sha256', bytes, 'buffer'),
    phash: perceptualHash(grey),
    pgm: encodePgm(grey),
    pixelMean: mean,
    pixelStddev: stddev,
    entropy,
    sharpness,
    objectCount,
    ...readExif(pixels.exif),
    pixels,
  };
}
