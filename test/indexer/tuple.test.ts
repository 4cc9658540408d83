import { describe, expect, test } from '@jest/globals';
import { documentJson } from '../../indexer/document-json.ts';
import { AT } from '../../indexer/documents.ts';
import { filledUp, newTuple, type Tuple, TupleStore } from '../../indexer/tuple.ts';

const UNCHANGED = Symbol('unchanged');
type Value = string | null | typeof UNCHANGED;

/** TupleData: https://www.postgresql.org/docs/current/protocol-logicalrep-message-formats.html */
function tupleData(values: Value[]): Buffer {
  const parts = values.map((value) => {
    if (value === null) return Buffer.from('n');
    if (value === UNCHANGED) return Buffer.from('u');
    const head = Buffer.from('t....');
    head.writeInt32BE(Buffer.byteLength(value), 1);
    return Buffer.concat([head, Buffer.from(value)]);
  });
  const count = Buffer.alloc(2);
  count.writeInt16BE(values.length);
  return Buffer.concat([count, ...parts]);
}

const insert = (values: Value[]) => Buffer.concat([Buffer.from('I....N'), tupleData(values)]);
const update = (key: Value[], values: Value[]) =>
  Buffer.concat([Buffer.from('U....O'), tupleData(key), Buffer.from('N'), tupleData(values)]);

/** The table may have its columns in any order, and others between them. */
const PLACES = [AT.revision, -1, AT.dataset, AT.camera, AT.id, AT.exif];
const WANTED = [AT.dataset, AT.id, AT.revision];
const VALUES = ['7', 'not ours', 'd', 'Gate ü', 'ä/1.png', '{"a": "b"}'];
const DOCUMENT = { revision: 7, dataset: 'd', camera: 'Gate ü', id: 'ä/1.png', exif: { a: 'b' } };

const documentOf = (tuple: Tuple) => JSON.parse(documentJson(tuple, [])) as object;

describe('a row of the change feed', () => {
  test('is found in an insert, with what is wanted of it', () => {
    const { tuple, columns } = newTuple(insert(VALUES), PLACES, WANTED);
    expect(columns).toEqual(['d', 'ä/1.png', '7']);
    expect(tuple.complete).toBe(true);
    expect(documentOf(tuple)).toEqual(DOCUMENT);
  });

  test('is found behind the old row of an update', () => {
    const old = ['6', null, 'd', UNCHANGED, 'N', null] as Value[];
    expect(documentOf(newTuple(update(old, VALUES), PLACES, WANTED).tuple)).toEqual(DOCUMENT);
  });

  test('outlives its message', () => {
    const store = new TupleStore();
    const message = insert(VALUES);
    // Enough for several blocks of memory.
    const kept = Array.from({ length: 10_000 }, () => store.keep(newTuple(message, PLACES, WANTED).tuple));
    const large = store.keep(newTuple(insert(['8', null, 'd', 'x'.repeat(1e6), 'i']), PLACES, WANTED).tuple);
    message.fill(0);
    for (const tuple of kept) expect(documentOf(tuple)).toEqual(DOCUMENT);
    expect(documentOf(large)).toEqual({ revision: 8, dataset: 'd', camera: 'x'.repeat(1e6), id: 'i' });
  });

  test('is filled up with what the change before it holds, and stays incomplete where that lacks it, too', () => {
    const [older, newer, newest] = [
      ['7', null, 'd', 'old', 'i', '{"a": 1}'],
      ['8', null, 'd', null, 'i', UNCHANGED],
      ['9', null, 'd', UNCHANGED, 'i', UNCHANGED],
    ].map((values) => newTuple(insert(values as Value[]), PLACES, WANTED).tuple) as [Tuple, Tuple, Tuple];
    expect(newer.complete).toBe(false);
    const filled = filledUp(newer, older);
    expect(documentOf(filled)).toEqual({ revision: 8, dataset: 'd', id: 'i', exif: { a: 1 } });
    expect(filledUp(newest, newer).complete).toBe(false);
  });

  test('is refused when its message ends too early, or holds what the protocol does not give us', () => {
    const message = insert(VALUES);
    for (let end = 6; end < message.length; end++)
      expect(() => newTuple(message.subarray(0, end), PLACES, WANTED)).toThrow();
    const binary = Buffer.from(message);
    binary[8] = 'b'.charCodeAt(0);
    expect(() => newTuple(binary, PLACES, WANTED)).toThrow(TypeError);
  });
});
