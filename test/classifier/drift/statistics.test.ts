import { describe, expect, test } from '@jest/globals';
import { readFileSync } from 'node:fs';
import { estimateAccuracy, fitCalibration, poolViolators } from '../../../classifier/drift/calibration.ts';
import { cutWindows } from '../../../classifier/drift/drift.ts';
import { DEFAULT_LIMITS, judge, MEASURES, thresholds } from '../../../classifier/drift/measures.ts';
import {
  jensenShannonDistance,
  populationStabilityIndex,
  psiNoise,
  share,
} from '../../../classifier/drift/statistics.ts';

interface Figures {
  counts: { reference: number[]; window: number[]; psi: number; js: number; chi2: number }[];
  wilson: { hits: number; images: number; low: number; high: number }[];
  isotonic: { from: number[]; images: number[]; correct: number[]; fitted: number[] };
}
const figures = JSON.parse(
  readFileSync(new URL('../../fixtures/drift/figures.json', import.meta.url), 'utf8'),
) as Figures;

describe('distances between distributions', () => {
  test.each(figures.counts)(
    'are those of numpy and scipy: $reference and $window',
    ({ reference, window, psi, js }) => {
      expect(populationStabilityIndex(reference, window)).toBeCloseTo(psi, 12);
      expect(jensenShannonDistance(reference, window)).toBeCloseTo(js, 12);
    },
  );

  test('are what one reckons by hand', () => {
    // A half and a half become a quarter and three: ¼ ln 2 + ¼ ln 1.5.
    const [half, quarter] = [
      [1e9, 1e9],
      [1e9, 3e9],
    ] as const;
    expect(populationStabilityIndex(half, quarter)).toBeCloseTo(0.25 * Math.log(2) + 0.25 * Math.log(1.5), 8);
    // Nothing in common.
    expect(jensenShannonDistance([5, 0], [0, 9])).toBe(1);
    expect(jensenShannonDistance([5, 10], [50, 100])).toBeCloseTo(0, 7);
    // Smoothing: (1 + ½) / (1 + 1) against (0 + ½) / (1 + 1), twice.
    expect(populationStabilityIndex([1, 0], [0, 1])).toBeCloseTo(2 * 0.5 * Math.log(3), 12);
  });

  test('are unknown where one side has no image', () => {
    expect(populationStabilityIndex([0, 0], [1, 2])).toBeNaN();
    expect(jensenShannonDistance([1, 2], [0, 0])).toBeNaN();
  });

  test.each(figures.counts.filter(({ reference }) => reference.length > 3))(
    'are noise below the 99.9 % quantile of chi-squared, by scipy $chi2',
    ({ reference, chi2 }) => {
      const quantile = psiNoise(reference.length, 200, 50) / (1 / 200 + 1 / 50);
      expect(Math.abs(quantile / chi2 - 1)).toBeLessThan(0.01);
    },
  );
});

test.each(figures.wilson)(
  'the interval of $hits in $images is Wilson’s, by scipy',
  ({ hits, images, low, high }) => {
    const interval = share(hits, images)!;
    expect(interval.low).toBeCloseTo(low, 4);
    expect(interval.high).toBeCloseTo(high, 4);
    expect(share(0, 0)).toBeNull();
  },
);

