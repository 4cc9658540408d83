import { decodeCell, encodeCell } from '../../../kudu/encoding/cell.ts';
import { type ColumnSpec, defineColumn } from '../../../kudu/schema/column.ts';
import { Schema } from '../../../kudu/schema/schema.ts';
import type { ColumnType } from '../../../kudu/schema/types.ts';
import { checkValue, decimalText, type KuduValue } from '../../../kudu/schema/values.ts';

const column = (type: ColumnSpec['type'], more: Partial<ColumnSpec> = {}) =>
  defineColumn({ name: 'c', type, ...more });

const GOOD: [ColumnType, Partial<ColumnSpec>, KuduValue, unknown][] = [
  ['INT8', {}, -128, -128],
  ['INT8', {}, 127n, 127],
  ['INT16', {}, -32768, -32768],
  ['INT32', {}, 2147483647, 2147483647],
  ['INT64', {}, -(2n ** 63n), -(2n ** 63n)],
  ['INT64', {}, 2 ** 53 - 1, 2n ** 53n - 1n],
  ['UNIXTIME_MICROS', {}, 2n ** 63n - 1n, 2n ** 63n - 1n],
  ['UNIXTIME_MICROS', {}, new Date('1969-12-31T23:59:59.999Z'), -1000n],
  ['DATE', {}, new Date('9999-12-31'), 2932896],
  ['DATE', {}, -719162, -719162],
  ['BOOL', {}, true, true],
  ['FLOAT', {}, 0.1, Math.fround(0.1)],
  ['FLOAT', {}, -Infinity, -Infinity],
  ['DOUBLE', {}, NaN, NaN],
  ['STRING', {}, '', ''],
  ['STRING', {}, '\u0000 ü 😀', '\u0000 ü 😀'],
  ['VARCHAR', { length: 2 }, '😀😀', '😀😀'],
  ['BINARY', {}, Uint8Array.of(0, 255), Uint8Array.of(0, 255)],
  ['DECIMAL32', { precision: 9, scale: 2 }, '-9999999.99', -999999999n],
  ['DECIMAL32', { precision: 4, scale: 3 }, '+1.5000', 1500n],
  ['DECIMAL64', { precision: 18 }, 10n ** 18n - 1n, 10n ** 18n - 1n],
  ['DECIMAL128', { precision: 38, scale: 38 }, -(10n ** 38n - 1n), -(10n ** 38n - 1n)],
];

test.each(GOOD)('%s %j takes %p, and its bytes read back as %p', (type, more, value, expected) => {
  const one = column(type, more);
  expect(checkValue(one, value)).toEqual(expected);
  expect(decodeCell(one, encodeCell(one, value))).toEqual(expected);
});

const BAD: [ColumnType, Partial<ColumnSpec>, unknown, string][] = [
  ['INT8', {}, 128, 'Column c (INT8): 128 is to be from -128 to 127.'],
  ['INT16', {}, -32769, 'from -32768 to 32767'],
  ['INT32', {}, 1.5, 'Column c (INT32): 1.5 is to be an integer.'],
  ['INT32', {}, '1', '"1" is to be an integer'],
  ['INT64', {}, 2n ** 63n, 'from -9223372036854775808 to 9223372036854775807'],
  ['INT64', {}, 2 ** 53, 'a bigint, a safe integer.'],
  ['INT64', {}, new Date(0), 'a bigint, a safe integer.'],
  ['UNIXTIME_MICROS', {}, new Date(NaN), 'Invalid Date is to be a valid Date'],
  ['DATE', {}, 2932897, 'from -719162 to 2932896'],
  ['DATE', {}, new Date(1), 'midnight in UTC'],
  ['BOOL', {}, 1, 'true or false'],
  ['FLOAT', {}, 3.5e38, 'within ±'],
  ['DOUBLE', {}, 1n, 'a number'],
  ['STRING', {}, Uint8Array.of(1), 'Uint8Array(1) is to be a string'],
  ['STRING', {}, 'a\ud800', 'without lone surrogates'],
  ['VARCHAR', { length: 2 }, 'abc', 'of at most 2 characters'],
  ['BINARY', {}, 'abc', 'a Uint8Array'],
  ['DECIMAL32', { precision: 4, scale: 2 }, 5, 'an unscaled bigint or a decimal text'],
  ['DECIMAL32', { precision: 4, scale: 2 }, 10000n, 'of at most 4 digits, 2 after the point'],
  ['DECIMAL32', { precision: 4, scale: 2 }, '0.125', 'without more than 2 digits after the point'],
  ['DECIMAL32', { precision: 4, scale: 2 }, '1e2', 'a decimal such as -12.50'],
  ['INT8', {}, null, 'null is to be set'],
];

test.each(BAD)('%s %j refuses %p: … %s', (type, more, value, message) => {
  expect(() => checkValue(column(type, more), value as KuduValue)).toThrow(message);
});

test('a DECIMAL is stored in the narrowest type that holds its digits', () => {
  const types = [9, 10, 18, 19, 38].map((precision) => column('DECIMAL', { precision }).type);
  expect(types).toEqual(['DECIMAL32', 'DECIMAL64', 'DECIMAL64', 'DECIMAL128', 'DECIMAL128']);
  expect(() => column('DECIMAL', { precision: 39 })).toThrow('at most 38 digits');
});

test('a decimal as text keeps its zeros', () => {
  expect(decimalText(-1250n, 2)).toBe('-12.50');
  expect(decimalText(5n, 3)).toBe('0.005');
  expect(decimalText(0n, 0)).toBe('0');
});

test('attributes that do not fit the type are refused with the column named', () => {
  expect(() => column('VARCHAR')).toThrow('Column c (VARCHAR): the length is from 1 to 65535');
  expect(() => column('DECIMAL32', { precision: 10 })).toThrow('the precision is from 1 to 9');
  expect(() => column('DECIMAL64', { precision: 4, scale: 5 })).toThrow('the scale is from 0');
  expect(() => column('INT32', { length: 3 })).toThrow('only VARCHAR has a length');
  expect(() => column('DOUBLE', { key: true })).toThrow('a key column is no float');
  expect(() => column('INT8', { key: true, nullable: true })).toThrow('never null');
  expect(() => column('TEXT' as ColumnType)).toThrow('no such type');
});

test('a cell of the wrong size, or of bytes that are no UTF-8, is refused', () => {
  expect(() => decodeCell(column('INT32'), new Uint8Array(3))).toThrow('has 4 bytes, not 3');
  expect(() => decodeCell(column('STRING'), Uint8Array.of(0xff))).toThrow('no UTF-8');
});

test('a schema finds columns by name and by id, and says what there is', () => {
  const schema = new Schema([
    { name: 'a', type: 'INT32', key: true, id: 10 },
    { name: 'b', type: 'STRING', key: true, id: 11 },
    { name: 'c', type: 'DOUBLE', nullable: true, id: 12 },
  ]);
  expect(schema.keyColumns.map(({ name }) => name)).toEqual(['a', 'b']);
  expect(schema.indexOfId(12)).toBe(2);
  expect(schema.hasNullable).toBe(true);
  expect(schema.project(['c', 'a']).columns.map(({ name }) => name)).toEqual(['c', 'a']);
  expect(() => schema.column('d')).toThrow('There is no column d; there are a, b, c.');
});

test('a schema has no name twice, and no key column behind others', () => {
  const a: ColumnSpec = { name: 'a', type: 'INT32' };
  expect(() => new Schema([a, a])).toThrow('two columns named a');
  expect(() => new Schema([a, { ...a, name: 'b', key: true }])).toThrow('Key column b is behind');
});
