import { encodeModel } from '../../classifier/onnx/model.ts';

/** A real ONNX model (784 inputs `x`, 10 probabilities `p`) that is sure of one class, whatever it sees. */
export function constantModel(always: number): Uint8Array {
  const bias = Float32Array.from({ length: 10 }, (_, index) => (index === always ? 20 : 0));
  return encodeModel({
    name: `always-${always}`,
    inputs: [{ name: 'x', elementType: 'float32', shape: ['batch', 784] }],
    outputs: [{ name: 'p', elementType: 'float32', shape: ['batch', 10] }],
    initializers: [
      { name: 'weights', dims: [784, 10], data: new Float32Array(7840) },
      { name: 'bias', dims: [10], data: bias },
    ],
    nodes: [
      { op: 'Gemm', inputs: ['x', 'weights', 'bias'], outputs: ['logits'], attributes: {} },
      { op: 'Softmax', inputs: ['logits'], outputs: ['p'], attributes: {} },
    ],
  });
}
