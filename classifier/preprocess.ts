import { HubError } from '../errors.ts';
import { inputSize, scaleTable } from './manifest.ts';
import type { ManifestInput } from './manifest.ts';
import { resize } from './resize.ts';

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
 * ITU-R 601 luma), resized when the size differs, then polarity, scaling, channel order and layout.
 * The function it returns throws HubError BAD_IMAGE for pixels that do not fit their own size.
 */
export function preprocessor(input: ManifestInput): Preprocessor {
  const { width, height, channels, background } = input;
  const write = channels === 1 ? greyWriter(input) : colourWriter(input);
  return (image, target, offset) => {
    checkPixels(image);
    let pixels = channels === 1 ? toGrey(image, background) : toRgb(image, background);
    if (image.width !== width || image.height !== height) {
      pixels = resize(pixels, image.width, image.height, channels, width, height);
    }
    write(pixels, target, offset);
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
  const planes = [0, 1, 2].map((channel) => ({
    table: scaleTable(input.scaling, channel, input.invert),
    source: input.colour === 'bgr' ? 2 - channel : channel,
    start: input.layout === 'NCHW' ? channel * area : channel,
  }));
  const step = input.layout === 'NCHW' ? 1 : 3;
  return (pixels, target, offset) => {
    for (const { table, source, start } of planes) {
      let to = offset + start;
      for (let from = source; from < pixels.length; from += 3, to += step) target[to] = table[pixels[from]!]!;
    }
  };
}

/** 16-bit fixed-point weights of ITU-R BT.601 luma, 0.299 R + 0.587 G + 0.114 B, as Pillow rounds them. */
const RED = 19595;
const GREEN = 38470;
const BLUE = 7471;
const HALF = 0x8000;

const luma = (red: number, green: number, blue: number): number =>
  (red * RED + green * GREEN + blue * BLUE + HALF) >> 16;

/** `value` with opacity `alpha` over `background`, rounded. */
const over = (value: number, alpha: number, background: number): number =>
  Math.round((value * alpha + background * (255 - alpha)) / 255);

/** [height, width]; grey pixels are returned as they are, not copied. */
function toGrey({ channels, data, width, height }: Pixels, background: number): Uint8Array {
  if (channels === 1) return data;
  const result = new Uint8Array(width * height);
  for (let index = 0, from = 0; index < result.length; index++, from += channels) {
    const value = channels === 2 ? data[from]! : luma(data[from]!, data[from + 1]!, data[from + 2]!);
    result[index] = channels === 3 ? value : over(value, data[from + channels - 1]!, background);
  }
  return result;
}

/** [height, width, 3]; RGB pixels are returned as they are, not copied. */
function toRgb({ channels, data, width, height }: Pixels, background: number): Uint8Array {
  if (channels === 3) return data;
  const result = new Uint8Array(width * height * 3);
  const hasAlpha = channels % 2 === 0;
  for (let to = 0, from = 0; to < result.length; to += 3, from += channels) {
    for (let channel = 0; channel < 3; channel++) {
      const value = data[from + (channels < 3 ? 0 : channel)]!;
      result[to + channel] = hasAlpha ? over(value, data[from + channels - 1]!, background) : value;
    }
  }
  return result;
}
