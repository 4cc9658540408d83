import { expect, test } from '@jest/globals';
import { verdictCells } from '../../../kudu-store/verdicts/verdict-cells.ts';

const VERDICT = { prediction: 1, confidence: 0.75, scores: Float32Array.of(0.25, 0.75), error: null };
const BEFORE = { promotionNo: 3, attempts: 2 };
const WRITE = { model: 7, promotionNo: 3, revision: 9, cellBytes: 64 * 1024 };

test('scores that are over the limit of a cell are left out; the prediction is written', () => {
  const text = '[0.25,0.75]';
  expect(verdictCells('a', VERDICT, { ...WRITE, cellBytes: text.length }, BEFORE)).toMatchObject({
    scores: text,
  });
  expect(verdictCells('a', VERDICT, { ...WRITE, cellBytes: text.length - 1 }, BEFORE)).toMatchObject({
    id: 'a',
    prediction: 1,
    confidence: 0.75,
    scores: null,
    model_id: 7,
  });
});

test('failures are counted by promotion, and forgotten with a prediction', () => {
  const failed = { prediction: -1, confidence: null, scores: null, error: 'no \ud800 image' };
  expect(verdictCells('a', failed, WRITE, BEFORE)).toMatchObject({
    classify_error: 'no \ufffd image',
    classify_attempts: 3,
    model_id: null,
    promotion_no: 3,
    predicted_at: null,
  });
  expect(verdictCells('a', failed, WRITE, { ...BEFORE, promotionNo: 2 })).toMatchObject({
    classify_attempts: 1,
  });
  expect(verdictCells('a', VERDICT, WRITE, BEFORE)).toMatchObject({
    classify_error: null,
    classify_attempts: 0,
  });
});
