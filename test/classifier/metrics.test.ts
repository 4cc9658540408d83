import { describe, expect, test } from '@jest/globals';
import { confusionMatrix, logLoss, metricsOf } from '../../classifier/metrics.ts';

describe('metricsOf', () => {
  test('counts precision, recall and F1 of each class from rows and columns', () => {
    // known 0: 4 right, 1 as class 1; known 1: 2 right, 1 as 0; known 2: 3 right, 1 as 1
    const metrics = metricsOf([
      [4, 1, 0],
      [1, 2, 0],
      [0, 1, 3],
    ]);
    expect(metrics.images).toBe(12);
    expect(metrics.accuracy).toBeCloseTo(9 / 12, 12);
    expect(metrics.perClass).toEqual([
      { precision: 4 / 5, recall: 4 / 5, f1: 4 / 5, support: 5 },
      { precision: 2 / 4, recall: 2 / 3, f1: 4 / 7, support: 3 },
      { precision: 1, recall: 3 / 4, f1: 6 / 7, support: 4 },
    ]);
    expect(metrics.macro.precision).toBeCloseTo((0.8 + 0.5 + 1) / 3, 12);
    expect(metrics.macro.recall).toBeCloseTo((0.8 + 2 / 3 + 0.75) / 3, 12);
    expect(metrics.weighted.f1).toBeCloseTo((5 * 0.8 + 3 * (4 / 7) + 4 * (6 / 7)) / 12, 12);
    // Weighted recall is accuracy, whatever the matrix.
    expect(metrics.weighted.recall).toBeCloseTo(metrics.accuracy, 12);
  });

  test('gives a class that was never predicted precision 0 and counts it in the macro mean', () => {
    const { perClass, macro } = metricsOf([
      [3, 0],
      [2, 0],
    ]);
    expect(perClass[1]).toEqual({ precision: 0, recall: 0, f1: 0, support: 2 });
    expect(macro.precision).toBeCloseTo(0.6 / 2, 12);
  });

  test('leaves classes that do not occur at all out of the macro mean', () => {
    const { macro } = metricsOf([
      [3, 0, 0],
      [0, 5, 0],
      [0, 0, 0],
    ]);
    expect(macro).toEqual({ precision: 1, recall: 1, f1: 1 });
  });

  test('is all zeros, not NaN, without images', () => {
    const metrics = metricsOf([
      [0, 0],
      [0, 0],
    ]);
    expect(metrics.accuracy).toBe(0);
    expect(metrics.macro).toEqual({ precision: 0, recall: 0, f1: 0 });
    expect(metrics.weighted).toEqual({ precision: 0, recall: 0, f1: 0 });
  });
});

describe('confusionMatrix', () => {
  test('counts pairs and leaves out what has no label or no prediction', () => {
    expect(confusionMatrix([0, 1, 1, -1, 2], [0, 1, 0, 2, -1], 3)).toEqual([
      [1, 0, 0],
      [1, 1, 0],
      [0, 0, 0],
    ]);
  });
});

describe('logLoss', () => {
  test('is the mean of minus the logarithm of the probability given to the known class', () => {
    const scores = [0.5, 0.5, 0.1, 0.9, 0.25, 0.75];
    expect(logLoss(scores, [0, 1, -1], 2)).toBeCloseTo((Math.log(2) - Math.log(0.9)) / 2, 12);
  });

  test('stays finite when the known class got probability 0', () => {
    expect(logLoss([1, 0], [1], 2)).toBeCloseTo(23 * Math.log(2), 12);
  });
});
