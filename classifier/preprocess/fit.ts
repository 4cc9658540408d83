import { resample, type Resampling } from './resample/resample.ts';
import type { Axis } from './resample/taps.ts';

/** What becomes of a picture whose sides are in another proportion than the model's. */
export const FITS = ['stretch', 'crop', 'pad'] as const;

/** How pictures get the model's size. */
export interface Fitting extends Resampling {
  /**
   * stretch: both sides resized, each by itself; crop: resized until it covers the model's size, of which the middle is
   * taken; pad: resized until it fits into the model's size, in the middle of `padding`.
   */
  fit: (typeof FITS)[number];
  /** crop: the shorter side is resized to this many pixels, of which the model's size is cut out; null: just enough. */
  shorterSide: number | null;
  /** pad: grey value 0…255 around the picture. */
  padding: number;
}

interface Size {
  width: number;
  height: number;
}

/**
 * Gives a picture the target's size. Sizes and places between are rounded as torchvision rounds them (`Resize`, then
 * `CenterCrop`): the longer side down, the margin to the nearest, halves to the even one.
 * @param pixels [from.height, from.width, channels]
 * @returns [target.height, target.width, channels], valid until the next call; `pixels` themselves when nothing is to be done
 */
export function fitPixels(
  pixels: Uint8Array,
  from: Size,
  channels: 1 | 3,
  target: Size,
  fitting: Fitting,
): Uint8Array {
  const to = resizedSize(from, target, fitting);
  const horizontal = middle(from.width, to.width, target.width);
  const vertical = middle(from.height, to.height, target.height);
  const resized = resample(pixels, channels, horizontal, vertical, fitting);
  if (resized.length === target.width * target.height * channels) return resized;
  const padded = new Uint8Array(target.width * target.height * channels).fill(fitting.padding);
  const left = margin(target.width, horizontal.length);
  const top = margin(target.height, vertical.length);
  const stride = horizontal.length * channels;
  for (let y = 0; y < vertical.length; y++) {
    const row = resized.subarray(y * stride, (y + 1) * stride);
    padded.set(row, ((top + y) * target.width + left) * channels);
  }
  return padded;
}

function resizedSize(from: Size, target: Size, { fit, shorterSide }: Fitting): Size {
  if (fit === 'stretch') return target;
  if (fit === 'crop' && shorterSide !== null) {
    return from.width <= from.height ? byWidth(from, shorterSide) : byHeight(from, shorterSide);
  }
  const wider = from.width * target.height >= target.width * from.height;
  return wider === (fit === 'pad') ? byWidth(from, target.width) : byHeight(from, target.height);
}

/** The other side follows, and is at least a pixel. */
const byWidth = ({ width, height }: Size, to: number): Size => ({
  width: to,
  height: Math.max(1, Math.floor((to * height) / width)),
});
const byHeight = ({ width, height }: Size, to: number): Size => ({
  width: Math.max(1, Math.floor((to * width) / height)),
  height: to,
});

/** An axis of which the middle is wanted, at most so much. */
function middle(from: number, to: number, most: number): Axis {
  return to <= most
    ? { from, to, start: 0, length: to }
    : { from, to, start: margin(to, most), length: most };
}

/** Before the shorter one in the middle of the longer; as Python's `round` halves go to the even number. */
function margin(longer: number, shorter: number): number {
  const half = (longer - shorter) / 2;
  return half % 2 === 0.5 ? Math.floor(half) : Math.round(half);
}
