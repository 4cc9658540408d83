/**
 * Where one target position lies on the source's axis under an antialiased bilinear filter: a triangle as wide as one
 * target pixel when shrinking, as wide as one source pixel when enlarging; positions are pixel centres, weights sum to 1
 * (Pillow's and torchvision's `antialias=True` rule).
 */
interface Tap {
  /** The source positions from which it is made, [first, end). */
  first: number;
  end: number;
  centre: number;
  reach: number;
  /** The weights' sum before they are divided by it. */
  total: number;
}

/** A source position's part in a target position. */
const weightOf = ({ centre, reach }: Tap, position: number): number =>
  Math.max(0, 1 - Math.abs(position + 0.5 - centre) / reach);

function taps(source: number, target: number): Tap[] {
  const scale = source / target;
  const reach = Math.max(scale, 1);
  return Array.from({ length: target }, (_, index) => {
    const centre = (index + 0.5) * scale;
    const first = Math.max(0, Math.floor(centre - reach + 0.5));
    const end = Math.min(source, Math.floor(centre + reach + 0.5));
    const tap = { first, end, centre, reach, total: 0 };
    for (let position = first; position < end; position++) tap.total += weightOf(tap, position);
    return tap;
  });
}

const weightsOf = (tap: Tap): Float64Array =>
  Float64Array.from({ length: tap.end - tap.first }, (_, k) => weightOf(tap, tap.first + k) / tap.total);

/**
 * Resizes interleaved 8-bit pixels, rows first in memory, without keeping the aspect ratio; rounds half up. Goes from row to
 * row: a picture a pixel wide and a million high takes little memory beside its pixels, too.
 * @param pixels [height, width, channels]
 */
export function resize(
  pixels: Uint8Array,
  width: number,
  height: number,
  channels: number,
  targetWidth: number,
  targetHeight: number,
): Uint8Array {
  const columns = taps(width, targetWidth);
  const weightsOfColumns = columns.map(weightsOf);
  const rows = taps(height, targetHeight);
  const stride = targetWidth * channels;
  const narrow = new Float32Array(stride);
  const sums = new Float64Array(targetHeight * stride);
  let done = 0;
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < targetWidth; x++) {
      const { first } = columns[x]!;
      const weights = weightsOfColumns[x]!;
      for (let channel = 0; channel < channels; channel++) {
        let sum = 0;
        let from = (y * width + first) * channels + channel;
        for (let k = 0; k < weights.length; k++, from += channels) sum += weights[k]! * pixels[from]!;
        narrow[x * channels + channel] = sum;
      }
    }
    while (rows[done]!.end <= y) done++;
    for (let row = done; row < targetHeight && rows[row]!.first <= y; row++) {
      const weight = weightOf(rows[row]!, y) / rows[row]!.total;
      const to = row * stride;
      for (let index = 0; index < stride; index++) sums[to + index]! += weight * narrow[index]!;
    }
  }
  const result = new Uint8Array(sums.length);
  for (let index = 0; index < sums.length; index++) result[index] = Math.floor(sums[index]! + 0.5);
  return result;
}
