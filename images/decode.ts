import { Transformer } from '@napi-rs/image';
import sharp, { type Sharp } from 'sharp';
import { errorText } from '../errors.ts';
import { embeddedProfile } from './colour-profile/embedded.ts';
import { readIcc } from './colour-profile/icc.ts';
import { toSrgb } from './colour-profile/to-srgb.ts';
import { readOrientation } from './exif.ts';
import { holdsAllPixels } from './gif.ts';
import { BadImage, badImage, truncatedImage } from './headers/header.ts';
import { decodeSmallJpeg, endsTooEarly, isSmallJpeg } from './jpeg.ts';
import { applyOrientation } from './orientation.ts';
import { decodeSmallPng } from './small-png.ts';
import { sniff, type ImageFormat, type ImageHeader, type ImageLimits } from './sniff.ts';

/** 1: grey, 2: grey + alpha, 3: RGB, 4: RGBA. */
export type Channels = 1 | 2 | 3 | 4;

/** A decoded image. */
export interface Pixels {
  format: ImageFormat;
  /** As people see it: after EXIF orientation. */
  width: number;
  height: number;
  channels: Channels;
  /**
   * height × width × channels samples of 8 bits, rows from the top, channels interleaved, alpha not premultiplied.
   * Deeper samples are cut to their upper 8 bits, as libvips and OpenCV do; shallower ones are spread over 0–255.
   */
  data: Uint8Array;
  /** Bits per sample in the file; null where its header does not say (AVIF). */
  bitDepth: number | null;
  /** The raw EXIF block, if the file has one. */
  exif: Uint8Array | null;
  /** The name of its colour profile, as that says it, such as `Display P3`; `CMYK` without one; else null. */
  colourSpace: string | null;
}

/** Every image is seen once, and the worker threads are the parallelism: no cache, no threads inside libvips. */
sharp.cache(false);
sharp.concurrency(1);

/** Decoded without leaving the thread; sharp either takes 30 times as long for small ones, or cannot read them. */
const NATIVE_FORMATS: ReadonlySet<ImageFormat> = new Set(['png', 'bmp', 'pbm', 'pgm', 'ppm']);
/** Components of a file whose colours are those of printing. */
const CMYK = 4;
/** @napi-rs/image refuses to allocate more than 512 MiB for pixels (at most 4 samples of 2 bytes). */
const NATIVE_MAX_PIXELS = (512 * 1024 * 1024) / 8;

/**
 * Decodes an image; the first frame of an animation, the first page of a TIFF.
 *
 * PNG, BMP, netpbm images and small JPEGs are decoded at once and returned, not promised (`await` takes both); the others
 * go through sharp on libuv's threads, so that several can be under way, and so do those with a colour profile other
 * than sRGB. EXIF orientation and colour profiles are applied: samples are sRGB. CMYK becomes RGB.
 *
 * Throws, or rejects with, HubError BAD_IMAGE: not an image, too large (before anything is decoded), damaged or
 * truncated. A picture is whole or an error, never half grey.
 */
export function decode(bytes: Uint8Array, limits: ImageLimits): Pixels | Promise<Pixels> {
  const header = sniff(bytes, limits);
  const decoded = decodeSamples(bytes, header, limits);
  return decoded instanceof Promise
    ? decoded.then((samples) => inSrgb(bytes, header, samples))
    : inSrgb(bytes, header, decoded);
}

/** Pixels in whatever colours the file has them, but for CMYK. */
type Samples = Omit<Pixels, 'colourSpace'>;

function decodeSamples(
  bytes: Uint8Array,
  header: ImageHeader,
  limits: ImageLimits,
): Samples | Promise<Samples> {
  const native =
    NATIVE_FORMATS.has(header.format) &&
    (header.format !== 'png' || header.width * header.height <= NATIVE_MAX_PIXELS);
  if (native) return smallPng(bytes, header) ?? decodeNative(bytes, header);
  if (header.format === 'gif' && !holdsAllPixels(bytes, header)) {
    throw badImage('damaged GIF: its pixels end before the picture does');
  }
  if (!isSmallJpeg(bytes, header)) return decodeWithSharp(bytes, header, limits);
  const samples = decodeSmallJpeg(bytes, header);
  const finish = (data: Uint8Array | null) =>
    data ? smallJpeg(data, header) : decodeDoubtful(bytes, header, limits);
  return samples instanceof Promise ? samples.then(finish) : finish(samples);
}

