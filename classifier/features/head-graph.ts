import { GraphBuilder } from '../onnx/builder.ts';
import { parameterShapes } from '../train/graph.ts';
import { addForwardPass, type Parameters } from '../train/network.ts';

/** The head's output within its own graph. */
export const SCORES = 'scores';
/** TensorProto.DataType FLOAT, as the `to` of a Cast. */
const FLOAT = 1;

/**
 * A network for a backbone's features as an ONNX graph of its own: features in, logits out.
 * @param features the backbone's output @param parameters for features as the backbone gives them
 */
export function headGraph(features: string, { sizes, layers }: Parameters): Uint8Array {
  const graph = new GraphBuilder('head');
  graph.input(features, 'float32', ['N', sizes[0]!]);
  const arrays = layers.flatMap(({ weights, bias }) => [weights, bias]);
  parameterShapes(sizes).forEach(({ name, dims }, index) => graph.tensor(name, dims, arrays[index]!));
  // Trailing dimensions of 1, and the float64 of some exporters, are no more behind these.
  const flat = graph.op('Flatten', [features], { axis: { int: 1 } });
  const inputs = graph.op('Cast', [flat], { to: { int: FLOAT } });
  const { logits } = addForwardPass(graph, inputs, layers.length);
  graph.op('Identity', [logits], {}, SCORES);
  graph.output(SCORES, 'float32', ['N', sizes.at(-1)!]);
  return graph.encode();
}
