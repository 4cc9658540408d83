import { HubError } from '../../errors.ts';
import { inputSize, scaleTable } from '../manifest.ts';
import type { ManifestInput } from '../manifest.ts';
import { toGrey, toRgb } from './channels.ts';
import { fitPixels } from './fit.ts';

/** A decoded image: 8-bit, interleaved, rows first; 1 grey, 2 grey + alpha, 3 RGB, 4 RGBA (alpha not premultiplied). */
export interface Pixels {
  width: number;
  height: number;
  channels: number;
  data: Uint8Array;
}

/** The numbers of one batch, image after image. */
export type InputBuffer = Float32Array | Uint8Array | Float64Array;

/** Memory for `length` numbers of the input. */
export function inputBuffer({ elementType }: ManifestInput, length: number): InputBuffer {
  switch (elementType) {
    case 'float32':
      return new Float32Array(length);
    case 'uint8':
      return new Uint8Array(length);
    case 'float64':
      return new Float64Array(length);
  }
}

/** Writes one image's tensor to `target` from `offset` on. */
export type Preprocessor = (image: Pixels, target: InputBuffer, offset: number) => void;

/**
 * Builds the preprocessing that a manifest states: alpha flattened on the background, channels converted (grey is
 * ITU-R 601 luma), fitted into the model's size, then polarity, scaling, channel order and layout.
 * The function it returns throws HubError BAD_IMAGE for pixels that do not fit their own size.
 */
export function preprocessor(input: ManifestInput): Preprocessor {
  const { channels, background, resize } = input;
  const write = channels === 1 ? greyWriter(input) : colourWriter(input);
  return (image, target, offset) => {
    checkPixels(image);
    const pixels = channels === 1 ? toGrey(image, background) : toRgb(image, background);
    write(fitPixels(pixels, image, channels, input, resize), target, offset);
  };
}

function checkPixels({ width, height, channels, data }: Pixels): void {
  if (
    !(width > 0 && height > 0 && channels >= 1 && channels <= 4) ||
    data.length !== width * height * channels
  ) {
    throw new HubError(
      'BAD_IMAGE',
      `${data.length} bytes of pixels cannot be an image of ${width} × ${height} with ${channels} channels.`,
    );
  }
}

type Writer = (pixels: Uint8Array, target: InputBuffer, offset: number) => void;

/** One channel: every layout has the same order. */
function greyWriter(input: ManifestInput): Writer {
  const table = scaleTable(input.scaling, 0, input.invert);
  const size = inputSize(input);
  return (pixels, target, offset) => {
    for (let index = 0; index < size; index++) target[offset + index] = table[pixels[index]!]!;
  };
}

/** Bytes of four pixels of three samples: three words of 32 bits. */
const FOUR_PIXELS = 12;

/**
 * Four pixels at a time, out of three words, as far as they are aligned: 128 × 128 pixels take 25 µs of processor time,
 * sample by sample 41.
 */
function colourWriter(input: ManifestInput): Writer {
  // Which channel of the model a pixel's red, green and blue are, and where in its tensor the first of each lies.
  const channels = input.colour === 'bgr' ? [2, 1, 0] : [0, 1, 2];
  const [reds, greens, blues] = channels.map((channel) =>
    scaleTable(input.scaling, channel, input.invert),
  ) as [Float32Array, Float32Array, Float32Array];
  const planar = input.layout === 'NCHW';
  const [r, g, b] = channels.map((channel) => channel * (planar ? input.width * input.height : 1)) as [
    number,
    number,
    number,
  ];
  const step = planar ? 1 : 3;
  return (pixels, target, offset) => {
    let to = offset;
    const aligned = pixels.byteOffset % 4 === 0 ? pixels.length - (pixels.length % FOUR_PIXELS) : 0;
    const words = new Uint32Array(pixels.buffer, aligned && pixels.byteOffset, aligned / 4);
    for (let word = 0; word < words.length; word += 3) {
      const x = words[word]!;
      const y = words[word + 1]!;
      const z = words[word + 2]!;
      target[to + r] = reds[x & 255]!;
      target[to + g] = greens[(x >>> 8) & 255]!;
      target[to + b] = blues[(x >>> 16) & 255]!;
      to += step;
      target[to + r] = reds[x >>> 24]!;
      target[to + g] = greens[y & 255]!;
      target[to + b] = blues[(y >>> 8) & 255]!;
      to += step;
      target[to + r] = reds[(y >>> 16) & 255]!;
      target[to + g] = greens[y >>> 24]!;
      target[to + b] = blues[z & 255]!;
      to += step;
      target[to + r] = reds[(z >>> 8) & 255]!;
      target[to + g] = greens[(z >>> 16) & 255]!;
      target[to + b] = blues[z >>> 24]!;
      to += step;
    }
    for (let from = aligned; from < pixels.length; from += 3, to += step) {
      target[to + r] = reds[pixels[from]!]!;
      target[to + g] = greens[pixels[from + 1]!]!;
      target[to + b] = blues[pixels[from + 2]!]!;
    }
  };
}
