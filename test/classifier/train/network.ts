import { mulberry32 } from '../../../classifier/train/random.ts';
import { xavier } from '../../../classifier/train/network.ts';
import type { Parameters } from '../../../classifier/train/network.ts';

/** A network small enough to do by hand, with biases that are not 0. */
export function tinyNetwork(sizes: number[], seed = 7): Parameters {
  const random = mulberry32(seed);
  const network = xavier(sizes, random);
  for (const { bias } of network.layers) bias.forEach((_, index) => (bias[index] = random() - 0.5));
  return network;
}

/** Logits of one input, written out in double precision: the independent reference for the graphs. */
export function forward({ sizes, layers }: Parameters, input: ArrayLike<number>): number[] {
  let values = Array.from(input);
  layers.forEach(({ weights, bias }, layer) => {
    const outputs = sizes[layer + 1]!;
    const sums = Array.from(bias, (start, output) =>
      values.reduce((sum, value, index) => sum + value * weights[index * outputs + output]!, start),
    );
    values = layer < layers.length - 1 ? sums.map((sum) => Math.max(0, sum)) : sums;
  });
  return values;
}

export function softmax(logits: number[]): number[] {
  const exponentials = logits.map((logit) => Math.exp(logit - Math.max(...logits)));
  const total = exponentials.reduce((sum, value) => sum + value, 0);
  return exponentials.map((value) => value / total);
}

/** Mean cross-entropy + l2 / 2 · Σ weights². */
export function loss(network: Parameters, inputs: number[][], labels: number[], l2: number): number {
  const entropy = inputs.reduce(
    (sum, input, sample) => sum - Math.log(softmax(forward(network, input))[labels[sample]!]!),
    0,
  );
  const squares = network.layers.reduce(
    (sum, { weights }) => sum + weights.reduce((total, weight) => total + weight * weight, 0),
    0,
  );
  return entropy / inputs.length + (l2 / 2) * squares;
}

/** Every parameter in the order weights, bias, layer by layer. */
export const arrays = ({ layers }: Parameters): Float32Array[] =>
  layers.flatMap(({ weights, bias }) => [weights, bias]);
