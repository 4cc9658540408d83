import { expect, test } from '@jest/globals';
import { bestCell, spread, summarise } from '../../../classifier/sweep/summary.ts';
import { trainingOptions } from '../../../classifier/train/defaults.ts';
import type { Cell } from '../../../sql/sweeps.ts';

const cell = (number: number, rate: number, seed: number, more: Partial<Cell>): Cell => ({
  sweep: 1,
  cell: number,
  label: null,
  where: null,
  since: null,
  until: null,
  settings: { options: trainingOptions({ rate, seed }), threshold: null, size: null, limit: null },
  settingsHash: Buffer.of(),
  state: 'done',
  run: number,
  dataSha256: 'a',
  trainImages: 90,
  testImages: 10,
  accuracy: null,
  precision: null,
  recall: null,
  f1: null,
  logLoss: null,
  trainAccuracy: null,
  seconds: 1,
  error: null,
  stored: false,
  manifest: {},
  model: null,
  finishedAt: null,
  ...more,
});

test('mean and deviation are those of the sample', () => {
  // numpy: mean 0.93, std(ddof=1) 0.02
  expect(spread([0.91, 0.93, 0.95])).toEqual({
    n: 3,
    mean: expect.closeTo(0.93, 12),
    deviation: expect.closeTo(0.02, 12),
    least: 0.91,
    greatest: 0.95,
  });
  expect(spread([0.5])).toMatchObject({ n: 1, deviation: null });
  expect(spread([])).toBeNull();
});

test('the best cell is the greatest by a metric, the least by log loss, and never one that diverged', () => {
  const cells = [
    cell(0, 0.1, 1, { accuracy: 0.9, logLoss: 0.2 }),
    cell(1, 0.1, 2, { accuracy: 0.95, logLoss: 0.3 }),
    cell(2, 0.1, 3, { accuracy: 0.95, logLoss: 0.1 }),
    cell(3, 9, 1, { accuracy: 0.99, state: 'diverged' }),
    cell(4, 9, 2, { state: 'waiting' }),
  ];
  expect(bestCell(cells)!.cell).toBe(1);
  expect(bestCell(cells, 'logLoss')!.cell).toBe(2);
  expect(bestCell(cells, 'f1')).toBeNull();
  expect(bestCell([])).toBeNull();
});

test('rows are settings and windows over their seeds, and stability is over the means of windows', () => {
  const cells = [
    cell(0, 0.1, 1, { label: 'mon', accuracy: 0.9 }),
    cell(1, 0.1, 2, { label: 'mon', accuracy: 0.94 }),
    cell(2, 0.5, 1, { label: 'mon', accuracy: 0.5 }),
    cell(3, 0.5, 2, { label: 'mon', state: 'diverged' }),
    cell(4, 0.1, 1, { label: 'tue', accuracy: 0.8, dataSha256: 'b' }),
    cell(5, 0.1, 2, { label: 'tue', accuracy: 0.88, dataSha256: 'c' }),
    cell(6, 0.5, 1, { label: 'tue', state: 'failed', dataSha256: null }),
    cell(7, 0.5, 2, { label: 'tue', state: 'waiting', dataSha256: null }),
  ];
  const { rows, stability, changedWindows } = summarise(cells);
  expect(
    rows.map(({ settings, window, accuracy, best }) => [settings.rate, window, accuracy?.mean, best]),
  ).toEqual([
    [0.1, 'mon', expect.closeTo(0.92, 12), 1],
    [0.5, 'mon', 0.5, 2],
    [0.1, 'tue', expect.closeTo(0.84, 12), 5],
    [0.5, 'tue', undefined, null],
  ]);
  expect(rows[1]!.states).toEqual({ waiting: 0, running: 0, done: 1, diverged: 1, failed: 0 });
  expect(stability).toMatchObject([
    { settings: { rate: 0.1 }, windows: 2, accuracy: { mean: expect.closeTo(0.88, 12) }, worstWindow: 'tue' },
    { settings: { rate: 0.5 }, windows: 1, accuracy: { mean: 0.5 }, worstWindow: 'mon' },
  ]);
  expect(changedWindows).toEqual(['tue']);
});
