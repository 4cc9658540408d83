import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { documentJson } from '../../indexer/document-json.ts';
import { type Column, COLUMNS } from '../../indexer/documents.ts';
import { TupleStore } from '../../indexer/tuple.ts';

/** The document of a row of which Postgres prints these columns; the others are null. */
function documentOf(columns: Partial<Record<Column, string>>, classes: string[] = ['cat', 'dog']): object {
  const row = { dataset: 'd', ...columns };
  const tuple = new TupleStore().add(COLUMNS.map((name) => row[name] ?? null));
  return JSON.parse(documentJson(tuple, classes)) as object;
}

describe('the document of a row', () => {
  test('lacks what is null', () => {
    expect(documentOf({})).toEqual({ dataset: 'd' });
  });

  test('keeps every text as it is', () => {
    // NUL and halves of surrogate pairs are none of Postgres' text.
    const text = fc.string({ unit: 'grapheme' }).filter((value) => !value.includes('\0'));
    fc.assert(
      fc.property(text, (camera) => {
        expect(documentOf({ camera })).toEqual({ dataset: 'd', camera });
      }),
    );
    for (const camera of ['', '"', '\\', 'a\nb\u0001', 'ü"', '€ 🙂', 'x'.repeat(100_000), 'é'.repeat(5000)])
      expect(documentOf({ id: camera, camera })).toEqual({ dataset: 'd', id: camera, camera });
  });

  test('leaves out numbers that JSON does not have', () => {
    expect(documentOf({ entropy: 'NaN', sharpness: 'Infinity', pixel_mean: '-Infinity' })).toEqual({
      dataset: 'd',
    });
    expect(documentOf({ entropy: '1e-05', pixel_mean: '-0.25', model_id: '9007199254740991' })).toEqual({
      dataset: 'd',
      entropy: 1e-5,
      pixel_mean: -0.25,
      model_id: 9007199254740991,
    });
  });

  test.each([
    ['{}', []],
    ['{#00ff7a}', ['#00ff7a']],
    ['{#00ff7a,#ffffff,123}', ['#00ff7a', '#ffffff', '123']],
    ['{"a b","q\\"\\\\",NULL,ü}', ['a b', 'q"\\', 'ü']],
    ['{{#1,#2},{#3,#4}}', ['#1', '#2', '#3', '#4']],
  ])('the list %s is %j', (printed, expected) => {
    expect(documentOf({ dominant_colours: printed, blank: 't', over_exposed: 'f' })).toEqual({
      dataset: 'd',
      dominant_colours: expected,
      blank: true,
      over_exposed: false,
    });
  });

  test('keeps all 64 bits of the perceptual hash', () => {
    expect(documentOf({ phash: '-9223372036854775808' })).toMatchObject({ phash: '-9223372036854775808' });
  });

  test.each([
    ['2026-11-21 17:38:42.123456+00', '2026-11-21T17:38:42.123Z'],
    ['2026-11-21 17:38:42.1+00', '2026-11-21T17:38:42.100Z'],
    ['2026-11-21 17:38:42+00', '2026-11-21T17:38:42.000Z'],
    ['2026-11-21 17:38:42+05:30', '2026-11-21T12:08:42.000Z'],
    ['2026-11-21 17:38:42.5-07', '2026-11-22T00:38:42.500Z'],
    ['12026-11-21 17:38:42+00', '+012026-11-21T17:38:42.000Z'],
    ['0044-03-15 12:00:00+00 BC', '-000043-03-15T12:00:00.000Z'],
    ['infinity', undefined],
    ['-infinity', undefined],
  ])('writes the time %s as %s', (printed, iso) => {
    expect(documentOf({ captured_at: printed })).toEqual(
      iso ? { dataset: 'd', captured_at: iso } : { dataset: 'd' },
    );
  });

  test('writes bytes as hexadecimal digits', () => {
    expect(documentOf({ sha256: `\\x${'00ff'.repeat(16)}` })).toMatchObject({ sha256: '00ff'.repeat(16) });
  });

  test.each([
    ['{"Photo": {"ISO": 100, "Maker": "ü"}}', { Photo: { ISO: 100, Maker: 'ü' } }],
    ['[1, 2]', { value: [1, 2] }],
    ['"ü"', { value: 'ü' }],
    ['7', { value: 7 }],
    ['null', undefined],
  ])('exif %s is an object or absent', (exif, expected) => {
    expect(documentOf({ exif })).toEqual(expected ? { dataset: 'd', exif: expected } : { dataset: 'd' });
  });

  test('names the classes of prediction and label, where they have a name', () => {
    const classes = ['a "quoted" one', 'ü', 'c'];
    expect(documentOf({ prediction: '1', known_label: '0' }, classes)).toEqual({
      dataset: 'd',
      prediction: 1,
      predicted_class: 'ü',
      known_label: 0,
      known_class: 'a "quoted" one',
      correct: false,
    });
    expect(documentOf({ prediction: '2', known_label: '2' }, classes)).toMatchObject({ correct: true });
    expect(documentOf({ prediction: '12', known_label: '12' }, classes)).toEqual({
      dataset: 'd',
      prediction: 12,
      known_label: 12,
      correct: true,
    });
    expect(documentOf({ prediction: '-1', known_label: '1' }, classes)).toEqual({
      dataset: 'd',
      prediction: -1,
      known_label: 1,
      known_class: 'ü',
    });
    expect(documentOf({ prediction: '1' }, classes)).not.toHaveProperty('correct');
  });

  test('has a location where both coordinates are on the globe', () => {
    expect(documentOf({ latitude: '-90', longitude: '180' })).toMatchObject({
      location: { lat: -90, lon: 180 },
    });
    expect(documentOf({ latitude: '1e-05', longitude: '0' })).toMatchObject({
      location: { lat: 1e-5, lon: 0 },
    });
    for (const columns of [
      { latitude: '90.5', longitude: '0' },
      { latitude: '0', longitude: '-180.5' },
      { latitude: 'NaN', longitude: '0' },
      { latitude: '1' },
      { longitude: '1' },
    ])
      expect(documentOf(columns)).not.toHaveProperty('location');
  });
});