describe('the calibration', () => {
  test('is the isotonic regression of scikit-learn', () => {
    const { from, images, correct, fitted } = figures.isotonic;
    const steps = poolViolators(
      from.map((at, i) => ({ from: at, images: images[i]!, correct: correct[i]!, squares: images[i]! })),
    );
    const values = from.map((at) => {
      const step = steps.findLast((each) => each.from <= at)!;
      return step.correct / step.images;
    });
    values.forEach((value, i) => expect(value).toBeCloseTo(fitted[i]!, 10));
    expect(steps.length).toBeLessThan(from.length);
  });

  test('is a class’s own where it has enough labelled images, else that of all', () => {
    const bin = (prediction: number | null, images: number, correct: number) => ({
      prediction,
      bin: 0,
      from: 0.9,
      label: 3,
      images,
      correct,
    });
    const calibration = fitCalibration([bin(null, 350, 250), bin(3, 300, 240), bin(8, 50, 10)]);
    expect(calibration).toMatchObject({ images: 350, correct: 250 });
    expect([...calibration.steps.keys()]).toEqual([null, 3]);
  });

  test('expects the mean of the calibrated confidences, less surely from few images', () => {
    const steps = [
      { from: 0, images: 1000, correct: 500, squares: 1000 },
      { from: 0.9, images: 1000, correct: 1000, squares: 1000 },
    ] as const;
    const estimate = (images: number) =>
      estimateAccuracy([
        { step: steps[0], images },
        { step: steps[1], images: 3 * images },
      ])!;
    expect(estimate(100).value).toBe(0.875);
    // Variances by hand: 1/16 of ½·½/1000, and of a draw of 400 images ¼·½·½/400; the step without a mistake hardly adds.
    expect(estimate(100).variance).toBeCloseTo(0.25 / 16 / 1000 + 0.25 / 4 / 400, 5);
    expect(estimate(10).high - estimate(10).low).toBeGreaterThan(
      2 * (estimate(100).high - estimate(100).low),
    );
    expect(estimateAccuracy([])).toBeNull();
  });
});

describe('thresholds', () => {
  test('name a statistic for everything, or one measure, which wins', () => {
    const limits = thresholds({ psi: 0.2, pixel_mean_psi: 0.5, accuracy_drop: 0.02 });
    expect(limits).toMatchObject({
      prediction_psi: 0.2,
      confidence_psi: 0.2,
      pixel_mean_psi: 0.5,
      accuracy_drop: 0.02,
    });
    expect(Object.keys(limits)).toHaveLength(8);
    expect(thresholds(DEFAULT_LIMITS)).toMatchObject({ prediction_psi: 0.25, estimated_accuracy_drop: 0.05 });
    expect(MEASURES).toContain('object_count_ks');
  });

  test.each<Record<string, number>>([{ psy: 0.2 }, { psi: NaN }, { psi: -1 }, { toString: 1 }])(
    '%j is refused',
    (limits) => {
      expect(() => thresholds(limits)).toThrow(expect.objectContaining({ code: 'USAGE' }));
    },
  );

  test('are crossed by more than chance, shifts in both directions, drops in one', () => {
    expect(judge({ measure: 'prediction_psi', value: 0.3, noise: 0.1 }, 0.25)).toBe('over');
    expect(judge({ measure: 'prediction_psi', value: 0.3, noise: 0.4 }, 0.25)).toBe('undecided');
    expect(judge({ measure: 'prediction_psi', value: 0.2, noise: 0.1 }, 0.25)).toBe('fine');
    expect(judge({ measure: 'pixel_mean_shift', value: -2, noise: 0.1 }, 1)).toBe('over');
    expect(judge({ measure: 'accuracy_drop', value: -0.5, noise: 0.01 }, 0.02)).toBe('fine');
  });
});

describe('windows', () => {
  const at = (hour: number) => new Date(Date.UTC(2026, 0, 1, hour));

  test('follow one another from a moment on, whole ones only', () => {
    expect(cutWindows({ seconds: 7200, since: at(0), until: at(5) })).toEqual([
      { since: at(0), until: at(2) },
      { since: at(2), until: at(4) },
    ]);
  });

  test('end now, or where they are told to', () => {
    const now = at(12);
    expect(cutWindows({ seconds: null, since: null, until: null }, now)).toEqual([
      { since: at(-12), until: now },
    ]);
    expect(cutWindows({ seconds: 3600, since: null, until: at(4) }, now)).toEqual([
      { since: at(3), until: at(4) },
    ]);
    expect(cutWindows({ seconds: null, since: at(2), until: null }, now)).toEqual([
      { since: at(2), until: now },
    ]);
  });

  test.each([
    ['that end before they begin', { seconds: null, since: at(5), until: at(5) }],
    ['longer than the time they are to fill', { seconds: 86_400, since: at(0), until: at(5) }],
    ['without number', { seconds: 1, since: at(0), until: at(5) }],
  ])('%s are refused', (_, request) => {
    expect(() => cutWindows(request)).toThrow(expect.objectContaining({ code: 'USAGE' }));
  });
});
