import { expect, test } from '@jest/globals';
import { parseSelection, parseTime } from '../../cli/selection.ts';

const NOW = Date.UTC(2026, 10, 21, 12);

test.each([
  ['2026-11-20', '2026-11-20T00:00:00.000Z'],
  ['2026-11-20T08:30', '2026-11-20T08:30:00.000Z'],
  ['2026-11-20 08:30:05', '2026-11-20T08:30:05.000Z'],
  ['2026-11-20T08:30:00+02:00', '2026-11-20T06:30:00.000Z'],
  ['90s', '2026-11-21T11:58:30.000Z'],
  ['12h', '2026-11-21T00:00:00.000Z'],
  ['7d', '2026-11-14T12:00:00.000Z'],
])('%s is %s', (text, time) => expect(parseTime(text, NOW).toISOString()).toBe(time));

test.each(['', 'yesterday', '7', '7y', '2026-13-01', '12:30', '-3d'])('“%s” is no time', (text) =>
  expect(() => parseTime(text)).toThrow(expect.objectContaining({ code: 'USAGE' })),
);

test('what was left out chooses nothing, and an empty window is refused', () => {
  expect(parseSelection({})).toEqual({ where: null, since: null, until: null, sample: null });
  expect(() => parseSelection({ since: '1d', until: '2d' })).toThrow('both');
});

test('a sample has a share, a seed and a way to be drawn', () => {
  expect(parseSelection({ sample: '0.1' }).sample).toEqual({ share: 0.1, seed: 1, byClass: false });
  expect(parseSelection({ sample: '1', seed: '7', byClass: true }).sample).toEqual({
    share: 1,
    seed: 7,
    byClass: true,
  });
  for (const wrong of [
    { sample: '0' },
    { sample: '10' },
    { sample: 'some' },
    { sample: '' },
    { sample: '0.1', seed: '-1' },
    { sample: '0.1', seed: ' ' },
    { seed: '3' },
    { byClass: true },
  ]) {
    expect(() => parseSelection(wrong)).toThrow(expect.objectContaining({ code: 'USAGE' }));
  }
});
