import { type Manifest, parseManifest } from '../../classifier/manifest.ts';
import { encodeModel } from '../../classifier/onnx/model.ts';
import { mulberry32 } from '../../classifier/train/random.ts';
import { SIDE } from './digits.ts';
import { TEN } from './pipeline.ts';

const PIXELS = SIDE * SIDE;
/**
 * Weights are whole numbers of at most this, by 2⁻¹⁶, and pixels whole numbers up to 255: every sum of them is exact in
 * float32 (784 × 255 × 64 < 2²⁴), so scores are the same bits in whatever order and company an image is computed.
 */
const LARGEST_WEIGHT = 64;
const WEIGHT_UNIT = 2 ** -16;

/**
 * A real ONNX model whose answer differs from image to image: one linear layer on all grey values, and softmax. Another
 * seed gives another model. Its predictions can be compared for equality, see above.
 */
export function linearModel(seed: number): Uint8Array {
  const random = mulberry32(seed);
  const weights = Float32Array.from(
    { length: PIXELS * TEN.length },
    () => Math.round((random() * 2 - 1) * LARGEST_WEIGHT) * WEIGHT_UNIT,
  );
  return encodeModel({
    name: `linear-${seed}`,
    inputs: [{ name: 'x', elementType: 'float32', shape: ['batch', PIXELS] }],
    outputs: [{ name: 'p', elementType: 'float32', shape: ['batch', TEN.length] }],
    initializers: [{ name: 'weights', dims: [PIXELS, TEN.length], data: weights }],
    nodes: [
      { op: 'MatMul', inputs: ['x', 'weights'], outputs: ['logits'], attributes: {} },
      { op: 'Softmax', inputs: ['logits'], outputs: ['p'], attributes: {} },
    ],
  });
}

export const LINEAR_MANIFEST: Manifest = parseManifest({
  input: {
    name: 'x',
    layout: 'flat',
    width: SIDE,
    height: SIDE,
    channels: 1,
    colour: 'grey',
    scaling: { kind: 'none' },
  },
  output: { name: 'p', activation: 'none' },
  classes: TEN,
});
