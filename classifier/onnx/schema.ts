import protobuf from 'protobufjs/light.js';

/**
 * The part of the ONNX file format that imagehub reads and writes, as a protobuf descriptor.
 * Field numbers are those of onnx/onnx.proto3 in github.com/onnx/onnx (IR version 8); fields that are left
 * out are skipped on reading, so any ONNX file can be read, but what was read by it must not be written again: files of
 * others are changed field by field, see wire.ts.
 */
const DESCRIPTOR = {
  nested: {
    Attribute: {
      fields: {
        name: { type: 'string', id: 1 },
        f: { type: 'float', id: 2 },
        i: { type: 'int64', id: 3 },
        s: { type: 'bytes', id: 4 },
        floats: { rule: 'repeated', type: 'float', id: 7 },
        ints: { rule: 'repeated', type: 'int64', id: 8 },
        strings: { rule: 'repeated', type: 'bytes', id: 9 },
        type: { type: 'int32', id: 20 },
      },
    },
    Node: {
      fields: {
        input: { rule: 'repeated', type: 'string', id: 1 },
        output: { rule: 'repeated', type: 'string', id: 2 },
        name: { type: 'string', id: 3 },
        opType: { type: 'string', id: 4 },
        attribute: { rule: 'repeated', type: 'Attribute', id: 5 },
        domain: { type: 'string', id: 7 },
      },
    },
    Tensor: {
      fields: {
        dims: { rule: 'repeated', type: 'int64', id: 1 },
        dataType: { type: 'int32', id: 2 },
        int32Data: { rule: 'repeated', type: 'int32', id: 5 },
        stringData: { rule: 'repeated', type: 'bytes', id: 6 },
        int64Data: { rule: 'repeated', type: 'int64', id: 7 },
        name: { type: 'string', id: 8 },
        rawData: { type: 'bytes', id: 9 },
        externalData: { rule: 'repeated', type: 'Property', id: 13 },
        dataLocation: { type: 'int32', id: 14 },
      },
    },
    Dimension: { fields: { dimValue: { type: 'int64', id: 1 }, dimParam: { type: 'string', id: 2 } } },
    Shape: { fields: { dim: { rule: 'repeated', type: 'Dimension', id: 1 } } },
    TensorType: { fields: { elemType: { type: 'int32', id: 1 }, shape: { type: 'Shape', id: 2 } } },
    Type: { fields: { tensorType: { type: 'TensorType', id: 1 } } },
    ValueInfo: { fields: { name: { type: 'string', id: 1 }, type: { type: 'Type', id: 2 } } },
    Graph: {
      fields: {
        node: { rule: 'repeated', type: 'Node', id: 1 },
        name: { type: 'string', id: 2 },
        initializer: { rule: 'repeated', type: 'Tensor', id: 5 },
        input: { rule: 'repeated', type: 'ValueInfo', id: 11 },
        output: { rule: 'repeated', type: 'ValueInfo', id: 12 },
      },
    },
    OperatorSetId: { fields: { domain: { type: 'string', id: 1 }, version: { type: 'int64', id: 2 } } },
    Property: { fields: { key: { type: 'string', id: 1 }, value: { type: 'string', id: 2 } } },
    Model: {
      fields: {
        irVersion: { type: 'int64', id: 1 },
        producerName: { type: 'string', id: 2 },
        producerVersion: { type: 'string', id: 3 },
        graph: { type: 'Graph', id: 7 },
        opsetImport: { rule: 'repeated', type: 'OperatorSetId', id: 8 },
        metadataProps: { rule: 'repeated', type: 'Property', id: 14 },
      },
    },
  },
};

const root = protobuf.Root.fromJSON(DESCRIPTOR);

/** ModelProto, the root message of an ONNX file. */
export const ModelMessage = root.lookupType('Model');
export const NodeMessage = root.lookupType('Node');
export const TensorMessage = root.lookupType('Tensor');
export const ValueInfoMessage = root.lookupType('ValueInfo');

/** TensorProto.DataLocation: the elements lie in another file. */
export const EXTERNAL = 1;

/** Numbers of the fields that are rewritten in files as they came (see wire.ts). */
export const FIELD = {
  model: { graph: 7 },
  graph: { node: 1, initializer: 5, input: 11, output: 12, valueInfo: 13 },
  tensor: { rawData: 9, externalData: 13, dataLocation: 14 },
} as const;

/** AttributeProto.AttributeType: which field of an attribute is in use. */
export const ATTRIBUTE_TYPE = { float: 1, int: 2, floats: 6, ints: 7 } as const;

/** TensorProto.DataType by the names that onnxruntime's JavaScript API gives the element types. */
export const ELEMENT_TYPES = {
  float32: 1,
  uint8: 2,
  int8: 3,
  uint16: 4,
  int16: 5,
  int32: 6,
  int64: 7,
  string: 8,
  bool: 9,
  float16: 10,
  float64: 11,
  uint32: 12,
  uint64: 13,
} as const;

export type ElementType = keyof typeof ELEMENT_TYPES;
