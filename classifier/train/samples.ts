import { HubError } from '../../errors.ts';
import type { Distorter } from './distort.ts';
import type { Random } from './random.ts';
import { type Standard, standardise } from './standard.ts';

/** Labelled training data, kept as it came: pixels stay bytes and are scaled batch by batch. */
export interface Samples {
  /** [N, D] row-major. */
  inputs: Uint8Array | Float32Array;
  /** N class indexes, 0 … classes − 1. */
  labels: Uint8Array | Int32Array;
  classes: number;
  /** What bytes become, 256 values; not used for float inputs. */
  table?: Float32Array;
  /** Float inputs are standardised by it; without it they are taken as they are. */
  standard?: Standard;
  /** How the D inputs lie as an image, [height, width, channels]; needed to move and distort images. */
  image?: { width: number; height: number; channels: number };
}

/** Moves training images at random by up to `pixels` in each direction, drawn anew each time an image is used. */
export interface Shift {
  pixels: number;
  random: Random;
}

/**
 * D, the number of inputs of one sample.
 * @throws HubError USAGE when there is nothing to learn from or the sizes do not fit each other.
 */
export function checkSamples({ inputs, labels, classes, table, image }: Samples): number {
  const present = new Set<number>(labels);
  if (present.size < 2) {
    throw new HubError(
      'USAGE',
      `Training needs labelled images of at least two classes; there are ${present.size}.`,
      {
        hint: 'Send images with known labels, or label some by hand, and train again.',
      },
    );
  }
  for (const label of present) {
    if (label < 0 || label >= classes) {
      throw new HubError('USAGE', `There is a label ${label}, but the classes are 0 to ${classes - 1}.`);
    }
  }
  const width = inputs.length / labels.length;
  if (!Number.isInteger(width) || width === 0) {
    throw new HubError(
      'USAGE',
      `${inputs.length} input values cannot be ${labels.length} images of one size.`,
    );
  }
  if (image && image.width * image.height * image.channels !== width) {
    throw new HubError(
      'USAGE',
      `Images of ${width} values are not ${image.width} × ${image.height} × ${image.channels}.`,
    );
  }
  if (inputs instanceof Uint8Array && table?.length !== 256) {
    throw new HubError(
      'USAGE',
      'Training on pixels needs a table that says how the 256 pixel values are scaled.',
    );
  }
  return width;
}

/**
 * Writes the samples at `indexes` as a batch: inputs scaled to `x` [n, D], labels to `y` [n]. Images of bytes are changed
 * by `change`, drawn anew for each; float inputs are standardised, or taken as they are.
 */
export function gatherBatch(
  samples: Samples,
  indexes: Uint32Array,
  width: number,
  x: Float32Array,
  y: Int32Array,
  change?: Shift | Distorter,
): void {
  const { inputs, labels, table, standard } = samples;
  for (let row = 0; row < indexes.length; row++) {
    const sample = indexes[row]!;
    const from = sample * width;
    const to = row * width;
    y[row] = labels[sample]!;
    if (inputs instanceof Float32Array) {
      if (standard) standardise(inputs, from, x, to, standard);
      else x.set(inputs.subarray(from, from + width), to);
    } else if (typeof change === 'function') change(inputs, from, x, to);
    else if (change) gatherShifted(samples, from, x, to, change);
    else for (let index = 0; index < width; index++) x[to + index] = table![inputs[from + index]!]!;
  }
}

/** One image, moved; what moves in from outside repeats the edge, so that no background need be known. */
function gatherShifted(
  { inputs, table, image }: Samples,
  from: number,
  x: Float32Array,
  to: number,
  { pixels, random }: Shift,
): void {
  const { width, height, channels } = image!;
  const stride = width * channels;
  const draw = (): number => Math.floor(random() * (2 * pixels + 1)) - pixels;
  const [right, down] = [draw() * channels, draw()];
  // Within a row: the repeated first pixel, then what stays inside, then the repeated last pixel.
  const inside = Math.min(right, stride);
  const outside = stride + Math.min(right, 0);
  for (let row = 0; row < height; row++) {
    const line = from + Math.min(Math.max(row - down, 0), height - 1) * stride;
    const target = to + row * stride;
    let index = 0;
    for (; index < inside; index++) x[target + index] = table![inputs[line + (index % channels)]!]!;
    for (; index < outside; index++) x[target + index] = table![inputs[line + index - right]!]!;
    const last = line + stride - channels;
    for (; index < stride; index++) x[target + index] = table![inputs[last + (index % channels)]!]!;
  }
}
