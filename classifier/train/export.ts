import { HubError } from '../../errors.ts';
import { inputSize, parseManifest } from '../manifest.ts';
import type { Manifest, Scaling } from '../manifest.ts';
import { GraphBuilder } from '../onnx/builder.ts';
import { parameterShapes } from './graph.ts';
import { addForwardPass } from './network.ts';
import type { Parameters } from './network.ts';

export interface NetworkInput {
  width: number;
  height: number;
  channels: 1 | 3;
  scaling: Scaling;
  /** Class names in the order of the labels that were trained on. */
  classes: string[];
  /** Grey behind transparent pixels; white unless said otherwise. */
  background?: number;
}

/** The manifest of a network trained here: flat pixels in, probabilities out. */
export function networkManifest({
  width,
  height,
  channels,
  scaling,
  classes,
  background,
}: NetworkInput): Manifest {
  const colour = channels === 1 ? 'grey' : 'rgb';
  return parseManifest({
    input: { name: 'pixels', layout: 'flat', width, height, channels, colour, scaling, background },
    output: { name: 'probabilities', activation: 'none' },
    classes,
  });
}

/**
 * The trained network as an ONNX model for inference, with the manifest's names: input [N, D] float32, output
 * [N, classes], probabilities for activation `none`, logits for `softmax`.
 * @throws HubError BAD_MODEL when the manifest describes another network.
 */
export function exportModel(parameters: Parameters, manifest: Manifest): Uint8Array {
  const { input, output, classes } = manifest;
  const { sizes, layers } = parameters;
  const [inputs, outputs] = [sizes[0]!, sizes.at(-1)!];
  if (input.layout !== 'flat' || input.elementType !== 'float32') {
    throw new HubError(
      'BAD_MODEL',
      `A trained network takes flat float32 pixels, not ${input.layout} ${input.elementType}.`,
    );
  }
  if (inputSize(input) !== inputs || classes.length !== outputs) {
    throw new HubError(
      'BAD_MODEL',
      `The network has ${inputs} inputs and ${outputs} classes, its manifest ${inputSize(input)} and ${classes.length}.`,
    );
  }
  const graph = new GraphBuilder('classifier');
  graph.input(input.name, 'float32', ['N', inputs]);
  const arrays = layers.flatMap(({ weights, bias }) => [weights, bias]);
  parameterShapes(sizes).forEach(({ name, dims }, index) => graph.tensor(name, dims, arrays[index]!));
  const { logits } = addForwardPass(graph, input.name, layers.length);
  if (output.activation === 'none') graph.op('Softmax', [logits], { axis: { int: 1 } }, output.name);
  else graph.op('Identity', [logits], {}, output.name);
  graph.output(output.name, 'float32', ['N', outputs]);
  return graph.encode();
}
