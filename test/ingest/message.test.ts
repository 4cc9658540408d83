import { describe, expect, test } from '@jest/globals';
import { claimedUrl } from '../../ingest/claims/claim.ts';
import { sourceMessage } from '../../ingest/kafka-consumer.ts';
import { type ImageMessage, parseMessage, type SourceMessage } from '../../ingest/message.ts';
import type { Dataset } from '../../sql/datasets.ts';

const dataset = (overrides: Partial<Dataset> = {}): Dataset => ({
  name: 'pets',
  topic: 'pets',
  store: 'postgres',
  labelFrom: 'none',
  labelPattern: null,
  pgmMaxSide: 256,
  background: 255,
  columns: 'all',
  stripLocation: false,
  oversized: 'dead-letter',
  classes: ['cat', 'dog', '0'],
  liveModelId: null,
  shadowModelId: null,
  promotionNo: 0,
  featuresBackbone: null,
  ...overrides,
});

const BYTES = Buffer.from('some bytes');

const message = (overrides: Partial<SourceMessage> = {}): SourceMessage => ({
  offset: 7,
  timestamp: 1000,
  key: Buffer.from('folder/a.png'),
  value: BYTES,
  headers: [],
  ...overrides,
});

const headers = (named: Record<string, string | Buffer>): SourceMessage['headers'] =>
  Object.entries(named).map(([name, value]) => [name, Buffer.from(value)]);

const parse = (overrides: Partial<SourceMessage>, of: Partial<Dataset> = {}) =>
  parseMessage(dataset(of), 'topic', 3, message(overrides));

function parseImage(overrides: Partial<SourceMessage>, of: Partial<Dataset> = {}): ImageMessage {
  const parsed = parse(overrides, of);
  if (parsed.kind !== 'image') throw new Error(`not an image but ${JSON.stringify(parsed)}`);
  return parsed;
}

const withHeaders = (named: Record<string, string | Buffer>, of: Partial<Dataset> = {}) =>
  parseImage({ headers: headers(named) }, of);

describe('the key of a message', () => {
  test('is the image id, the value the encoded image', () => {
    expect(parseImage({ key: Buffer.from('Bär/🐻.png') })).toEqual({
      kind: 'image',
      id: 'Bär/🐻.png',
      value: BYTES,
      knownLabel: null,
      metadata: {},
      ignored: [],
    });
  });

  test('missing or empty, makes the id the place in the topic', () => {
    expect(parseImage({ key: null }).id).toBe('topic/3/7');
    expect(parseImage({ key: Buffer.alloc(0) }).id).toBe('topic/3/7');
  });

  test.each([
    ['id-not-utf8', Buffer.from([0xc3, 0x28])],
    ['id-with-nul', Buffer.from('a\0b')],
    ['id-too-long', Buffer.from('é'.repeat(201))],
  ])('that cannot be an id is a dead letter: %s', (reason, key) => {
    expect(parse({ key })).toMatchObject({ kind: 'bad', reason });
    // A deletion under such a key could not be kept either.
    expect(parse({ key, value: null })).toMatchObject({ kind: 'bad', reason });
  });

  test('may have 400 bytes', () => {
    expect(parseImage({ key: Buffer.from('é'.repeat(200)) }).id).toHaveLength(200);
  });

  test('with an empty value deletes that image; without a key there is nothing to delete', () => {
    for (const value of [null, Buffer.alloc(0)]) {
      expect(parse({ value })).toEqual({ kind: 'tombstone', id: 'folder/a.png' });
      expect(parse({ value, key: null })).toMatchObject({ kind: 'bad', reason: 'delete-without-key' });
    }
  });
});

describe('the known label', () => {
  test('comes from the header, by class name or by index', () => {
    expect(withHeaders({ 'known-label': 'dog' }).knownLabel).toBe(1);
    expect(withHeaders({ 'known-label': ' 1 ' }).knownLabel).toBe(1);
  });

  test('is a class name before it is an index', () => {
    // Class number 2 is called "0".
    expect(withHeaders({ 'known-label': '0' }).knownLabel).toBe(2);
  });

  test("of the header wins over the dataset's rule, also when it says that nothing is known", () => {
    const rule = { labelFrom: 'parent-folder', classes: ['folder', 'dog'] } as const;
    expect(withHeaders({}, { ...rule, classes: [...rule.classes] }).knownLabel).toBe(0);
    expect(withHeaders({ 'known-label': 'dog' }, { ...rule, classes: [...rule.classes] }).knownLabel).toBe(1);
    expect(withHeaders({ 'known-label': '' }, { ...rule, classes: [...rule.classes] }).knownLabel).toBeNull();
  });

  test('that names no class is left out and said so; the image stays', () => {
    for (const label of ['walrus', '3', '-1', '1.5', 'do\0g']) {
      const parsed = withHeaders({ 'known-label': label });
      expect(parsed.knownLabel).toBeNull();
      expect(parsed.ignored).toMatchObject([{ header: 'known-label', value: label }]);
    }
  });

  test('is not read out of an id that we made up', () => {
    const parsed = parseImage({ key: null }, { labelFrom: 'parent-folder', classes: ['3'] });
    expect(parsed).toMatchObject({ knownLabel: null, ignored: [] });
  });
});

