/** Weights with which source positions make one target position: `weights[k]` belongs to `first + k`. */
interface Tap {
  first: number;
  weights: Float64Array;
}

/**
 * Taps of an antialiased bilinear filter along one axis: a triangle as wide as one target pixel when shrinking, as
 * wide as one source pixel when enlarging; positions are pixel centres, weights sum to 1 (Pillow's and torchvision's
 * `antialias=True` rule).
 */
function taps(source: number, target: number): Tap[] {
  const scale = source / target;
  const reach = Math.max(scale, 1);
  return Array.from({ length: target }, (_, index) => {
    const centre = (index + 0.5) * scale;
    const first = Math.max(0, Math.floor(centre - reach + 0.5));
    const end = Math.min(source, Math.floor(centre + reach + 0.5));
    const weights = Float64Array.from({ length: end - first }, (_, k) =>
      Math.max(0, 1 - Math.abs(first + k + 0.5 - centre) / reach),
    );
    const total = weights.reduce((sum, weight) => sum + weight, 0);
    return { first, weights: weights.map((weight) => weight / total) };
  });
}

/**
 * Resizes interleaved 8-bit pixels, rows first in memory, without keeping the aspect ratio; rounds half up.
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
  const rows = taps(height, targetHeight);
  const stride = targetWidth * channels;
  const narrow = new Float32Array(height * stride);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < targetWidth; x++) {
      const { first, weights } = columns[x]!;
      for (let channel = 0; channel < channels; channel++) {
        let sum = 0;
        let from = (y * width + first) * channels + channel;
        for (let k = 0; k < weights.length; k++, from += channels) sum += weights[k]! * pixels[from]!;
        narrow[y * stride + x * channels + channel] = sum;
      }
    }
  }
  const result = new Uint8Array(targetHeight * stride);
  const row = new Float64Array(stride);
  for (let y = 0; y < targetHeight; y++) {
    const { first, weights } = rows[y]!;
    row.fill(0);
    for (let k = 0; k < weights.length; k++) {
      const weight = weights[k]!;
      const from = (first + k) * stride;
      for (let index = 0; index < stride; index++) row[index]! += weight * narrow[from + index]!;
    }
    for (let index = 0; index < stride; index++) result[y * stride + index] = Math.floor(row[index]! + 0.5);
  }
  return result;
}
