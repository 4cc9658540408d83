import { GraphBuilder } from '../../classifier/onnx/builder.ts';
import { mulberry32 } from '../../classifier/train/random.ts';
import { SIDE } from './digits.ts';

/** Numbers per image of `featureGraph`. */
export const FEATURES_OF_GRAPH = 64;

/** A network of grey digits with random weights: `features` behind a ReLU, and, behind those, `logits` of 1000 classes. */
export function featureGraph(seed: number): Uint8Array {
  const random = mulberry32(seed);
  const pixels = SIDE * SIDE;
  const graph = new GraphBuilder('backbone');
  const noise = (length: number, scale: number) =>
    Float32Array.from({ length }, () => (2 * random() - 1) * scale);
  graph.input('image', 'float32', ['N', 1, SIDE, SIDE]);
  graph.tensor('inner', [pixels, FEATURES_OF_GRAPH], noise(pixels * FEATURES_OF_GRAPH, 0.1));
  graph.tensor('outer', [FEATURES_OF_GRAPH, 1000], noise(FEATURES_OF_GRAPH * 1000, 0.1));
  const flat = graph.op('Flatten', ['image'], { axis: { int: 1 } });
  graph.op('Relu', [graph.op('MatMul', [flat, 'inner'])], {}, 'features');
  graph.op('MatMul', ['features', 'outer'], {}, 'logits');
  graph.output('features', 'float32', ['N', FEATURES_OF_GRAPH]);
  graph.output('logits', 'float32', ['N', 1000]);
  return graph.encode();
}
