/**
 * Softmax of one row of logits, written to `target`; the largest logit is subtracted first, so that exp cannot
 * overflow. A row that holds NaN or +∞ comes out as NaN.
 */
export function softmaxRow(
  logits: ArrayLike<number>,
  offset: number,
  classes: number,
  target: Float32Array | Float64Array,
): void {
  let largest = -Infinity;
  for (let index = 0; index < classes; index++) {
    const logit = logits[offset + index]!;
    if (logit > largest) largest = logit;
  }
  let total = 0;
  for (let index = 0; index < classes; index++) {
    const value = Math.exp(logits[offset + index]! - largest);
    target[index] = value;
    total += value;
  }
  for (let index = 0; index < classes; index++) target[index]! /= total;
}
