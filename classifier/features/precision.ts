import type { Precision } from '../../sql/backbones.ts';

const HIGHEST_FLOAT16 = 65_504;

/** Numbers as they are stored, little-endian (as typed arrays are wherever onnxruntime runs); too large ones become the largest. */
export function packVector(vector: Float32Array, precision: Precision): Uint8Array {
  if (precision === 'float32') return new Uint8Array(vector.buffer, vector.byteOffset, vector.byteLength);
  const packed = Float16Array.from(vector, (value) =>
    Math.min(HIGHEST_FLOAT16, Math.max(-HIGHEST_FLOAT16, value)),
  );
  return new Uint8Array(packed.buffer);
}

/** Writes what `packVector` made to `target` from `at` on. */
export function unpackVector(
  bytes: Uint8Array,
  precision: Precision,
  target: Float32Array,
  at: number,
): void {
  // A copy: views need their own alignment.
  const { buffer } = new Uint8Array(bytes);
  target.set(precision === 'float32' ? new Float32Array(buffer) : new Float16Array(buffer), at);
}

/** Of one number. */
export const bytesOf = (precision: Precision): number => (precision === 'float32' ? 4 : 2);
