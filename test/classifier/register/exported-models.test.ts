import { describe, expect, test } from '@jest/globals';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { Classifier } from '../../../classifier/inference.ts';
import type { Manifest } from '../../../classifier/manifest.ts';
import { addModel } from '../../../classifier/register/add-model.ts';
import type { ManifestOptions } from '../../../classifier/register/given.ts';
import { createDataset } from '../../../sql/datasets.ts';
import { getModel, readModelBytes } from '../../../sql/models.ts';
import { insertDigits } from '../../support/digit-rows.ts';
import { digitPixels } from '../../support/digits.ts';
import { freshDatabase } from '../../support/servers.ts';

const folder = new URL('../models/', import.meta.url);
const expected = JSON.parse(readFileSync(new URL('expected.json', folder), 'utf8')) as Record<
  string,
  number[][]
>;
/** As make.py has them: the first two digits of each class after those it trained on. */
const TRAINED = 300;
const TESTED = 2;
const tested = Array.from({ length: 10 * TESTED }, (_, number) => ({
  width: 28,
  height: 28,
  channels: 1,
  data: digitPixels(Math.floor(number / TESTED), TRAINED + (number % TESTED)),
}));

const DIGITS = [...'0123456789'];
const WORDS = ['zero', 'one', 'two', 'three', 'four', 'five', 'six', 'seven', 'eight', 'nine'];
const MEAN_STD: ManifestOptions = { mean: '0.1307', std: '0.3081' };

interface Exported {
  options: ManifestOptions;
  /** Of the manifest that must come out. */
  input: Partial<Manifest['input']>;
  output: Manifest['output'];
  /** Of the dataset. */
  classes?: string[];
  /** In the order of the model's scores; the dataset's unless given. */
  order?: string[];
  changes?: string[];
  producer: string;
  /** Largest difference from Python's probabilities. */
  within?: number;
}

const MODELS: Record<string, Exported> = {
  'sklearn-logistic': {
    options: { scale: 'unit' },
    input: { name: 'X', layout: 'flat', channels: 1 },
    output: { name: 'probabilities', activation: 'none' },
    classes: WORDS,
    order: [...WORDS].sort(),
    changes: ['ZipMap removed: probabilities are a tensor'],
    producer: 'skl2onnx',
  },
  'sklearn-mlp': {
    options: { scale: 'unit' },
    input: { layout: 'flat' },
    output: { name: 'probabilities', activation: 'none' },
    producer: 'skl2onnx',
  },
  'sklearn-forest': {
    options: { scale: 'none' },
    input: { layout: 'flat' },
    output: { name: 'probabilities', activation: 'none' },
    changes: ['ZipMap removed: probabilities are a tensor'],
    producer: 'skl2onnx',
  },
  'torch-conv': {
    options: MEAN_STD,
    input: { name: 'image', layout: 'NCHW', channels: 1 },
    output: { name: 'logits', activation: 'softmax' },
    changes: ['weights brought in from torch-conv.onnx.data'],
    producer: 'pytorch',
  },
  'torch-fixed': {
    options: MEAN_STD,
    input: { layout: 'NCHW' },
    output: { name: expect.any(String) as unknown as string, activation: 'softmax' },
    producer: 'pytorch',
  },
  'torch-half': {
    options: MEAN_STD,
    input: { layout: 'NCHW', elementType: 'float32' },
    output: { name: 'log_probabilities_float32', activation: 'softmax' },
    changes: ['float16 of its input and output is cast from and to float32'],
    producer: 'pytorch',
    within: 0.01,
  },
  'keras-conv': {
    options: { scale: 'unit' },
    input: { name: 'image', layout: 'NHWC', channels: 1 },
    output: { name: expect.any(String) as unknown as string, activation: 'none' },
    producer: 'tf2onnx',
  },
  'keras-bytes': {
    options: {},
    input: { layout: 'NHWC', elementType: 'uint8', scaling: { kind: 'none' } },
    output: { name: expect.any(String) as unknown as string, activation: 'none' },
    producer: 'tf2onnx',
  },
  'keras-square': {
    options: { scale: 'unit' },
    input: { layout: 'NHW', channels: 1 },
    output: { name: expect.any(String) as unknown as string, activation: 'softmax' },
    producer: 'tf2onnx',
  },
  'keras-binary': {
    options: { scale: 'unit' },
    input: { layout: 'NHW' },
    output: { name: expect.any(String) as unknown as string, activation: 'binary' },
    classes: ['other', 'one'],
    producer: 'tf2onnx',
  },
};

describe('a model as its library exports it is registered, with what the file does not say, and gives what Python gives:', () => {
  test.each(Object.entries(MODELS))('%s', async (name, model) => {
    await using db = await freshDatabase();
    const { pool } = db;
    const classes = model.classes ?? DIGITS;
    await createDataset(pool, { name: 'digits', classes });
    await insertDigits(pool, 'digits', { from: 0, count: 40, folder: 'a', labelled: classes.length === 10 });
    const file = fileURLToPath(new URL(`${name}.onnx`, folder));
    const added = await addModel(
      { pool, maxPixels: 1e6 },
      { dataset: 'digits', file, options: model.options },
    );

    const { manifest, existed, provenance, sample } = added;
    expect(existed).toBe(false);
    expect(manifest.input).toMatchObject({ width: 28, height: 28, colour: 'grey', ...model.input });
    expect(manifest.output).toEqual(model.output);
    expect(manifest.classes).toEqual(model.order ?? classes);
    expect(provenance.file).toMatchObject({ path: file, changes: model.changes ?? [] });
    expect(provenance.onnx.producer).toMatch(model.producer);
    if (classes.length === 10) {
      expect(sample).toMatchObject({ images: 40, nearChance: false });
      expect(sample!.accuracy).toBeGreaterThan(0.7);
    }
    const stored = await getModel(pool, 'digits', added.model);
    expect(stored).toMatchObject({ manifest, source: `file ${name}.onnx`, live: false });

    const bytes = await readModelBytes(pool, 'digits', added.model);
    const classifier = await Classifier.load(new Uint8Array(bytes), manifest, classes);
    const { scores } = await classifier.classify(tested);
    await classifier.release();
    const within = model.within ?? 1e-4;
    expected[name]!.forEach((row, image) =>
      row.forEach((probability, column) => {
        const score = scores[image * classes.length + classes.indexOf(manifest.classes[column]!)]!;
        expect(Math.abs(score - probability)).toBeLessThan(within);
      }),
    );
  });
});
