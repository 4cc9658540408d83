import type { GraphBuilder } from '../onnx/builder.ts';
import type { Random } from './random.ts';

/** One dense layer: weights [inputs, outputs] row-major, bias [outputs]. */
export interface Layer {
  weights: Float32Array;
  bias: Float32Array;
}

/** A multilayer perceptron: `sizes` from the input to the classes, `sizes.length − 1` layers. */
export interface Parameters {
  sizes: number[];
  layers: Layer[];
}

/**
 * Xavier (Glorot) initialisation: weights uniform in ±√(6 / (inputs + outputs)), biases 0.
 * Glorot and Bengio, Understanding the difficulty of training deep feedforward neural networks, 2010, formula 16.
 */
export function xavier(sizes: number[], random: Random): Parameters {
  const layers = sizes.slice(1).map((outputs, index) => {
    const inputs = sizes[index]!;
    const limit = Math.sqrt(6 / (inputs + outputs));
    return {
      weights: Float32Array.from({ length: inputs * outputs }, () => (2 * random() - 1) * limit),
      bias: new Float32Array(outputs),
    };
  });
  return { sizes, layers };
}

/** The names under which a layer's parameters enter a graph. */
export const weightsName = (layer: number): string => `weights_${layer}`;
export const biasName = (layer: number): string => `bias_${layer}`;

/** The values of a forward pass: what enters each layer, and the last layer's output. */
export interface ForwardPass {
  /** Input of layer l: [N, sizes[l]]; for l > 0 the ReLU of the layer before. */
  activations: string[];
  /** [N, classes], before softmax. */
  logits: string;
}

/** Adds dense layers with ReLU between them; training, evaluation and the exported model all use these nodes. */
export function addForwardPass(graph: GraphBuilder, input: string, layers: number): ForwardPass {
  const activations = [input];
  let value = input;
  for (let layer = 0; layer < layers; layer++) {
    value = graph.op('Gemm', [value, weightsName(layer), biasName(layer)]);
    if (layer < layers - 1) {
      value = graph.op('Relu', [value]);
      activations.push(value);
    }
  }
  return { activations, logits: value };
}
