import { generator, type Random } from './random.ts';

/** How far training images may be distorted; all 0: not at all. */
export interface DistortionLimits {
  /** Pixels, to each side. */
  shift: number;
  /** Degrees, to each side. */
  rotate: number;
  /** Share: 0.1 is 90 % to 110 %, each axis by itself. */
  zoom: number;
  /** Sideways pixels per pixel of height, to each side. */
  shear: number;
  /** Elastic distortion: root mean square of the displacements in pixels, along each axis. */
  elastic: number;
  /** Standard deviation in pixels of the Gaussian that smooths the displacements. */
  elasticSigma: number;
}

export interface ImageShape {
  width: number;
  height: number;
  channels: number;
}

/** Writes one image, distorted in a way that is drawn anew each time, to `x` from `to` on. */
export type Distorter = (inputs: Uint8Array, from: number, x: Float32Array, to: number) => void;

/** Whether images must be interpolated; a shift alone moves them by whole pixels. */
export const distorts = ({ rotate, zoom, shear, elastic }: DistortionLimits): boolean =>
  rotate > 0 || zoom > 0 || shear > 0 || elastic > 0;

/** Side of the displacement field; a power of two, so that windows wrap around with a mask. */
const FIELD = 256;

/**
 * Distorts images by a random affine map and a random elastic one at a time, with bilinear interpolation between bytes,
 * which `table` then scales. What moves in from outside repeats the edge, so that no background need be known.
 *
 * The elastic part is that of Simard, Steinkraus and Platt, Best practices for convolutional neural networks applied to
 * visual document analysis, 2003: uniform noise, smoothed by a Gaussian, is how far each pixel moves. Smoothing noise
 * for every image would take ten times as long as the training step, so one field of 256 × 256 that wraps around is
 * made once per training, and each image takes two windows of it, at random places, one per axis.
 *
 * @param random what is drawn for each image; only as often as the limits ask for it
 * @param seed of the field, which is the same for the same seed
 */
export function createDistorter(
  { width, height, channels }: ImageShape,
  table: Float32Array,
  limits: DistortionLimits,
  random: Random,
  seed: number,
): Distorter {
  const { shift, zoom, shear, elastic } = limits;
  const rotate = (limits.rotate * Math.PI) / 180;
  // Without an elastic part every window is the one displacement of 0.
  const field = elastic > 0 ? displacementField(limits.elasticSigma, elastic, seed) : new Int32Array(1);
  const mask = elastic > 0 ? FIELD - 1 : 0;
  const side = mask + 1;
  const within = (limit: number): number => (limit === 0 ? 0 : (2 * random() - 1) * limit);
  const place = (): number => (mask === 0 ? 0 : Math.floor(random() * side));
  const [centreX, centreY] = [(width - 1) / 2, (height - 1) / 2];
  const [right, bottom] = [fixed(width - 1), fixed(height - 1)];
  const stride = width * channels;

  return (inputs, from, x, to) => {
    const angle = within(rotate);
    const slant = within(shear);
    const [zoomX, zoomY] = [1 + within(zoom), 1 + within(zoom)];
    const [cos, sin] = [Math.cos(angle), Math.sin(angle)];
    // Where a pixel of the result comes from: the inverse of rotation · shear · zoom about the centre, and the shift.
    const xx = (cos + slant * sin) / zoomX;
    const xy = (sin - slant * cos) / zoomX;
    const yx = -sin / zoomY;
    const yy = cos / zoomY;
    const originX = centreX - xx * centreX - xy * centreY + within(shift);
    const originY = centreY - yx * centreX - yy * centreY + within(shift);
    const [fromX, fromY, downX, downY] = [place(), place(), place(), place()];
    const [stepX, stepY] = [fixed(xx), fixed(yx)];
    let target = to;
    for (let row = 0; row < height; row++) {
      const lineX = ((fromY + row) & mask) * side;
      const lineY = ((downY + row) & mask) * side;
      let affineX = fixed(originX + xy * row);
      let affineY = fixed(originY + yy * row);
      for (let column = 0; column < width; column++) {
        let sourceX = affineX + field[lineX + ((fromX + column) & mask)]!;
        let sourceY = affineY + field[lineY + ((downX + column) & mask)]!;
        affineX += stepX;
        affineY += stepY;
        sourceX = sourceX < 0 ? 0 : sourceX > right ? right : sourceX;
        sourceY = sourceY < 0 ? 0 : sourceY > bottom ? bottom : sourceY;
        // At the last pixel the share of the next is 0, and that one is not looked at.
        const shareX = (sourceX & FRACTION) >> HALVED;
        const shareY = (sourceY & FRACTION) >> HALVED;
        const next = shareX === 0 ? 0 : channels;
        const below = shareY === 0 ? 0 : stride;
        let at = from + (sourceY >> BITS) * stride + (sourceX >> BITS) * channels;
        for (let channel = 0; channel < channels; channel++, at++) {
          const corner = inputs[at]!;
          const under = inputs[at + below]!;
          const upper = (corner << SHARE_BITS) + (inputs[at + next]! - corner) * shareX;
          const lower = (under << SHARE_BITS) + (inputs[at + below + next]! - under) * shareX;
          x[target++] =
            table[((upper << SHARE_BITS) + (lower - upper) * shareY + ROUND) >> (2 * SHARE_BITS)]!;
        }
      }
    }
  };
}

