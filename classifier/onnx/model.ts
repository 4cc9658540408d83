import { ATTRIBUTE_TYPE, ELEMENT_TYPES, ModelMessage } from './schema.ts';
import type { ElementType } from './schema.ts';

/** IR version 8 and opset 17 (both 2022): every onnxruntime from 1.12 on reads them. */
const IR_VERSION = 8;
const OPSET = 17;

/** A graph input or output; a string in the shape is a dimension left free, e.g. the batch. */
export interface ValueInfo {
  name: string;
  elementType: ElementType;
  shape: (number | string)[];
}

/** A constant of the graph; row-major. */
export interface Tensor {
  name: string;
  dims: number[];
  data: Float32Array | Int32Array | BigInt64Array | Uint8Array;
}

export type Attribute = { int: number } | { float: number } | { ints: number[] } | { floats: number[] };

/** One operator of the default domain, see onnx/docs/Operators.md. */
export interface Node {
  op: string;
  inputs: string[];
  outputs: string[];
  attributes: Record<string, Attribute>;
}

export interface Graph {
  name: string;
  inputs: ValueInfo[];
  outputs: ValueInfo[];
  initializers: Tensor[];
  /** In an order in which every node's inputs exist before it. */
  nodes: Node[];
}

/** The bytes of an ONNX file with this graph; `metadata` goes into its `metadata_props`. */
export function encodeModel(graph: Graph, metadata: Record<string, string> = {}): Uint8Array {
  return ModelMessage.encode({
    irVersion: IR_VERSION,
    producerName: 'imagehub',
    opsetImport: [{ domain: '', version: OPSET }],
    metadataProps: Object.entries(metadata).map(([key, value]) => ({ key, value })),
    graph: {
      name: graph.name,
      node: graph.nodes.map(encodeNode),
      initializer: graph.initializers.map(encodeTensor),
      input: graph.inputs.map(encodeValueInfo),
      output: graph.outputs.map(encodeValueInfo),
    },
  }).finish();
}

function encodeNode({ op, inputs, outputs, attributes }: Node): object {
  const attribute = Object.entries(attributes).map(([name, value]) => {
    if ('int' in value) return { name, type: ATTRIBUTE_TYPE.int, i: value.int };
    if ('float' in value) return { name, type: ATTRIBUTE_TYPE.float, f: value.float };
    if ('ints' in value) return { name, type: ATTRIBUTE_TYPE.ints, ints: value.ints };
    return { name, type: ATTRIBUTE_TYPE.floats, floats: value.floats };
  });
  // The first output is unique in the graph, so it names the node in onnxruntime's messages too.
  return { opType: op, name: `${op}:${outputs[0]}`, input: inputs, output: outputs, attribute };
}

/** `raw_data` holds the elements little-endian, as typed arrays do on every machine that onnxruntime runs on. */
function encodeTensor({ name, dims, data }: Tensor): object {
  const elements = dims.reduce((product, dim) => product * dim, 1);
  if (elements !== data.length) {
    throw new RangeError(
      `Tensor ${name} has ${data.length} elements, its dimensions ${dims.join('×')} say ${elements}.`,
    );
  }
  return {
    name,
    dims,
    dataType: ELEMENT_TYPES[elementTypeOf(data)],
    rawData: new Uint8Array(data.buffer, data.byteOffset, data.byteLength),
  };
}

function elementTypeOf(data: Tensor['data']): ElementType {
  if (data instanceof Float32Array) return 'float32';
  if (data instanceof Int32Array) return 'int32';
  return data instanceof BigInt64Array ? 'int64' : 'uint8';
}

function encodeValueInfo({ name, elementType, shape }: ValueInfo): object {
  const dim = shape.map((size) => (typeof size === 'number' ? { dimValue: size } : { dimParam: size }));
  return { name, type: { tensorType: { elemType: ELEMENT_TYPES[elementType], shape: { dim } } } };
}
