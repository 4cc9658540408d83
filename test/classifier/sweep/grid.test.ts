import { describe, expect, test } from '@jest/globals';
import { expandGrid, type Grid, parseValues } from '../../../classifier/sweep/grid.ts';
import { canonical, hashOf, sweepSpec } from '../../../classifier/sweep/spec.ts';
import { TRAINING } from '../../../classifier/train/defaults.ts';

describe('parseValues', () => {
  test.each<[keyof typeof TRAINING, string, unknown[]]>([
    ['rate', '0.1,0.03', [0.1, 0.03]],
    ['rate', '1e-3', [0.001]],
    ['seed', '1..5', [1, 2, 3, 4, 5]],
    ['seed', '1..3,7', [1, 2, 3, 7]],
    ['seed', '4..4', [4]],
    ['momentum', '0..0.9:0.3', [0, 0.3, 0.6, 0.9]],
    ['rate', '0.1..0.3:0.1', [0.1, 0.2, 0.3]],
    ['rotate', '0..10:4', [0, 4, 8]],
    ['hidden', '500x100,300', [[500, 100], [300]]],
    ['hidden', 'none, 10×20×30', [[], [10, 20, 30]]],
    ['scale', 'unit,binarise', ['unit', 'binarise']],
  ])('%s %s', (setting, text, values) => {
    expect(parseValues(setting, text)).toEqual(values);
  });

  test.each<[keyof typeof TRAINING, string, RegExp]>([
    ['rate', 'fast', /--rate fast: “fast” is no number/],
    ['rate', '0.1,,0.2', /has an empty place/],
    ['rate', '', /has an empty place/],
    ['hidden', '', /--hidden {2}has an empty place/],
    ['hidden', '500,x100', /“x100” is no list of layers/],
    ['hidden', '500..600', /is no list of layers/],
    ['seed', '5..1', /the range 5\.\.1 ends before it begins/],
    ['seed', '1..5:0', /has a step of 0/],
    ['seed', '1..5:-1', /has a step of -1/],
    ['seed', '1..', /“” is no number/],
    ['seed', '1..2..3', /“1\.\.2\.\.3” is no range/],
    ['seed', '1..5:1:1', /is no range/],
    ['seed', '1:5', /“1:5” is no number/],
    ['seed', '0..1e9', /holds 1000000001 values; 1000 are allowed/],
    ['rate', '0.1,0.10', /has 0\.1 more than once/],
    ['hidden', '10,10', /has \[10\] more than once/],
  ])('refuses %s “%s”', (setting, text, message) => {
    const attempt = () => parseValues(setting, text);
    expect(attempt).toThrow(message);
    expect(attempt).toThrow(expect.objectContaining({ code: 'USAGE', hint: expect.stringMatching(/./) }));
  });
});

describe('expandGrid', () => {
  test('makes every combination, complete with defaults, the seed varying fastest', () => {
    const grid = expandGrid({ seed: [1, 2], rate: [0.1, 0.01], hidden: [[8], [4, 4]] });
    expect(grid.map(({ hidden, rate, seed }) => [hidden.join('x'), rate, seed])).toEqual([
      ['8', 0.1, 1],
      ['8', 0.1, 2],
      ['8', 0.01, 1],
      ['8', 0.01, 2],
      ['4x4', 0.1, 1],
      ['4x4', 0.1, 2],
      ['4x4', 0.01, 1],
      ['4x4', 0.01, 2],
    ]);
    expect(grid[0]).toMatchObject({ epochs: 12, batch: 128, momentum: 0.9, elastic: 0 });
    expect(expandGrid({})).toHaveLength(1);
  });

  test('refuses values that a training would refuse, and grids without end', () => {
    expect(() => expandGrid({ rate: [0.1, -1] })).toThrow(/rate: /);
    expect(() => expandGrid({ hidden: [[0]] })).toThrow(/hidden: /);
    const many = Array.from({ length: 101 }, (_, index) => index + 1);
    const wide: Grid = { seed: many, epochs: many };
    expect(() => expandGrid(wide)).toThrow('That would be 10201 trainings; a sweep has at most 10000.');
  });
});

describe('sweepSpec', () => {
  test('trains on all other images where those to measure on are named', () => {
    expect(sweepSpec({ testWhere: "id like 't10k%'" }).grid).toEqual({ validationSplit: [0] });
    const both = sweepSpec({ testWhere: 'true', grid: { validationSplit: [0.1] } });
    expect(both.grid).toEqual({ validationSplit: [0.1] });
  });

  test.each([
    [{ where: ['a', 'a'] }, /same --where is given twice/],
    [{ cumulative: true }, /--cumulative is about windows/],
    [{ size: '28' }, /--size 28 is not a size/],
    [{ grid: { validationSplit: [0.1, 0] } }, /nothing to measure the networks on/],
    [{ threshold: 30, grid: { scale: ['unit'] } }, /A threshold is for binarised pixels/],
    [{ grid: { rate: ['x'] } }, /rate: /],
  ])('refuses %j', (asked, message) => {
    expect(() => sweepSpec(asked)).toThrow(message);
  });

  test('is the same whatever the order of its fields, and another with another value', () => {
    expect(canonical({ b: [1, { d: 2, c: null }], a: 'x' })).toBe('{"a":"x","b":[1,{"c":null,"d":2}]}');
    expect(hashOf({ a: 1, b: 2 })).toEqual(hashOf({ b: 2, a: 1 }));
    expect(hashOf({ a: 1, b: 2 })).not.toEqual(hashOf({ a: 1, b: 3 }));
    expect(hashOf([1, 2])).not.toEqual(hashOf([2, 1]));
  });
});