function inSrgb(bytes: Uint8Array, header: ImageHeader, samples: Samples): Pixels | Promise<Pixels> {
  if (header.components === CMYK) return { ...samples, colourSpace: 'CMYK' };
  const icc = embeddedProfile(bytes, header);
  const profile = icc && readIcc(icc);
  // One about other samples than there are is a mistake, and one cut short is of no use: the picture is what counts.
  if (profile?.samples !== (samples.channels < 3 ? 'grey' : 'rgb')) return { ...samples, colourSpace: null };
  const pixels = { ...samples, colourSpace: profile.name };
  return profile.isSrgb ? pixels : toSrgb(pixels, icc!);
}

/** From here on memory is worth being given back at once; smaller pixels may lie in memory that others share. */
const LARGE_BYTES = 1024 * 1024;

/**
 * Gives the memory of a large picture back, when nobody needs its pixels any more. Without it V8 finds them only in the
 * next full garbage collection, and with 9 MB a photo that costs a third as much as decoding it. Does nothing for small ones.
 */
export function releasePixels({ data }: Pixels): void {
  const { buffer } = data;
  if (
    data.byteLength >= LARGE_BYTES &&
    data.byteLength === buffer.byteLength &&
    buffer instanceof ArrayBuffer
  )
    buffer.transfer(0);
}

function smallPng(bytes: Uint8Array, header: ImageHeader): Samples | null {
  if (header.format !== 'png') return null;
  const { width, height, bitDepth } = header;
  const plain = decodeSmallPng(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength), header);
  return plain && { format: 'png', width, height, bitDepth, ...plain, exif: null };
}

function smallJpeg(
  data: Uint8Array,
  { format, width, height, bitDepth, components, exif }: ImageHeader,
): Samples {
  const channels = components as 1 | 3;
  return oriented({ format, width, height, channels, data, bitDepth, exif: exif ?? null });
}

/** A small JPEG with something amiss: sharp says what, or that it does no harm. */
async function decodeDoubtful(bytes: Uint8Array, header: ImageHeader, limits: ImageLimits): Promise<Samples> {
  const pixels = await decodeWithSharp(bytes, header, limits);
  if (await endsTooEarly(bytes)) throw badImage('damaged JPEG: its pixels end before the picture does');
  return pixels;
}

/** Applies the EXIF orientation. */
const oriented = (samples: Samples): Samples =>
  samples.exif ? applyOrientation(samples, readOrientation(samples.exif)) : samples;

function decodeNative(bytes: Uint8Array, header: ImageHeader): Samples {
  const { format, width, height, bitDepth } = header;
  let raw: Uint8Array;
  try {
    raw = new Transformer(withoutProfiles(bytes, header)).rawPixelsSync();
  } catch (error) {
    throw ENDS_TOO_EARLY.test(errorText(error)) ? truncatedImage(format, bytes) : undecodable(header, error);
  }
  const deep = bitDepth === 16;
  const channels = raw.length / (width * height * (deep ? 2 : 1));
  if (!isChannels(channels)) {
    throw badImage(`damaged ${format.toUpperCase()}: its size and its pixels differ`);
  }
  const data = deep ? upperBytes(raw) : raw;
  return oriented({ format, width, height, channels, data, bitDepth, exif: header.exif ?? null });
}

/** What @napi-rs/image says of BMP and netpbm images whose file ends before their pixels do. */
const ENDS_TOO_EARLY = /failed to fill whole buffer|Not enough data was provided/;

