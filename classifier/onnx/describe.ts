import { HubError, errorText } from '../../errors.ts';
import { classNamesOf, type ClassNames } from './class-names.ts';
import { ELEMENT_TYPES, EXTERNAL, ModelMessage } from './schema.ts';
import type { ElementType } from './schema.ts';

/** What an ONNX file says of itself. */
export interface ModelDescription {
  producer: string;
  producerVersion: string;
  irVersion: number;
  /** Version of the default operator set. */
  opset: number;
  /** All operator sets by domain, e.g. { '': 17, 'ai.onnx.ml': 3 }. */
  opsets: Record<string, number>;
  /** Inputs that must be fed: those with an initializer, which is their default, are left out. */
  inputs: DescribedValue[];
  outputs: DescribedOutput[];
  metadata: Record<string, string>;
  /** What the file calls its classes, if it does. */
  classNames: ClassNames | null;
  /** Files beside it that hold its weights. */
  externalFiles: string[];
}

/** `elementType` is undefined for what is not a tensor of a usual type (sequences, maps, bfloat16 …). */
export interface DescribedValue {
  name: string;
  elementType: ElementType | undefined;
  /** A string is a dimension left free; [] also where the file declares no shape. */
  shape: (number | string)[];
}

export interface DescribedOutput extends DescribedValue {
  /** The operator that computes it, e.g. Softmax; those that only change shape or type are looked through. */
  operator: string | undefined;
}

interface DecodedValue {
  name?: string;
  type?: {
    tensorType?: { elemType?: number; shape?: { dim?: { dimValue?: number; dimParam?: string }[] } };
  };
}

/** As protobufjs gives them: fields that are not set are left out. */
export interface DecodedNode {
  opType?: string;
  domain?: string;
  input?: string[];
  output?: string[];
  attribute?: { name?: string; type?: number; ints?: number[]; strings?: Uint8Array[] }[];
}

export interface DecodedTensor {
  name?: string;
  dataType?: number;
  int32Data?: number[];
  int64Data?: number[];
  stringData?: Uint8Array[];
  rawData?: Uint8Array;
  externalData?: { key?: string; value?: string }[];
  dataLocation?: number;
}

interface DecodedModel {
  irVersion?: number;
  producerName?: string;
  producerVersion?: string;
  opsetImport?: { domain?: string; version?: number }[];
  metadataProps?: { key?: string; value?: string }[];
  graph?: {
    node?: DecodedNode[];
    initializer?: DecodedTensor[];
    input?: DecodedValue[];
    output?: DecodedValue[];
  };
}

/**
 * Reads what an ONNX file says of itself without building a session: what a manifest is drafted from.
 * @throws HubError BAD_MODEL when the bytes are no ONNX file.
 */
export function describeModel(onnx: Uint8Array): ModelDescription {
  let model: DecodedModel;
  try {
    model = ModelMessage.toObject(ModelMessage.decode(onnx), { longs: Number });
  } catch (cause) {
    throw notOnnx(errorText(cause), cause);
  }
  const graph = model.graph;
  if (!graph?.output?.length) throw notOnnx('it holds no graph with outputs');
  const initializers = graph.initializer ?? [];
  const nodes = graph.node ?? [];
  const defaults = new Set(initializers.map((tensor) => tensor.name));
  const producers = new Map(
    nodes.flatMap((node) => (node.output ?? []).map((name) => [name, node] as const)),
  );
  const metadata = Object.fromEntries(
    (model.metadataProps ?? []).map(({ key, value }) => [key ?? '', value ?? '']),
  );
  const opsets = Object.fromEntries(
    (model.opsetImport ?? []).map(({ domain, version }) => [
      domain === 'ai.onnx' ? '' : (domain ?? ''),
      version ?? 0,
    ]),
  );
  return {
    producer: model.producerName ?? '',
    producerVersion: model.producerVersion ?? '',
    irVersion: model.irVersion ?? 0,
    opset: opsets[''] ?? 0,
    opsets,
    inputs: (graph.input ?? []).filter(({ name }) => !defaults.has(name)).map(describeValue),
    outputs: graph.output.map((value) => ({
      ...describeValue(value),
      operator: operatorOf(value.name ?? '', producers),
    })),
    metadata,
    classNames: classNamesOf(metadata, nodes, initializers),
    externalFiles: [...new Set(initializers.flatMap((tensor) => externalFile(tensor) ?? []))],
  };
}

function notOnnx(reason: string, cause?: unknown): HubError {
  return new HubError('BAD_MODEL', `Not an ONNX file: ${reason}.`, {
    cause,
    hint: 'Export the model to ONNX first: torch.onnx.export, tf2onnx or skl2onnx.',
  });
}

function describeValue({ name, type }: DecodedValue): DescribedValue {
  const tensor = type?.tensorType;
  const known = Object.entries(ELEMENT_TYPES).find(([, number]) => number === tensor?.elemType);
  return {
    name: name ?? '',
    elementType: known?.[0] as ElementType | undefined,
    shape: (tensor?.shape?.dim ?? []).map(({ dimValue, dimParam }) => dimParam || dimValue || '?'),
  };
}

function externalFile({ dataLocation, externalData }: DecodedTensor): string | undefined {
  if (dataLocation !== EXTERNAL) return undefined;
  return externalData?.find(({ key }) => key === 'location')?.value ?? '';
}

/** Operators that hand their first input on, in another shape or type. */
const SAME_NUMBERS = new Set(['Identity', 'Cast', 'Reshape', 'Flatten', 'Squeeze', 'Unsqueeze', 'ZipMap']);

function operatorOf(value: string, producers: Map<string, DecodedNode>): string | undefined {
  // A file may hold a circle, which onnxruntime refuses later.
  for (let steps = 0; steps < 100; steps++) {
    const node = producers.get(value);
    if (!node || !SAME_NUMBERS.has(node.opType ?? '')) return node?.opType;
    value = node.input?.[0] ?? '';
  }
  return undefined;
}
