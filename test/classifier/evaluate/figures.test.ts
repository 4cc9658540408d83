import { describe, expect, test } from '@jest/globals';
import { denseConfusion, FigureCounter } from '../../../classifier/evaluate/figures.ts';
import { mcnemarExact } from '../../../classifier/evaluate/mcnemar.ts';
import sklearn from './sklearn_figures.json' with { type: 'json' };

const { classes, known } = sklearn;
const names = Array.from({ length: classes }, (_, index) => `class ${index}`);
const scores = Float32Array.from(sklearn.scores);

/** scikit-learn's figures are made by sklearn_figures.py. */
const DIGITS = 9;

function count() {
  const counter = new FigureCounter(names);
  known.forEach((label, image) => {
    const row = scores.subarray(image * classes, (image + 1) * classes);
    const confidence = Math.max(...row);
    const predicted = row.indexOf(confidence);
    counter.add({ id: `${image}`, known: label, predicted, confidence, knownScore: row[label]! });
  });
  return counter.finish();
}

describe('figures agree with scikit-learn’s to nine digits', () => {
  const figures = count();

  test('accuracy, and precision, recall and F1 of each class and as macro and weighted means', () => {
    expect(figures.images).toBe(known.length);
    expect(figures.accuracy).toBeCloseTo(sklearn.accuracy, DIGITS);
    for (const [index, expected] of sklearn.perClass.entries()) {
      const { precision, recall, f1, support } = figures.classes[index]!;
      expect(support).toBe(expected.support);
      expect(precision).toBeCloseTo(expected.precision, DIGITS);
      expect(recall).toBeCloseTo(expected.recall, DIGITS);
      expect(f1).toBeCloseTo(expected.f1, DIGITS);
    }
    for (const mean of ['macro', 'weighted'] as const) {
      for (const metric of ['precision', 'recall', 'f1'] as const) {
        expect(figures[mean][metric]).toBeCloseTo(sklearn[mean][metric], DIGITS);
      }
    }
  });

  test('the confusion matrix', () => {
    expect(denseConfusion(figures)).toEqual(sklearn.confusion);
  });

  test('log loss, with scores of exactly 0 and 1 among them', () => {
    expect(figures.logLoss).toBeCloseTo(sklearn.logLoss, DIGITS);
  });

  test('calibration error, with confidences on the edges of bins', () => {
    const { error, maxError, bins } = figures.calibration;
    expect(error).toBeCloseTo(sklearn.calibrationError, DIGITS);
    expect(maxError).toBeCloseTo(sklearn.maxCalibrationError, DIGITS);
    expect(bins.map(({ images }) => images)).toEqual(sklearn.binImages);
    expect(bins[10]).toMatchObject({ from: 0.5, to: 0.55 });
  });

  test('McNemar’s exact test, also where 2⁻ⁿ is too small for a number', () => {
    for (const [onlyFirst, onlySecond, p] of sklearn.mcnemar as [number, number, number][]) {
      expect(mcnemarExact(onlyFirst, onlySecond) / p).toBeCloseTo(1, DIGITS);
    }
    expect(mcnemarExact(0, 0)).toBe(1);
  });
});

test('a cell names its most confident mistakes, the diagonal its least confident hits', () => {
  const counter = new FigureCounter(['a', 'b']);
  for (let n = 0; n < 20; n++) {
    // In an order that neither falls nor rises.
    const confidence = (50 + ((n * 7) % 20)) / 100;
    counter.add({ id: `hit ${confidence}`, known: 0, predicted: 0, confidence, knownScore: confidence });
    counter.add({
      id: `miss ${confidence}`,
      known: 0,
      predicted: 1,
      confidence,
      knownScore: 1 - confidence,
    });
  }
  const [hits, misses] = counter.finish().confusion;
  expect(hits!.examples.map(({ id }) => id)).toEqual([
    'hit 0.5',
    'hit 0.51',
    'hit 0.52',
    'hit 0.53',
    'hit 0.54',
  ]);
  expect(misses!.examples.map(({ confidence }) => confidence)).toEqual([0.69, 0.68, 0.67, 0.66, 0.65]);
  expect(misses).toMatchObject({ known: 0, predicted: 1, images: 20 });
});
