import { expect, test } from '@jest/globals';
import { readFileSync } from 'node:fs';
import { findLabelIssues, type LabelledScores } from '../../../classifier/suspects/confident-learning.ts';
import { mulberry32 } from '../../../classifier/train/random.ts';
import cleanlab from './cleanlab_issues.json' with { type: 'json' };

/** 5,000 digits of which 150 have a wrong label, and a model's scores: made by cleanlab_issues.py. */
function digits(): LabelledScores {
  const bytes = readFileSync(new URL('./cleanlab_scores.bin', import.meta.url));
  const units = new Uint16Array(Uint8Array.from(bytes).buffer);
  const labels = Int32Array.from(cleanlab.labels, Number);
  return { labels, scores: Float32Array.from(units, (unit) => unit / 65535), classes: 10 };
}

/** Precision and recall against the labels that were flipped. */
function quality(found: Iterable<number>) {
  const flipped = new Set(cleanlab.flipped);
  const all = [...found];
  const hits = all.filter((place) => flipped.has(place)).length;
  return { found: all.length, precision: hits / all.length, recall: hits / flipped.size };
}

test('suspects among digits with 3 % wrong labels are those that cleanlab finds', () => {
  const { issues, joint } = findLabelIssues(digits());
  expect(joint).toEqual(cleanlab.confidentJoint);
  const places = issues.map(({ place }) => place);
  expect([...places].sort((a, b) => a - b)).toEqual([...cleanlab.issues].sort((a, b) => a - b));
  // The same order but for equal scores, which its sort leaves in any.
  const rank = new Map(places.map((place, index) => [place, index]));
  const { labels, scores } = digits();
  const self = (place: number) => scores[place * 10 + labels[place]!]!;
  cleanlab.issues.forEach((place, index) => expect(self(place)).toBe(self(places[index]!)));
  expect(rank.size).toBe(places.length);

  expect(quality(places)).toEqual(quality(cleanlab.issues));
  expect(quality(places)).toMatchObject({ found: 250, precision: 139 / 250, recall: 139 / 150 });
  expect(quality(places.slice(0, 150)).precision).toBeCloseTo(129 / 150, 12);
});

test('a suspect says which class the scores speak for, and how much', () => {
  const data = digits();
  for (const { place, suggested, confidence, selfConfidence, margin } of findLabelIssues(data).issues) {
    const row = [...data.scores.subarray(place * 10, place * 10 + 10)];
    expect(confidence).toBe(Math.max(...row));
    expect(row[suggested]).toBe(confidence);
    expect(selfConfidence).toBe(row[data.labels[place]!]);
    expect(margin).toBe(selfConfidence - confidence);
    expect(suggested).not.toBe(data.labels[place]);
  }
});

test('where scores and labels agree, there is no suspect', () => {
  const random = mulberry32(5);
  const labels = Int32Array.from({ length: 500 }, (_, n) => n % 3);
  const scores = new Float32Array(1500);
  labels.forEach((label, n) => {
    const sure = 0.6 + 0.4 * random();
    for (let index = 0; index < 3; index++) scores[n * 3 + index] = index === label ? sure : (1 - sure) / 2;
  });
  expect(findLabelIssues({ labels, scores, classes: 3 }).issues).toEqual([]);
});

test('a class without labels has no threshold, and the only image of a class is no suspect', () => {
  // Class 2 has no label; the only image of class 1 looks like a 0. cleanlab says the same.
  const labels = Int32Array.from([0, 0, 0, 1]);
  const scores = Float32Array.from([0.9, 0.05, 0.05, 0.8, 0.1, 0.1, 0.1, 0.1, 0.8, 0.9, 0.05, 0.05]);
  const { issues, thresholds, joint } = findLabelIssues({ labels, scores, classes: 3 });
  expect(thresholds[2]).toBeNaN();
  expect(joint).toEqual([
    [2, 1, 0],
    [0, 1, 0],
    [0, 0, 0],
  ]);
  expect(issues.map(({ place, suggested }) => [place, suggested])).toEqual([[2, 2]]);
});