/** The decoder would not apply a colour profile, and one of a megabyte can inflate to all the memory that it may take. */
function withoutProfiles(bytes: Uint8Array, { profiles = [] }: ImageHeader): Uint8Array {
  if (profiles.length === 0) return bytes;
  const starts = [0, ...profiles.map(([, to]) => to)];
  const ends = [...profiles.map(([from]) => from), bytes.length];
  return Buffer.concat(starts.map((start, i) => bytes.subarray(start, ends[i])));
}

/** 16-bit samples in native byte order, which is little-endian wherever @napi-rs/image runs, to 8 bits. */
function upperBytes(raw: Uint8Array): Uint8Array {
  const upper = new Uint8Array(raw.length / 2);
  for (let i = 0; i < upper.length; i++) upper[i] = raw[2 * i + 1]!;
  return upper;
}

async function decodeWithSharp(
  bytes: Uint8Array,
  header: ImageHeader,
  limits: ImageLimits,
): Promise<Samples> {
  try {
    const image = sharp(bytes, {
      failOn: 'warning', // libjpeg only warns of a file that ends too early
      limitInputPixels: limits.maxPixels, // what the header reader was told wrongly, libvips finds out
      ignoreIcc: header.components !== CMYK, // without its profile CMYK would be guessed
    });
    const { isGrey, exif } = await inspect(image, header);
    if (header.exif !== null) image.autoOrient();
    if (isGrey === 'opaque') image.toColourspace('b-w');
    const { data, info } = await image.raw({ depth: 'uchar' }).toBuffer({ resolveWithObject: true });
    const { width, height, channels } = info;
    if (!isChannels(channels))
      throw badImage(`${header.format.toUpperCase()} with ${channels} channels`, { kind: 'unsupported' });
    const found = { format: header.format, width, height, bitDepth: header.bitDepth, exif };
    if (isGrey === 'deep' && channels === 3) return { ...found, channels: 1, data: everyThird(data) };
    return isGrey === 'alpha' && channels === 4
      ? { ...found, channels: 2, data: greyAndAlpha(data) }
      : { ...found, channels, data };
  } catch (error) {
    throw undecodable(header, error);
  }
}

/** libvips turns grey into RGB unless told otherwise; its grey output loses alpha, and of 16 bits it rounds instead of cutting. */
async function inspect(
  image: Sharp,
  header: ImageHeader,
): Promise<{ isGrey: 'opaque' | 'deep' | 'alpha' | false; exif: Uint8Array | null }> {
  if (header.components) {
    return { isGrey: header.components === 1 && 'opaque', exif: header.exif ?? null };
  }
  const metadata = await image.metadata();
  const deep = metadata.space === 'grey16';
  const grey = metadata.space === 'b-w' || deep;
  return {
    isGrey: grey && (metadata.hasAlpha ? 'alpha' : deep ? 'deep' : 'opaque'),
    exif: header.exif === undefined ? (metadata.exif ?? null) : header.exif,
  };
}

/** RGBA whose three colours are equal → grey + alpha. */
function greyAndAlpha(rgba: Uint8Array): Uint8Array {
  const data = new Uint8Array(rgba.length / 2);
  for (let i = 0, j = 0; i < rgba.length; i += 4) {
    data[j++] = rgba[i]!;
    data[j++] = rgba[i + 3]!;
  }
  return data;
}

/** RGB whose three colours are equal → grey. */
function everyThird(rgb: Uint8Array): Uint8Array {
  const data = new Uint8Array(rgb.length / 3);
  for (let i = 0; i < data.length; i++) data[i] = rgb[3 * i]!;
  return data;
}

const isChannels = (n: number): n is Channels => n === 1 || n === 2 || n === 3 || n === 4;

/** What the decoder said, in one line, as our error. */
function undecodable({ format }: ImageHeader, cause: unknown): Error {
  const text = errorText(cause)
    .replace(/^Decode image failed\s*/, '')
    .replace(/^Warning treated as error.*/, 'its decoder warns, and not all of its pixels may be right')
    .split('\n')[0];
  const kind = cause instanceof BadImage ? cause.kind : /pixel limit/.test(text!) ? 'too-large' : 'damaged';
  return badImage(`damaged ${format.toUpperCase()}: ${text}`, { kind, cause });
}
