import type { DecodedNode, DecodedTensor } from './describe.ts';
import { ELEMENT_TYPES } from './schema.ts';

/** Names in the order of the model's outputs, as its file has them. */
export interface ClassNames {
  names: string[];
  /** Whether they are the numbers that the model was trained with, which may be class indexes. */
  numbers: boolean;
  /** Where they stand in the file. */
  from: string;
}

/** Keys of metadata_props under which exporters and people put class names. */
const KEYS = ['classes', 'class_names', 'names', 'labels', 'id2label', 'class_labels'];

/**
 * What a file calls its classes: in its metadata, or in what skl2onnx writes, the label attributes of classifiers (ZipMap,
 * LinearClassifier, TreeEnsembleClassifier …, see onnx/docs/Operators-ml.md) or the constant that labels are picked from.
 */
export function classNamesOf(
  metadata: Record<string, string>,
  nodes: DecodedNode[],
  initializers: DecodedTensor[],
): ClassNames | null {
  for (const key of KEYS) {
    const names = metadata[key] === undefined ? null : parseNames(metadata[key]);
    if (names) return { names, numbers: false, from: `its metadata “${key}”` };
  }
  for (const { domain, opType, attribute } of nodes) {
    if (domain !== 'ai.onnx.ml') continue;
    for (const { name, ints, strings } of attribute ?? []) {
      if (!name?.startsWith('classlabels')) continue;
      const names = strings?.length ? strings.map(text) : ints?.map(String);
      if (names?.length) return { names, numbers: !strings?.length, from: `its ${opType}’s ${name}` };
    }
  }
  for (const { domain, opType, input } of nodes) {
    if (domain !== 'ai.onnx.ml' || opType !== 'ArrayFeatureExtractor') continue;
    const constant = initializers.find(({ name }) => name === input?.[0]);
    const found = constant && constantNames(constant);
    // skl2onnx calls it so; other constants that something is picked from are no names.
    if (found && /^classes/.test(constant.name ?? '')) return { ...found, from: 'its constant “classes”' };
  }
  return null;
}

const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString('utf8');

function constantNames(tensor: DecodedTensor): Pick<ClassNames, 'names' | 'numbers'> | null {
  if (tensor.stringData?.length) return { names: tensor.stringData.map(text), numbers: false };
  if (tensor.int64Data?.length) return { names: tensor.int64Data.map(String), numbers: true };
  if (tensor.int32Data?.length) return { names: tensor.int32Data.map(String), numbers: true };
  const raw = tensor.rawData && Uint8Array.from(tensor.rawData).buffer;
  if (!raw?.byteLength) return null;
  if (tensor.dataType === ELEMENT_TYPES.int64 && raw.byteLength % 8 === 0)
    return { names: Array.from(new BigInt64Array(raw), String), numbers: true };
  if (tensor.dataType === ELEMENT_TYPES.int32 && raw.byteLength % 4 === 0)
    return { names: Array.from(new Int32Array(raw), String), numbers: true };
  return null;
}

/** `["a", "b"]`, `{"0": "a", "1": "b"}`, the same as Python prints it (`{0: 'a', 1: 'b'}`), or `a,b`. */
function parseNames(value: string): string[] | null {
  const trimmed = value.trim();
  const parsed = parseJson(trimmed) ?? parseJson(fromPython(trimmed));
  if (Array.isArray(parsed)) return parsed.length > 1 ? parsed.map(String) : null;
  if (parsed !== null && typeof parsed === 'object') {
    const entries = Object.entries(parsed);
    // {"a": 0, "b": 1} says the same the other way round (label2id).
    const swapped = entries.every(([, name]) => typeof name === 'number');
    const byIndex = new Map(
      entries.map(([key, name]) => (swapped ? [Number(name), key] : [Number(key), String(name)])),
    );
    const names = entries.map((_, index) => byIndex.get(index));
    return names.length > 1 && names.every((name) => name !== undefined) ? names : null;
  }
  const listed = trimmed.split(/[,\n]/).map((name) => name.trim());
  return listed.length > 1 && listed.every((name) => name !== '') ? listed : null;
}

function parseJson(value: string): unknown {
  try {
    return JSON.parse(value);
  } catch {
    return null;
  }
}

/** Keys that are numbers get quotes, single quotes become double ones. */
function fromPython(value: string): string {
  return value.replace(/([{,]\s*)(\d+)\s*:/g, '$1"$2":').replace(/'((?:[^'\\"]|\\.)*)'/g, '"$1"');
}