/**
 * Positions are whole numbers of 2⁻¹⁴ pixels, shares of a pixel of 2⁻⁸: with floats, distorting a batch took 1.6 times as
 * long. 2¹⁴ · 65,536 pixels fit 31 bits, with room to look outside.
 */
const BITS = 14;
const FRACTION = 2 ** BITS - 1;
const SHARE_BITS = 8;
const HALVED = BITS - SHARE_BITS;
const ROUND = 2 ** (2 * SHARE_BITS - 1);
const fixed = (pixels: number): number => Math.round(pixels * 2 ** BITS);

/** Uniform noise smoothed by a Gaussian on a torus, scaled to a root mean square of `strength`; [256, 256] in 2⁻¹⁴ pixels. */
function displacementField(sigma: number, strength: number, seed: number): Int32Array {
  // Its own numbers: the field is made again, not stored, when a training goes on from a checkpoint.
  const { next } = generator(seed ^ 0x5f1e_1d00);
  const noise = Float32Array.from({ length: FIELD * FIELD }, () => 2 * next() - 1);
  const smooth = blurColumns(blurRows(noise, gaussian(sigma)), gaussian(sigma));
  const power = smooth.reduce((sum, value) => sum + value * value, 0) / smooth.length;
  const scale = strength / Math.sqrt(power);
  return Int32Array.from(smooth, (value) => fixed(value * scale));
}

/** Weights at the distances 0, 1, … up to three standard deviations, where the Gaussian is 1 % of its height. */
function gaussian(sigma: number): Float32Array {
  const reach = Math.max(1, Math.ceil(3 * sigma));
  return Float32Array.from({ length: reach + 1 }, (_, distance) =>
    Math.exp(-(distance * distance) / (2 * sigma * sigma)),
  );
}

function blurRows(values: Float32Array, weights: Float32Array): Float32Array {
  return blur(values, weights, (row, column) => row * FIELD + (column & (FIELD - 1)));
}

function blurColumns(values: Float32Array, weights: Float32Array): Float32Array {
  return blur(values, weights, (column, row) => (row & (FIELD - 1)) * FIELD + column);
}

/** @param index of the value `along` a line, which wraps around */
function blur(
  values: Float32Array,
  weights: Float32Array,
  index: (line: number, along: number) => number,
): Float32Array {
  const result = new Float32Array(values.length);
  for (let line = 0; line < FIELD; line++) {
    for (let along = 0; along < FIELD; along++) {
      let sum = weights[0]! * values[index(line, along)]!;
      for (let distance = 1; distance < weights.length; distance++) {
        sum +=
          weights[distance]! *
          (values[index(line, along - distance)]! + values[index(line, along + distance)]!);
      }
      result[index(line, along)] = sum;
    }
  }
  return result;
}
