import type { InferenceSession, OnnxValue } from 'onnxruntime-node';
import { HubError } from '../errors.ts';
import { inputShape, inputSize, outputSize } from './manifest.ts';
import type { Manifest, ManifestInput } from './manifest.ts';

type ValueMetadata = InferenceSession.ValueMetadata;

/** Scores may come in either; they are read as numbers. */
const SCORE_TYPES: readonly string[] = ['float32', 'float64'];
/** Numbers of a whole batch that a model with a fixed batch may ask for (1 GiB as float32). */
const MOST_IN_FIXED_BATCH = 2 ** 28;

/**
 * Dataset class index by model class index: classes are matched by name, a model may know fewer than the dataset.
 * @throws HubError BAD_MODEL that names the classes the dataset does not have.
 */
export function mapClasses({ classes }: Manifest, datasetClasses: string[]): Int32Array {
  const unknown = classes.filter((name) => !datasetClasses.includes(name));
  if (unknown.length > 0) {
    throw new HubError(
      'BAD_MODEL',
      `The model knows classes that the dataset does not have: ${unknown.join(', ')}. The dataset has ${datasetClasses.join(', ')}.`,
      { hint: 'Correct the names under "classes" in the manifest, or add the classes to the dataset.' },
    );
  }
  return Int32Array.from(classes, (name) => datasetClasses.indexOf(name));
}

/**
 * Compares what the model declares with its manifest.
 * @returns the batch size when the model takes only one, undefined when it is free
 * @throws HubError BAD_MODEL with every difference.
 */
export function checkSignature(session: InferenceSession, manifest: Manifest): number | undefined {
  const { input, output } = manifest;
  const problems = inputProblems(session, input);
  const declaredOutput = session.outputMetadata.find(({ name }) => name === output.name);
  if (!declaredOutput) {
    problems.push(
      `it has no output "${output.name}"; its outputs are ${session.outputMetadata.map(describe).join(', ')}`,
    );
  } else if (!scoresFit(declaredOutput, manifest)) {
    problems.push(
      `its output is ${describe(declaredOutput)}, the manifest says "${output.name}" ${scoresText('N', manifest)}`,
    );
  }
  if (problems.length > 0) throw mismatch(problems);
  return fixedBatch(session, input);
}

/** The same of the input alone. */
export function checkInput(session: InferenceSession, input: ManifestInput): number | undefined {
  const problems = inputProblems(session, input);
  if (problems.length > 0) throw mismatch(problems);
  return fixedBatch(session, input);
}

function inputProblems(session: InferenceSession, input: ManifestInput): string[] {
  const problems: string[] = [];
  const declared = session.inputMetadata.find(({ name }) => name === input.name);
  const others = session.inputNames.filter((name) => name !== input.name);
  if (!declared) {
    return [
      `it has no input "${input.name}"; its inputs are ${session.inputMetadata.map(describe).join(', ')}`,
    ];
  }
  if (others.length > 0)
    problems.push(`it needs further inputs, which a classifier of images has not: ${others.join(', ')}`);
  const expected = {
    name: input.name,
    isTensor: true,
    type: input.elementType,
    shape: ['N', ...inputShape(input, 1).slice(1)],
  } as const;
  if (!fits(declared, expected)) {
    problems.push(`its input is ${describe(declared)}, the manifest says ${describe(expected)}`);
  }
  return problems;
}

/**
 * @returns the batch size when the model takes only one, undefined when it is free
 * @throws HubError BAD_MODEL when no memory should be asked for so large a batch
 */
export function fixedBatch(session: InferenceSession, input: ManifestInput): number | undefined {
  const declared = session.inputMetadata.find(({ name }) => name === input.name);
  const batch = declared?.isTensor ? declared.shape[0] : undefined;
  if (typeof batch !== 'number') return undefined;
  if (batch * inputSize(input) > MOST_IN_FIXED_BATCH) {
    throw new HubError(
      'BAD_MODEL',
      `The model takes batches of ${batch} images, too many for its image size.`,
      {
        hint: 'Export it with a free or a smaller batch.',
      },
    );
  }
  return batch;
}

/**
 * Compares what the model really gave for a batch with its manifest; trailing dimensions of 1 are no difference.
 * @throws HubError BAD_MODEL
 */
export function checkOutput(value: OnnxValue, batch: number, manifest: Manifest): void {
  const [rows, ...rest] = value.dims;
  const columns = outputSize(manifest);
  const shaped =
    columns === 1
      ? rest.every((dim) => dim === 1)
      : rest[0] === columns && rest.slice(1).every((dim) => dim === 1);
  if (SCORE_TYPES.includes(value.type) && rows === batch && shaped) return;
  throw mismatch([
    `for ${batch} images its output "${manifest.output.name}" was ${value.type} [${value.dims.join(', ')}], the manifest says ${scoresText(batch, manifest)}`,
  ]);
}

/** The output that a manifest promises: `float32 [N, 10]`, or `float32 [N, 1]` where one number says it. */
function scoresText(batch: number | string, manifest: Manifest): string {
  return `float32 [${batch}, ${outputSize(manifest)}]`;
}

function scoresFit(declared: ValueMetadata, manifest: Manifest): boolean {
  if (!declared.isTensor || !SCORE_TYPES.includes(declared.type)) return false;
  const columns = outputSize(manifest);
  if (columns === 1 && declared.shape.length === 1) return true;
  return fits(declared, { ...declared, shape: ['N', columns] });
}

function mismatch(problems: string[]): HubError {
  return new HubError('BAD_MODEL', `The model does not fit its manifest: ${problems.join('; ')}.`, {
    hint: 'Correct the manifest, or export the model with the input and output that the manifest names.',
  });
}

/** Free dimensions fit anything; a first dimension that is fixed is the batch; trailing 1s of the output are allowed. */
function fits(declared: ValueMetadata, expected: ValueMetadata): boolean {
  if (!declared.isTensor || !expected.isTensor || declared.type !== expected.type) return false;
  // Some exporters declare no shape at all; the first run shows it.
  if (declared.shape.length === 0) return true;
  const [, ...dims] = declared.shape;
  const [, ...wanted] = expected.shape;
  while (dims.length > wanted.length && dims.at(-1) === 1) dims.pop();
  return (
    dims.length === wanted.length &&
    dims.every((dim, index) => typeof dim !== 'number' || dim === wanted[index])
  );
}

function describe(value: ValueMetadata): string {
  if (!value.isTensor) return `"${value.name}" (not a tensor)`;
  return `"${value.name}" ${value.type} [${value.shape.map((dim) => dim || '?').join(', ')}]`;
}
