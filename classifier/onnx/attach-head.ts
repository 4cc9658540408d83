import { HubError } from '../../errors.ts';
import type { DecodedNode, DecodedTensor } from './describe.ts';
import { FIELD, ModelMessage, NodeMessage, TensorMessage, ValueInfoMessage } from './schema.ts';
import { rewriteMessage, wireField, wireFields } from './wire.ts';

/** Before every name of a head's values in the network it is attached to: no exporter uses it. */
export const HEAD_PREFIX = 'imagehub_head/';

/** AttributeProto.AttributeType: a graph within a node, whose inputs a list of the node's own does not show. */
const SUBGRAPHS = new Set([5, 10]);

interface DecodedHead {
  graph: { node: DecodedNode[]; initializer: DecodedTensor[]; output: { name: string }[] };
}

/**
 * Lays a small graph behind a value of a network: one ONNX model with the network's input, whose outputs are the value and
 * what the head gives (under HEAD_PREFIX). Nodes and weights of the network that the value does not need are left out.
 * @param value computed by the network
 * @param head made by `GraphBuilder`, with one input called `value`
 * @throws HubError BAD_MODEL
 */
export function attachHead(onnx: Uint8Array, value: string, head: Uint8Array): Uint8Array<ArrayBuffer> {
  const { graph: added } = ModelMessage.toObject(ModelMessage.decode(head), {
    arrays: true,
  }) as DecodedHead;
  const renamed = (name: string) => (name === value ? name : HEAD_PREFIX + name);
  let attached = false;
  const model = rewriteMessage(onnx, ({ number, content: graph }) => {
    if (number !== FIELD.model.graph || !graph) return undefined;
    const { nodes, initializers } = needed(graph, value);
    const kept = rewriteMessage(graph, ({ number, content }) => {
      if (number === FIELD.graph.node && !nodes.has(content!)) return [];
      if (number === FIELD.graph.initializer && !initializers(content!)) return [];
      if (number !== FIELD.graph.output) return undefined;
      const { name } = ValueInfoMessage.toObject(ValueInfoMessage.decode(content!)) as { name?: string };
      attached ||= name === value;
      return name === value ? undefined : [];
    });
    const fields = [
      ...added.node.map((node) => {
        const own = {
          ...node,
          name: undefined,
          input: (node.input ?? []).map(renamed),
          output: (node.output ?? []).map(renamed),
        };
        return wireField(FIELD.graph.node, NodeMessage.encode(own).finish());
      }),
      ...added.initializer.map((tensor) =>
        wireField(
          FIELD.graph.initializer,
          TensorMessage.encode({ ...tensor, name: renamed(tensor.name ?? '') }).finish(),
        ),
      ),
      ...added.output.map((output) =>
        wireField(
          FIELD.graph.output,
          ValueInfoMessage.encode({ ...output, name: renamed(output.name) }).finish(),
        ),
      ),
    ];
    return wireField(FIELD.model.graph, Buffer.concat([kept, ...fields.flat()]));
  });
  if (attached) return model;
  throw new HubError('BAD_MODEL', `The network has no output “${value}” to lay a head behind.`);
}

/**
 * The head alone of what `attachHead` made: the value in, what the head gives out.
 * @throws HubError BAD_MODEL when the model has no head behind that value
 */
export function detachHead(onnx: Uint8Array, value: string): Uint8Array<ArrayBuffer> {
  const isOwn = (name: string | undefined) => name?.startsWith(HEAD_PREFIX) ?? false;
  let found = false;
  const head = rewriteMessage(onnx, ({ number, content: graph }) => {
    if (number !== FIELD.model.graph || !graph) return undefined;
    const rewritten = rewriteMessage(graph, ({ number, content }) => {
      switch (number) {
        case FIELD.graph.node: {
          const { output } = NodeMessage.toObject(NodeMessage.decode(content!)) as DecodedNode;
          return isOwn(output?.[0]) ? undefined : [];
        }
        case FIELD.graph.initializer: {
          const { name } = TensorMessage.toObject(TensorMessage.decode(content!)) as DecodedTensor;
          return isOwn(name) ? undefined : [];
        }
        case FIELD.graph.input:
        case FIELD.graph.valueInfo:
          return [];
        case FIELD.graph.output: {
          const { name } = ValueInfoMessage.toObject(ValueInfoMessage.decode(content!)) as { name?: string };
          if (name !== value) return isOwn(name) ? undefined : [];
          found = true;
          return wireField(FIELD.graph.input, content!);
        }
        default:
          return undefined;
      }
    });
    return wireField(FIELD.model.graph, rewritten);
  });
  if (found) return head;
  throw new HubError('BAD_MODEL', `The model has no head behind a value “${value}”.`);
}

/** What of a graph, whose nodes stand in the order of their computing, is needed for a value. */
function needed(graph: Uint8Array, value: string) {
  const contents = [...wireFields(graph)].filter(({ number }) => number === FIELD.graph.node);
  const all = contents.map(({ content }) => ({
    content: content!,
    node: NodeMessage.toObject(NodeMessage.decode(content!)) as DecodedNode,
  }));
  const nested = all.some(({ node }) => node.attribute?.some(({ type }) => SUBGRAPHS.has(type ?? 0)));
  const values = new Set([value]);
  const offsets = new Set<number>();
  for (const { content, node } of all.toReversed()) {
    if (!nested && !node.output?.some((name) => values.has(name))) continue;
    offsets.add(content.byteOffset);
    for (const name of node.input ?? []) values.add(name);
  }
  return {
    // By their place in the file: each reading makes other views of it.
    nodes: { has: (content: Uint8Array) => offsets.has(content.byteOffset) },
    initializers: (content: Uint8Array) => {
      const { name } = TensorMessage.toObject(TensorMessage.decode(content)) as DecodedTensor;
      return nested || values.has(name ?? '');
    },
  };
}
