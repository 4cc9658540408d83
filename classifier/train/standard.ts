import type { Parameters } from './network.ts';

/** Of every input, over the samples trained on: its mean, and 1 / its standard deviation, as multiplying is faster. */
export interface Standard {
  mean: Float64Array;
  factor: Float64Array;
}

/** @param rows the places of the samples that count @param inputs [N, width] */
export function measureStandard(inputs: Float32Array, width: number, rows: Iterable<number>): Standard {
  const mean = new Float64Array(width);
  const factor = new Float64Array(width);
  const counted = [...rows];
  for (const row of counted) {
    for (let k = 0; k < width; k++) mean[k]! += inputs[row * width + k]! / counted.length;
  }
  for (const row of counted) {
    for (let k = 0; k < width; k++) factor[k]! += (inputs[row * width + k]! - mean[k]!) ** 2;
  }
  // An input that is the same everywhere says nothing, and is not to be divided by 0.
  for (let k = 0; k < width; k++) factor[k] = 1 / (Math.sqrt(factor[k]! / counted.length) || 1);
  return { mean, factor };
}

/** Subtracts the mean and divides by the deviation. @param from the sample's first input @param to its place in `x` */
export function standardise(
  inputs: Float32Array,
  from: number,
  x: Float32Array,
  to: number,
  { mean, factor }: Standard,
): void {
  for (let k = 0; k < mean.length; k++) x[to + k] = (inputs[from + k]! - mean[k]!) * factor[k]!;
}

/** The same network for inputs as they come: standardising is in its first layer's weights and biases. */
export function withoutStandard({ sizes, layers }: Parameters, { mean, factor }: Standard): Parameters {
  const [first, ...rest] = layers;
  const outputs = first!.bias.length;
  const weights = new Float32Array(first!.weights.length);
  const bias = Float64Array.from(first!.bias);
  for (let input = 0; input < mean.length; input++) {
    for (let output = 0; output < outputs; output++) {
      const at = input * outputs + output;
      const weight = first!.weights[at]! * factor[input]!;
      weights[at] = weight;
      bias[output]! -= weight * mean[input]!;
    }
  }
  return { sizes, layers: [{ weights, bias: Float32Array.from(bias) }, ...rest] };
}
