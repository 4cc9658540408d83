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

function colourWriter(input: ManifestInput): Writer {
  const area = input.width * input.height;
  const [first, second, third] = [0, 1, 2].map((channel) =>
    scaleTable(input.scaling, channel, input.invert),
  ) as [Float32Array, Float32Array, Float32Array];
  // Where in a pixel the first and the last channel of the model are.
  const [a, c] = input.colour === 'bgr' ? [2, 0] : [0, 2];
  if (input.layout === 'NCHW') {
    return (pixels, target, offset) => {
      for (let from = 0, to = offset; from < pixels.length; from += 3, to++) {
        target[to] = first[pixels[from + a]!]!;
        target[to + area] = second[pixels[from + 1]!]!;
        target[to + 2 * area] = third[pixels[from + c]!]!;
      }
    };
  }
  return (pixels, target, offset) => {
    for (let from = 0, to = offset; from < pixels.length; from += 3, to += 3) {
      target[to] = first[pixels[from + a]!]!;
      target[to + 1] = second[pixels[from + 1]!]!;
      target[to + 2] = third[pixels[from + c]!]!;
    }
  };
}
