import { expect, test } from '@jest/globals';
import type { SourceMessage } from '../../sql/dead-letters.ts';
import { EncodedRows } from '../../sql/encoded-rows.ts';

const messages = ['a', 'b', 'c', 'd'].map((id, offset): SourceMessage => ({
  offset,
  timestamp: 0,
  key: Buffer.from(id),
  value: null,
  headers: [],
}));
const rows = new EncodedRows(
  Buffer.from('A BB CCC DDDD and what is no row'),
  Uint32Array.of(2, 5, 9, 13),
  messages,
  ({ key }) => `id ${key!.toString()}`,
);
const look = (of: EncodedRows) => [of.length, Buffer.from(of.bytes).toString(), of.ids];

test('rows and their images can be cut in parts, and those again', () => {
  expect(look(rows)).toEqual([4, 'A BB CCC DDDD', ['id a', 'id b', 'id c', 'id d']]);
  expect(look(rows.slice(0, 2))).toEqual([2, 'A BB ', ['id a', 'id b']]);
  expect(look(rows.slice(1))).toEqual([3, 'BB CCC DDDD', ['id b', 'id c', 'id d']]);
  expect(look(rows.slice(1).slice(1, 2))).toEqual([1, 'CCC ', ['id c']]);
  expect(look(rows.slice(1).slice(0, 1))).toEqual([1, 'BB ', ['id b']]);
  expect(look(rows.slice(4))).toEqual([0, '', []]);
  expect(rows.slice(2).messages).toEqual(messages.slice(2));
});