describe('headers', () => {
  test('give time, place and camera', () => {
    expect(
      withHeaders({
        'captured-at': '2026-11-21T14:30:00,250+01:00',
        latitude: ' -47.37 ',
        longitude: '180',
        camera: ' X100 ',
        'content-type': 'image/png',
        other: 'ignored without a word',
      }),
    ).toMatchObject({
      metadata: {
        capturedAt: new Date('2026-11-21T13:30:00.250Z'),
        capturedOffset: 60,
        latitude: -47.37,
        longitude: 180,
        camera: 'X100',
      },
      ignored: [],
    });
  });

  test.each([
    ['2026-11-21', '2026-11-21T00:00:00Z', null],
    // No zone: UTC, wherever the process runs.
    ['2026-11-21T14:30', '2026-11-21T14:30:00Z', null],
    ['2026-11-21 14:30:05.5', '2026-11-21T14:30:05.500Z', null],
    ['2024-02-29T00:00:00Z', '2024-02-29T00:00:00Z', 0],
    ['2026-11-21T14:30:00+0530', '2026-11-21T09:00:00Z', 330],
    ['2026-11-21T14:30:00-03:00', '2026-11-21T17:30:00Z', -180],
    // A moment all the same, but no place on Earth has that zone.
    ['2026-11-21T14:30:00+23:00', '2026-11-20T15:30:00Z', null],
  ])('captured-at %s is %s, with the offset %s', (text, expected, offset) => {
    expect(withHeaders({ 'captured-at': text }).metadata).toEqual({
      capturedAt: new Date(expected),
      capturedOffset: offset,
    });
  });

  test.each(['yesterday', '1', '2026', '21.11.2026', '2026-02-30', '2026-13-01', '2026-11-21T25:00Z', ''])(
    'captured-at “%s” is left out and said so',
    (text) => {
      const { metadata, ignored } = withHeaders({ 'captured-at': text });
      expect(metadata).toEqual({});
      expect(ignored).toMatchObject([{ header: 'captured-at', value: text }]);
    },
  );

  test.each([
    ['latitude', '90.1'],
    ['latitude', 'north'],
    ['longitude', '-181'],
    ['longitude', ''],
    ['longitude', 'NaN'],
  ])('%s “%s” is left out, and with it the other half of the place', (name, value) => {
    const { metadata, ignored } = withHeaders({ latitude: '1', longitude: '1', [name]: value });
    expect(metadata).toEqual({});
    expect(ignored).toMatchObject([{ header: name, value }]);
  });

  test('half a place is none', () => {
    expect(withHeaders({ latitude: '1' }).metadata).toEqual({});
  });

  test('a camera with a NUL byte is left out', () => {
    expect(withHeaders({ camera: 'X\0' })).toMatchObject({ metadata: {}, ignored: [{ header: 'camera' }] });
  });

  test('may be called like what every JavaScript object has', () => {
    const named: SourceMessage['headers'] = ['__proto__', 'constructor', '__defineGetter__', 'toString'].map(
      (name) => [name, Buffer.from('x')],
    );
    expect(parseImage({ headers: named })).toMatchObject({ metadata: {}, ignored: [] });
  });
});

describe('a message without a value', () => {
  const named = (url: string) => headers({ 'known-label': 'cat', 'image-url': url });

  test('whose header names an image is no deletion, whatever the header says', () => {
    for (const value of [null, Buffer.alloc(0)]) {
      for (const url of ['http://host/a.png', '', 'no url']) {
        expect(parse({ value, headers: named(url) })).toEqual({ kind: 'claim', id: 'folder/a.png' });
        expect(parse({ key: null, value, headers: named(url) })).toEqual({ kind: 'claim', id: 'topic/3/7' });
        expect(claimedUrl(message({ value, headers: named(url) }))).toBe(url);
      }
      expect(claimedUrl(message({ value, headers: headers({ 'known-label': 'cat' }) }))).toBeNull();
    }
    expect(claimedUrl(message({ value: null, headers: [...named('a'), ...named(' b ')] }))).toBe('b');
  });

  test('whose key cannot be an id names nothing that is fetched', () => {
    const claim = { key: Buffer.from('a\0b'), value: null, headers: named('http://host/a.png') };
    expect(claimedUrl(message(claim))).toBeNull();
    expect(parse(claim)).toMatchObject({ kind: 'bad', reason: 'id-with-nul' });
  });

  test('names nothing when it has one, and the header is left out', () => {
    const url = 'http://ann:geheim@host/a.png?key=geheim';
    expect(claimedUrl(message({ headers: named(url) }))).toBeNull();
    const { value, ignored } = parseImage({ headers: named(url) });
    expect(value).toBe(BYTES);
    expect(ignored).toMatchObject([{ header: 'image-url', value: 'http://host/a.png' }]);
  });
});

describe('a message as kafkajs gives it', () => {
  const from = (headersOfKafkajs: Record<string, unknown>, timestamp = '1000') =>
    sourceMessage({
      offset: '7',
      timestamp,
      key: Buffer.from('a'),
      value: BYTES,
      headers: headersOfKafkajs as Record<string, Buffer>,
      attributes: 0,
    });

  test('keeps headers in order, repeated ones each', () => {
    const [a, b, c] = ['a', 'b', 'c'].map((text) => Buffer.from(text)) as [Buffer, Buffer, Buffer];
    expect(from({ one: a, two: [b, c] }).headers).toEqual([
      ['one', a],
      ['two', b],
      ['two', c],
    ]);
  });

  test('has no value for a header without one, and what objects inherit is no header', () => {
    const value = Buffer.from('x');
    expect(from({ empty: null, constructor: [Object, value] }).headers).toEqual([['constructor', value]]);
    // Else a producer without a URL would delete what it meant to name.
    expect(from({ 'image-url': null }).headers).toEqual([['image-url', Buffer.alloc(0)]]);
  });

  test('has a time that the database can hold, whatever the producer wrote', () => {
    expect(from({}, '-9223372036854775808').timestamp).toBe(Date.UTC(1900, 0, 1));
    expect(from({}, '9223372036854775807').timestamp).toBe(Date.UTC(9999, 11, 31));
    expect(from({}, '-1').timestamp).toBe(-1);
  });
});
