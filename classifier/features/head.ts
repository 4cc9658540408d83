import type { StoredBackbone } from '../../sql/backbones.ts';
import { type Manifest, parseManifest } from '../manifest.ts';
import { attachHead, HEAD_PREFIX } from '../onnx/attach-head.ts';
import { GraphBuilder } from '../onnx/builder.ts';
import { parameterShapes } from '../train/graph.ts';
import { addForwardPass, type Parameters } from '../train/network.ts';
import { parseBackbone } from './backbone.ts';

/** The head's output within its own graph. */
const SCORES = 'scores';

/** Mean and standard deviation of every feature, over the images trained on. */
export interface Standard {
  mean: Float64Array;
  deviation: Float64Array;
}

/** @param rows the places of the images that count @param inputs [N, features] */
export function measureStandard(inputs: Float32Array, features: number, rows: Iterable<number>): Standard {
  const mean = new Float64Array(features);
  const deviation = new Float64Array(features);
  const counted = [...rows];
  for (const row of counted) {
    for (let k = 0; k < features; k++) mean[k]! += inputs[row * features + k]! / counted.length;
  }
  for (const row of counted) {
    for (let k = 0; k < features; k++) deviation[k]! += (inputs[row * features + k]! - mean[k]!) ** 2;
  }
  // A feature that is the same everywhere says nothing, and is not to be divided by 0.
  for (let k = 0; k < features; k++) deviation[k] = Math.sqrt(deviation[k]! / counted.length) || 1;
  return { mean, deviation };
}

/** Subtracts the mean and divides by the deviation, in place. @param inputs [N, features] */
export function standardise(inputs: Float32Array, { mean, deviation }: Standard): void {
  const features = mean.length;
  for (let at = 0; at < inputs.length; at++) {
    inputs[at] = (inputs[at]! - mean[at % features]!) / deviation[at % features]!;
  }
}

/** The same network for features as they come: standardising is in its first layer's weights and biases. */
export function withoutStandard({ sizes, layers }: Parameters, { mean, deviation }: Standard): Parameters {
  const [first, ...rest] = layers;
  const outputs = first!.bias.length;
  const weights = new Float32Array(first!.weights.length);
  const bias = Float64Array.from(first!.bias);
  for (let input = 0; input < mean.length; input++) {
    for (let output = 0; output < outputs; output++) {
      const at = input * outputs + output;
      const weight = first!.weights[at]! / deviation[input]!;
      weights[at] = weight;
      bias[output]! -= weight * mean[input]!;
    }
  }
  return { sizes, layers: [{ weights, bias: Float32Array.from(bias) }, ...rest] };
}

/**
 * A backbone and a network trained on its features as one ONNX model, with its manifest: images in, logits out.
 * @param parameters for features as the backbone gives them
 * @param classes in the order of the labels that were trained on
 * @throws HubError BAD_MODEL
 */
export function combine(
  backbone: Pick<StoredBackbone, 'name' | 'sha256' | 'manifest'>,
  onnx: Uint8Array,
  parameters: Parameters,
  classes: string[],
): { onnx: Uint8Array; manifest: Manifest } {
  const { input, output } = parseBackbone(backbone.manifest);
  const { sizes, layers } = parameters;
  const graph = new GraphBuilder('head');
  graph.input(output.name, 'float32', ['N', sizes[0]!]);
  const arrays = layers.flatMap(({ weights, bias }) => [weights, bias]);
  parameterShapes(sizes).forEach(({ name, dims }, index) => graph.tensor(name, dims, arrays[index]!));
  // Trailing dimensions of 1, and the float64 of some exporters, are no more behind these.
  const flat = graph.op('Flatten', [output.name], { axis: { int: 1 } });
  const features = graph.op('Cast', [flat], { to: { int: FLOAT } });
  const { logits } = addForwardPass(graph, features, layers.length);
  graph.op('Identity', [logits], {}, SCORES);
  graph.output(SCORES, 'float32', ['N', sizes.at(-1)!]);
  const manifest = parseManifest({
    input,
    output: { name: HEAD_PREFIX + SCORES, activation: 'softmax' },
    classes,
    backbone: { name: backbone.name, sha256: backbone.sha256, output: output.name },
  });
  return { onnx: attachHead(onnx, output.name, graph.encode()), manifest };
}

/** TensorProto.DataType FLOAT, as the `to` of a Cast. */
const FLOAT = 1;
