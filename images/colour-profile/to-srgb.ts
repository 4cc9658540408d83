import sharp from 'sharp';
import { tiffWithProfile } from './tiff.ts';

/** A decoded picture: height × width × channels samples, 1 grey, 2 grey + alpha, 3 RGB, 4 RGBA. */
interface Samples {
  width: number;
  height: number;
  channels: 1 | 2 | 3 | 4;
  data: Uint8Array;
}

/**
 * Converts a picture from the colours of an ICC profile to sRGB with Little CMS (in libvips), perceptual intent, as Pillow's
 * ImageCms does: of the same samples it makes the same, give or take 1. Alpha stays. A profile that cannot be applied
 * changes nothing: the picture is worth more than its exact colours.
 *
 * The decoded samples are converted, and not the file with a decoder that knows profiles: sharp leaves 16-bit PNGs in
 * Display P3, and what makes a file damaged, or cuts its samples to 8 bits, stays the same with and without a profile.
 */
export async function toSrgb<T extends Samples>(picture: T, icc: Uint8Array): Promise<T> {
  try {
    // One thread of libvips, see decode.ts.
    const { data, info } = await sharp(tiffWithProfile(picture, icc), { limitInputPixels: false })
      .raw({ depth: 'uchar' })
      .toBuffer({ resolveWithObject: true });
    const { channels } = picture;
    if (info.channels === channels) return { ...picture, data };
    // Grey comes back as RGB.
    return info.channels === channels + 2 ? { ...picture, data: greyOf(data, info.channels) } : picture;
  } catch {
    return picture;
  }
}

/** RGB or RGBA whose colours are equal → grey, or grey + alpha. */
function greyOf(colour: Uint8Array, channels: number): Uint8Array {
  const kept = channels - 2;
  const grey = new Uint8Array((colour.length / channels) * kept);
  for (let from = 0, to = 0; from < colour.length; from += channels, to += kept) {
    grey[to] = colour[from]!;
    if (kept === 2) grey[to + 1] = colour[from + 3]!;
  }
  return grey;
}
