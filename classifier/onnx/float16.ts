import {
  ATTRIBUTE_TYPE,
  ELEMENT_TYPES,
  FIELD,
  NodeMessage,
  TensorMessage,
  ValueInfoMessage,
} from './schema.ts';
import { rewriteMessage, wireField, wireFields } from './wire.ts';

/**
 * Puts casts before inputs and behind outputs of float16, so that float32 goes in and comes out: onnxruntime-node takes and
 * gives no float16 where JavaScript has such arrays (1.30 on Node.js 24). New names end in `_float32`; all else stays as it
 * was, and is computed as it was.
 * @returns the same bytes when there is none
 */
export function withoutFloat16(onnx: Uint8Array): Uint8Array {
  let found = false;
  const rewritten = rewriteMessage(onnx, ({ number, content: graph }) => {
    if (number !== FIELD.model.graph || !graph) return undefined;
    const constants = new Set<string>();
    for (const { number, content } of wireFields(graph)) {
      if (number === FIELD.graph.initializer && content) constants.add(nameOf(TensorMessage, content));
    }
    const before: Uint8Array[] = [];
    const behind: Uint8Array[] = [];
    const rest = rewriteMessage(graph, ({ number, content }) => {
      if (!content || (number !== FIELD.graph.input && number !== FIELD.graph.output)) return undefined;
      const name = nameOf(ValueInfoMessage, content);
      const cast = castValue(content, name);
      if (!cast || constants.has(name)) return undefined;
      const renamed = `${name}_float32`;
      if (number === FIELD.graph.input) before.push(...castNode(renamed, name, 'float16'));
      else behind.push(...castNode(name, renamed, 'float32'));
      return wireField(number, cast);
    });
    if (before.length + behind.length === 0) return undefined;
    found = true;
    // Nodes of a graph stand in an order in which every node's inputs exist before it.
    return wireField(FIELD.model.graph, Buffer.concat([...before, rest, ...behind]));
  });
  return found ? rewritten : onnx;
}

interface Value {
  name?: string;
  type?: { tensorType?: { elemType?: number } };
}

function nameOf(message: typeof TensorMessage, content: Uint8Array): string {
  return (message.toObject(message.decode(content), { longs: Number }) as Value).name ?? '';
}

/** The value as float32 under its new name; undefined where it is no float16. */
function castValue(content: Uint8Array, name: string): Uint8Array | undefined {
  const value = ValueInfoMessage.decode(content) as Value;
  if (value.type?.tensorType?.elemType !== ELEMENT_TYPES.float16) return undefined;
  value.type.tensorType.elemType = ELEMENT_TYPES.float32;
  value.name = `${name}_float32`;
  return ValueInfoMessage.encode(value).finish();
}

function castNode(from: string, to: string, type: 'float16' | 'float32'): Uint8Array[] {
  const attribute = [{ name: 'to', type: ATTRIBUTE_TYPE.int, i: ELEMENT_TYPES[type] }];
  const node = { opType: 'Cast', name: `Cast:${to}`, input: [from], output: [to], attribute };
  return wireField(FIELD.graph.node, NodeMessage.encode(node).finish());
}
