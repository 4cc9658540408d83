import { HubError } from '../../errors.ts';
import type { Manifest } from '../manifest.ts';
import type { DescribedValue, ModelDescription } from '../onnx/describe.ts';
import type { GivenManifest } from './given.ts';

type Nullable<T> = { [K in keyof T]: T[K] | null };

/** A manifest as far as it is known; null is what is not. */
export interface Draft {
  input: Nullable<Manifest['input']>;
  output: Nullable<Manifest['output']>;
  classes: string[] | null;
}

/** A field that neither the file, nor the dataset, nor the user said. */
export interface Missing {
  field: string;
  why: string;
  /** The options that would say it. */
  option: string;
}

/** What the dataset tells about its models. */
export interface DatasetFacts {
  /** Class names in index order. */
  classes: string[];
  /** Grey value behind transparent images. */
  background: number;
  /** Of the stored images, where all that were looked at have the same. */
  size: { width: number; height: number } | null;
}

/** Handed from step to step while a manifest is drafted. */
export interface DraftContext {
  given: GivenManifest;
  facts: DatasetFacts;
  missing: Missing[];
  /** What was assumed, in words; each may be wrong. */
  notes: string[];
}

/** What a model gave for some images. */
export interface Probed {
  /** Numbers per image. */
  columns: number;
  /** Every row is of probabilities: none negative, together 1. */
  sumToOne: boolean;
  /** Every number lies in 0…1. */
  fractions: boolean;
}

/** Which output holds the scores. @throws HubError BAD_MODEL when none can */
export function draftOutputName(
  { outputs }: ModelDescription,
  { given, facts, missing }: DraftContext,
): string | null {
  const all = outputs.map(asWritten).join(', ');
  const asked = given.output?.name;
  if (asked) {
    if (outputs.some(({ name }) => name === asked)) return asked;
    throw new HubError('BAD_MODEL', `The model has no output “${asked}”; it has ${all}.`);
  }
  const possible = outputs.filter(mayBeScores);
  if (possible.length === 0) {
    throw new HubError('BAD_MODEL', `The model gives no scores: its outputs are ${all}.`, {
      hint: 'A class needs a score, [N, classes] of float32. Export probabilities beside the labels; with skl2onnx: options={"zipmap": False}.',
    });
  }
  if (possible.length === 1) return possible[0]!.name;
  const classes = given.classes?.length ?? facts.classes.length;
  const fitting = possible.filter(({ shape }) => shape[1] === classes);
  if (fitting.length === 1) return fitting[0]!.name;
  missing.push({
    field: 'output.name',
    why: `it has several outputs that may hold scores: ${possible.map(asWritten).join(', ')}`,
    option: '--output NAME',
  });
  return null;
}

function mayBeScores({ elementType, shape }: DescribedValue): boolean {
  if (elementType !== 'float32' && elementType !== 'float64') return false;
  return shape.length <= 2 || shape.slice(2).every((dimension) => dimension === 1);
}

/** What must be done to the output to get probabilities. @throws HubError BAD_MODEL when nothing does */
export function draftActivation(
  description: ModelDescription,
  output: string,
  { columns, sumToOne, fractions }: Probed,
  { given, notes }: DraftContext,
): Manifest['output']['activation'] {
  if (given.output?.activation) return given.output.activation;
  const operator = description.outputs.find(({ name }) => name === output)?.operator;
  if (columns === 1) {
    const probability = fractions && operator !== undefined && !LINEAR.has(operator);
    notes.push(
      probability
        ? 'its one number per image is taken for the probability of the second class (else --activation sigmoid)'
        : 'its one number per image is taken for the logit of the second class (else --activation binary)',
    );
    return probability ? 'binary' : 'sigmoid';
  }
  if (sumToOne) return 'none';
  if (operator === 'Softmax' || operator === 'Sigmoid') {
    throw new HubError(
      'BAD_MODEL',
      `The model ends in ${operator}, but its scores of an image do not add up to 1.`,
      {
        hint:
          operator === 'Softmax'
            ? 'Its softmax goes over another dimension than the classes: correct it and export the model again.'
            : 'Classes that do not exclude each other cannot be stored. If they do in truth, say --activation softmax after removing the sigmoid from the model.',
      },
    );
  }
  notes.push(
    `its scores of an image do not add up to 1${operator ? ` (the last operator is ${operator})` : ''}: softmax is applied to them`,
  );
  return 'softmax';
}

/** What ends in these gives any number, even where all that were seen lie in 0…1. */
const LINEAR = new Set(['Gemm', 'MatMul', 'Add', 'Conv', 'LinearClassifier', 'LinearRegressor']);

/** Class names in the order of the model's `columns` scores. */
export function draftClasses(
  { classNames }: ModelDescription,
  columns: number,
  { given, facts, missing, notes }: DraftContext,
): string[] | null {
  if (given.classes) return given.classes;
  const count = columns === 1 ? 2 : columns;
  const known = facts.classes;
  const ask = (why: string): null => {
    missing.push({
      field: 'classes',
      why: `${why}; the dataset’s are ${listed(known)}`,
      option: '--classes NAME,NAME,… in the order of its scores',
    });
    return null;
  };
  if (classNames?.names.length === count) {
    const { names, numbers, from } = classNames;
    if (names.every((name) => known.includes(name))) {
      notes.push(`class names and their order are the file’s own (${from})`);
      return names;
    }
    const indexed = numbers ? names.map((index) => known[Number(index)]) : [];
    if (numbers && indexed.every((name) => name !== undefined)) {
      notes.push(
        `its classes ${listed(names)} (${from}) are taken for class indexes: ${listed(indexed)} (else --classes)`,
      );
      return indexed;
    }
    return ask(`the file calls its classes ${listed(names)} (${from})`);
  }
  if (known.length === count) {
    notes.push(
      `its scores are taken to be in the dataset’s order of classes: ${listed(known)} (else --classes)`,
    );
    return known;
  }
  return ask(`it gives ${columns === 1 ? 'one score, for two classes' : `${columns} scores`}`);
}

const MOST_LISTED = 12;

function listed(names: string[]): string {
  const more = names.length - MOST_LISTED;
  return names.slice(0, MOST_LISTED).join(', ') + (more > 0 ? ` and ${more} more` : '');
}

/** `"image" float32 [N, 3, 224, 224]` */
export function asWritten({ name, elementType, shape }: DescribedValue): string {
  return `“${name}” ${elementType ?? '(not a tensor of a usual type)'} [${shape.join(', ')}]`;
}
