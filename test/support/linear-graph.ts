import { GraphBuilder } from '../../classifier/onnx/builder.ts';
import type { ElementType } from '../../classifier/onnx/schema.ts';

/** How a graph of one linear layer is bent: 28 × 28 grey values in, scores of `classes` out. */
export interface LinearGraph {
  input?: { name?: string; elementType?: ElementType; shape?: (number | string)[] };
  classes?: number;
  /** Operators between the linear layer and the output, which is called `scores`. */
  end?: (graph: GraphBuilder, logits: string) => void;
  metadata?: Record<string, string>;
}

const PIXELS = 784;

/** An ONNX file whose shape is the point, not what it says. */
export function linearGraph({ input = {}, classes = 10, end, metadata }: LinearGraph = {}): Uint8Array {
  const graph = new GraphBuilder('linear');
  const { name = 'image', elementType = 'float32', shape = ['N', PIXELS] } = input;
  let x = graph.input(name, elementType, shape);
  if (elementType !== 'float32') x = graph.op('Cast', [x], { to: { int: 1 } });
  // Whatever its shape is declared as, 784 numbers belong to an image.
  const flat = graph.op('Reshape', [x, graph.tensor('flat', [2], BigInt64Array.of(-1n, BigInt(PIXELS)))]);
  const weights = Float32Array.from(
    { length: PIXELS * classes },
    (_, index) => ((index * 37) % 101) / 5000 - 0.01,
  );
  const logits = graph.op('MatMul', [flat, graph.tensor('weights', [PIXELS, classes], weights)]);
  if (end) end(graph, logits);
  else {
    graph.op('Softmax', [logits], { axis: { int: 1 } }, 'scores');
    graph.output('scores', 'float32', ['N', classes]);
  }
  return graph.encode(metadata);
}
