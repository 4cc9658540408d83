import { describe, expect, test } from '@jest/globals';
import { labelPattern, type LabelRule, resolveLabel, ruleLabel } from '../../ingest/labels.ts';

const rule = (labelFrom: LabelRule['labelFrom'], labelPattern: string | null = null): LabelRule => ({
  labelFrom,
  labelPattern,
});

describe('the label rules', () => {
  test.each([
    ['7_0001.png', '7'],
    ['train/3/7_0001.png', '7'],
    ['a/b/', null],
    ['画像.png', '画'],
    ['x/😀.png', '😀'],
    ['', null],
  ])('first-character of %j is %j', (id, label) => {
    expect(ruleLabel(rule('first-character'), id)).toBe(label);
  });

  test.each([
    ['train/cat/1.jpg', 'cat'],
    ['cat/1.jpg', 'cat'],
    ['1.jpg', null],
    ['/1.jpg', null],
    ['a//1.jpg', null],
    ['/cat/1.jpg', 'cat'],
  ])('parent-folder of %j is %j', (id, label) => {
    expect(ruleLabel(rule('parent-folder'), id)).toBe(label);
  });

  test('regex takes the first group, and nothing where it does not match or the group is empty', () => {
    const byRegex = rule('regex', 'class-(\\p{L}*)-');
    expect(ruleLabel(byRegex, 'a/class-straße-1.png')).toBe('straße');
    expect(ruleLabel(byRegex, 'a/1.png')).toBeNull();
    expect(ruleLabel(byRegex, 'a/class--1.png')).toBeNull();
  });

  test('none reads nothing', () => {
    expect(ruleLabel(rule('none'), 'cat/7.png')).toBeNull();
  });

  test('a pattern that is broken or has no group is refused', () => {
    expect(() => labelPattern('class-(')).toThrow('is not a regular expression');
    expect(() => labelPattern('class-.')).toThrow('has no group');
    expect(() => labelPattern('class-(?:.)')).toThrow('has no group');
    expect(labelPattern('class-(.)').exec('class-x')?.[1]).toBe('x');
  });
});

describe('resolving a label', () => {
  test('a class name wins over an index', () => {
    const classes = ['1', '0', 'cat'];
    expect(resolveLabel('0', classes)).toBe(1);
    expect(resolveLabel('1', classes)).toBe(0);
    expect(resolveLabel('2', classes)).toBe(2);
    expect(resolveLabel('cat', classes)).toBe(2);
  });

  test.each(['3', '-1', '1.5', '1e0', 'Cat', '', '99999999999999', '0x1'])(
    '%j names no class of three',
    (text) => {
      expect(resolveLabel(text, ['ant', 'bee', 'cat'])).toBeNull();
    },
  );

  test('spaces and line ends around a label do not matter, unless a class is named with them', () => {
    expect(resolveLabel(' bee\n', ['ant', 'bee'])).toBe(1);
    expect(resolveLabel('1\r\n', ['ant', 'bee'])).toBe(1);
    expect(resolveLabel(' bee', ['ant', 'bee', ' bee'])).toBe(2);
  });

  test('a class appended later is found', () => {
    const classes = ['ant'];
    expect(resolveLabel('bee', classes)).toBeNull();
    classes.push('bee');
    expect(resolveLabel('bee', classes)).toBe(1);
  });
});
