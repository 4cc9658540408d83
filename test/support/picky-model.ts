import { encodeModel } from '../../classifier/onnx/model.ts';

/**
 * A real ONNX model (784 inputs `x`, 10 probabilities `p`, for LINEAR_MANIFEST) that says 0.1 of every class, and fails on
 * images whose first pixel is black: it divides by it.
 */
export function pickyModel(): Uint8Array {
  // Of all pixels only the first one counts. A black one gives 0 / 0, not a number.
  const weights = Float32Array.from({ length: 7840 }, (_, index) => (index < 10 ? 1 : 0));
  return encodeModel({
    name: 'picky',
    inputs: [{ name: 'x', elementType: 'float32', shape: ['batch', 784] }],
    outputs: [{ name: 'p', elementType: 'float32', shape: ['batch', 10] }],
    initializers: [{ name: 'weights', dims: [784, 10], data: weights }],
    nodes: [
      { op: 'MatMul', inputs: ['x', 'weights'], outputs: ['first'], attributes: {} },
      { op: 'Div', inputs: ['first', 'first'], outputs: ['ones'], attributes: {} },
      { op: 'Softmax', inputs: ['ones'], outputs: ['p'], attributes: {} },
    ],
  });
}
