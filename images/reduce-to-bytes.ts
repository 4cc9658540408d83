import sharp from 'sharp';
import type { Pixels } from './decode.ts';

/** A smaller rendition of an image, encoded. */
export interface Rendition {
  bytes: Buffer;
  width: number;
  height: number;
}

/** Of JPEG and WebP: what is lost is hard to see, and a higher one would cost pixels. */
const QUALITY = 85;
/** Bytes that a pixel of a photo takes so encoded, about: where the search begins. */
const USUAL_BYTES_PER_PIXEL = 0.25;
/** As near to the limit as this is near enough: the next step would win few pixels. */
const NEAR_ENOUGH = 0.92;
/** Aimed at between the two. */
const AIM = 0.96;
/** Mostly two or three are needed. */
const MOST_TRIES = 8;
/** Of the formats themselves; libjpeg takes a little less than its 16 bits say (JPEG_MAX_DIMENSION). */
const LONGEST_SIDE = { jpeg: 65500, webp: 16383 };

/**
 * The largest rendition of an image, proportions kept, that takes at most so many bytes: JPEG, or WebP where it has alpha.
 * As it lies in `pixels`: oriented, in sRGB, with no metadata. The same for the same pixels.
 * @returns null: not even one of a single pixel does
 */
export async function reduceToBytes(pixels: Pixels, maxBytes: number): Promise<Rendition | null> {
  const longest = Math.max(pixels.width, pixels.height);
  const largest = Math.min(1, LONGEST_SIDE[hasAlpha(pixels) ? 'webp' : 'jpeg'] / longest);
  const guess = maxBytes / (USUAL_BYTES_PER_PIXEL * pixels.width * pixels.height);
  let best: Rendition | null = null;
  // Scales between which the one is that is looked for: `fits` does, `exceeds` does not.
  let fits = 0;
  let exceeds = Infinity;
  let scale = Math.min(largest, Math.sqrt(guess));
  for (let attempt = 0; attempt < MOST_TRIES; attempt++) {
    const tried = await encode(pixels, scale);
    const { length } = tried.bytes;
    if (length <= maxBytes) {
      best = tried;
      fits = scale;
      if (length >= NEAR_ENOUGH * maxBytes || scale >= largest) return best;
    } else {
      if (tried.width === 1 && tried.height === 1) return best;
      exceeds = scale;
    }
    // Bytes grow about as pixels do; where they do not, the middle of what is left.
    const next = scale * Math.sqrt((AIM * maxBytes) / length);
    const within = next > fits && next < exceeds;
    scale = Math.min(largest, within ? next : exceeds < Infinity ? (fits + exceeds) / 2 : largest);
  }
  return best;
}

const hasAlpha = ({ channels }: Pixels): boolean => channels % 2 === 0;

async function encode(pixels: Pixels, scale: number): Promise<Rendition> {
  const { data, width, height, channels } = pixels;
  const side = (length: number) => Math.max(1, Math.round(length * scale));
  const target = { width: side(width), height: side(height) };
  const image = sharp(data, { raw: { width, height, channels }, limitInputPixels: false });
  const resized = scale < 1 ? image.resize({ ...target, fit: 'fill' }) : image;
  const coloured = channels === 1 ? resized.toColourspace('b-w') : resized;
  const encoded = hasAlpha(pixels)
    ? coloured.webp({ quality: QUALITY })
    : coloured.jpeg({ quality: QUALITY });
  return { bytes: await encoded.toBuffer(), ...target };
}
