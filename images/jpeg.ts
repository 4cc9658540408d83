import { createRequire } from 'node:module';
import type { ImageHeader } from './headers/header.ts';

/** From about 512 × 512 on sharp is faster: it has SIMD instructions and a fixed price of half a millisecond. */
const MOST_PIXELS = 384 * 384;
/** The decoder's memory never shrinks, so files with a large appendix are not for it; 384 × 384 pixels take half of it. */
const MOST_BYTES = 1024 * 1024;
/** As many as libvips takes: in a hostile file thousands of scans go over the same pixels again and again. */
const MOST_SCANS = 100;
const SCAN = Buffer.from([0xff, 0xda]);
const END = Buffer.from([0xff, 0xd9]);
/** What an image had taken of the decoder's memory stays taken when it is refused: at most a megabyte, mostly 5 kB. */
const MOST_REFUSALS = 100;

/** The part of `@cornerstonejs/codec-libjpeg-turbo-8bit`'s JPEGDecoder that we use; it has no types of its own. */
interface Decoder {
  /** Room for an encoded image in the decoder's memory. */
  getEncodedBuffer(length: number): Uint8Array;
  /** Throws a number, also when it only warns. */
  decode(): void;
  /** A copy of the pixels, as far as there are any. */
  getDecodedBuffer(): Uint8ClampedArray<ArrayBuffer>;
}
type Codec = () => Promise<{ JPEGDecoder: new () => Decoder }>;

/** Whether a JPEG is one for decodeSmallJpeg: small, 8 bits, and neither CMYK nor made to keep a decoder busy. */
export function isSmallJpeg(bytes: Uint8Array, header: ImageHeader): boolean {
  const { format, width, height, components, bitDepth } = header;
  return (
    format === 'jpeg' &&
    bitDepth === 8 &&
    (components === 1 || components === 3) &&
    width * height <= MOST_PIXELS &&
    bytes.length <= MOST_BYTES &&
    countScans(bytes) <= MOST_SCANS
  );
}

/** Rather too many than too few: a thumbnail in the EXIF block counts too. */
function countScans(bytes: Uint8Array): number {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let scans = 0;
  for (let at = buffer.indexOf(SCAN); at >= 0; at = buffer.indexOf(SCAN, at + SCAN.length)) scans++;
  return scans;
}

let decoder: Promise<Decoder> | Decoder | null = null;
let refusals = 0;

/**
 * Decodes a small JPEG (isSmallJpeg) with libjpeg-turbo compiled to WebAssembly: about 20 µs for 32 × 32 pixels, where
 * sharp takes 500 to 700 µs of processor time. Its accurate integer DCT and smooth chroma upsampling give the very samples
 * that sharp, Pillow and OpenCV give (@napi-rs/image is off by up to 4 and takes truncated files for whole ones; fast DCT,
 * as in @julusian/jpeg-turbo, is off by up to 5).
 *
 * @returns height × width × components samples, before EXIF orientation; null if the decoder found anything at all amiss:
 *   it does not say what, sharp does. A promise only for the first image of a thread, which waits for the decoder.
 */
export function decodeSmallJpeg(
  bytes: Uint8Array,
  header: ImageHeader,
): Uint8Array | null | Promise<Uint8Array | null> {
  if (refusals >= MOST_REFUSALS) decoder = null;
  decoder ??= loadDecoder();
  if (!(decoder instanceof Promise)) return decodeWith(decoder, bytes, header);
  return decoder.then(
    (loaded) => decodeWith(loaded, bytes, header),
    () => null, // without its memory, or its file, sharp has to do
  );
}

async function loadDecoder(): Promise<Decoder> {
  refusals = 0;
  const require = createRequire(import.meta.url);
  const load = require('@cornerstonejs/codec-libjpeg-turbo-8bit/decodewasmjs') as Codec;
  const loaded = new (await load()).JPEGDecoder();
  decoder = loaded;
  return loaded;
}

function decodeWith(
  loaded: Decoder,
  bytes: Uint8Array,
  { width, height, components }: ImageHeader,
): Uint8Array | null {
  if (!attempt(loaded, bytes)) return null;
  const samples = picture(loaded);
  return samples.length === width * height * components! ? samples : null;
}

function picture(loaded: Decoder): Uint8Array {
  const { buffer, byteOffset, length } = loaded.getDecodedBuffer();
  return new Uint8Array(buffer, byteOffset, length);
}

/** @returns false if the decoder found something amiss; what it made of the image all the same is in its buffer. */
function attempt(loaded: Decoder, bytes: Uint8Array): boolean {
  try {
    loaded.getEncodedBuffer(bytes.length).set(bytes);
    loaded.decode();
    return true;
  } catch (error) {
    // The next image gets a fresh one after an error of WebAssembly itself.
    refusals += typeof error === 'number' ? 1 : MOST_REFUSALS;
    return false;
  }
}

/**
 * Whether the pixels of a JPEG end before the picture does, although an end marker is there. For images that
 * decodeSmallJpeg refused and sharp did not: sharp does not hear of what is amiss in the last 8 or 16 rows. Bytes too many
 * are harmless, and some cameras write them: then the last byte before the end marker changes nothing.
 */
export async function endsTooEarly(bytes: Uint8Array): Promise<boolean> {
  const loaded = await Promise.resolve(decoder).catch(() => null);
  const end = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).lastIndexOf(END);
  if (!loaded || end < 2) return false;
  const stuffed = bytes[end - 1] === 0 && bytes[end - 2] === 0xff; // a byte FF of the data is written FF 00
  const without = Buffer.concat([bytes.subarray(0, end - (stuffed ? 2 : 1)), END]);
  attempt(loaded, bytes);
  const before = picture(loaded);
  attempt(loaded, without);
  return Buffer.compare(before, picture(loaded)) !== 0;
}
