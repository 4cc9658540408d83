import { describe, expect, test } from '@jest/globals';
import type { GateFigures } from '../../../classifier/gate/metrics.ts';
import { checkRequirement, outcomeText, parseRequirement } from '../../../classifier/gate/requirement.ts';

const CLASSES = ['cat', 'dog', '1'];

function figures(accuracy: number, changes: Partial<GateFigures> = {}): GateFigures {
  const mean = { precision: 0.8, recall: 0.7, f1: 0.75 };
  return {
    images: 1000,
    accuracy,
    macro: mean,
    weighted: { ...mean, f1: 0.77 },
    classes: [0.1, 0.2, 0.3].map((value) => ({ precision: value, recall: value + 0.01, f1: value + 0.02 })),
    logLoss: 0.25,
    calibration: { error: 0.04 },
    ...changes,
  };
}

const check = (text: string, candidate: GateFigures, live: GateFigures | null = null) =>
  checkRequirement(parseRequirement(text, CLASSES), candidate, live);

describe('a requirement', () => {
  test.each([
    ['accuracy >= 0.97', true],
    ['accuracy > 0.97', false],
    ['accuracy==0.97', true],
    ['  accuracy<=.97', true],
    ['accuracy < 9.7e-1', false],
    ['accuracy >= 0.9 + 0.07', true],
    ['accuracy >= 0.9 + 0.08', false],
    ['macro_f1 >= 0.75', true],
    ['weighted_f1 >= 0.78', false],
    ['precision >= 0.8', true],
    ['recall > 0.7', false],
    ['log_loss <= 0.25', true],
    ['ece < 0.04', false],
    ['images >= 1000', true],
    ['f1[dog] >= 0.22', true],
    ['recall[0] >= 0.11', true],
    // A class is its name before it is an index.
    ['precision[1] >= 0.3', true],
    ['precision[ dog ] > 0.2', false],
  ])('%s is read and compared', (text, met) => {
    expect(check(text, figures(0.97)).met).toBe(met);
  });

  test('may be about what the live model reaches, and is missed by so much', () => {
    const outcome = check('accuracy >= live - 0.001', figures(0.97), figures(0.984));
    expect(outcome).toMatchObject({ met: false, value: 0.97, live: 0.984, bound: 0.983 });
    expect(outcome.missedBy).toBeCloseTo(0.013, 12);
    expect(outcomeText(outcome)).toBe(
      'accuracy >= live - 0.001: 0.9700 against 0.9830 (live 0.9840), missed by 0.0130',
    );
    expect(check('log_loss < live + 0.01', figures(0, { logLoss: 0.3 }), figures(0)).met).toBe(false);
  });

  test('holds where both sides are the same number but for rounding', () => {
    // 0.3 - 0.1 is 0.19999999999999998
    expect(check('accuracy >= live - 0.1', figures(0.2), figures(0.3)).met).toBe(true);
    expect(check('accuracy > live - 0.1', figures(0.2), figures(0.3)).met).toBe(false);
  });

  test('on the live model is met where nothing is live', () => {
    expect(check('accuracy >= live', figures(0.1))).toMatchObject({ met: true, bound: null, live: null });
    expect(check('accuracy >= 0.5', figures(0.1))).toMatchObject({ met: false });
  });

  test.each([
    [
      'accurracy >= 0.9',
      /There is no metric “accurracy”/,
      /There are: accuracy, precision, recall, macro_f1/,
    ],
    ['log_loss[cat] < 1', /There is no metric “log_loss\[cat\]”/, /recall\[CLASS\]/],
    ['recall[fox] >= 0.9', /there is no class fox/, /classes are cat, dog, 1/],
    ['recall[7] >= 0.9', /there is no class 7/, /cat/],
    ['toString >= 0.9', /There is no metric “toString”/, /accuracy/],
    ['accuracy', /“accuracy” is no requirement/, /METRIC >=/],
    ['accuracy => 0.9', /is no requirement/, /accuracy >= live - 0\.001/],
    ['accuracy >= best', /is no requirement/, /live\|NUMBER/],
    ['accuracy >= live - 0.1 - 0.1', /is no requirement/, /live/],
    ['accuracy >= 0.9; drop table images', /is no requirement/, /live/],
  ])('%s is refused with what there is', (text, message, hint) => {
    expect(() => parseRequirement(text, CLASSES)).toThrow(message);
    try {
      parseRequirement(text, CLASSES);
    } catch (error) {
      expect(error).toMatchObject({ code: 'USAGE', hint: expect.stringMatching(hint) });
    }
  });
});
