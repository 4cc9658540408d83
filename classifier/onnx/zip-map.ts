import type { DecodedNode } from './describe.ts';
import { ELEMENT_TYPES, FIELD, NodeMessage, ValueInfoMessage } from './schema.ts';
import { rewriteMessage, wireField, wireFields } from './wire.ts';

/**
 * Removes the ZipMap nodes that skl2onnx lays at the end of a classifier by default: they turn the tensor of probabilities
 * into a list of dictionaries, which onnxruntime does not give to JavaScript. The tensor becomes the output instead. All
 * else stays as it was.
 * @returns the same bytes when there is none
 */
export function withoutZipMap(onnx: Uint8Array): Uint8Array {
  const zipped = new Map<string, string>();
  for (const { number, content: graph } of wireFields(onnx)) {
    if (number !== FIELD.model.graph || !graph) continue;
    for (const field of wireFields(graph)) {
      const node = field.number === FIELD.graph.node && field.content && zipMap(field.content);
      if (node) zipped.set(node.output?.[0] ?? '', node.input?.[0] ?? '');
    }
  }
  if (zipped.size === 0) return onnx;
  return rewriteMessage(onnx, ({ number, content: graph }) => {
    if (number !== FIELD.model.graph || !graph) return undefined;
    const rewritten = rewriteMessage(graph, ({ number, content }) => {
      if (!content) return undefined;
      if (number === FIELD.graph.node && zipMap(content)) return [];
      if (number !== FIELD.graph.output) return undefined;
      const { name } = ValueInfoMessage.toObject(ValueInfoMessage.decode(content)) as { name?: string };
      const tensor = zipped.get(name ?? '');
      if (tensor === undefined) return undefined;
      const dim = [{ dimParam: 'N' }, { dimParam: 'classes' }];
      const type = { tensorType: { elemType: ELEMENT_TYPES.float32, shape: { dim } } };
      return wireField(FIELD.graph.output, ValueInfoMessage.encode({ name: tensor, type }).finish());
    });
    return wireField(FIELD.model.graph, rewritten);
  });
}

function zipMap(content: Uint8Array): DecodedNode | undefined {
  const node = NodeMessage.toObject(NodeMessage.decode(content), { longs: Number }) as DecodedNode;
  return node.opType === 'ZipMap' && node.domain === 'ai.onnx.ml' ? node : undefined;
}
