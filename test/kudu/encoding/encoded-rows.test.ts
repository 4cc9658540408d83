import fc from 'fast-check';
import { encodeCell } from '../../../kudu/encoding/cell.ts';
import { decodeEncodedRow, decodeRows } from '../../../kudu/encoding/decode-row-operations.ts';
import { EncodedKeys } from '../../../kudu/encoding/encoded-key.ts';
import { GrowingBytes } from '../../../kudu/encoding/growing-bytes.ts';
import { type Row, writeKey } from '../../../kudu/encoding/key.ts';
import { RowEncoder } from '../../../kudu/encoding/row-encoder.ts';
import { type Operation, RowOperations } from '../../../kudu/encoding/row-operations.ts';
import { Schema } from '../../../kudu/schema/schema.ts';
import { KuduValueError } from '../../../kudu/schema/value-error.ts';
import { encode, schemaAndRows } from '../support/encoded-rows.ts';

const bytesOf = ({ rows, indirectData, count }: RowOperations) => ({
  rows: Buffer.from(rows).toString('hex'),
  indirectData: Buffer.from(indirectData).toString('hex'),
  count,
});

/** Rows are copied about before they are put together. */
const elsewhere = (
  { bytes, start, end }: { bytes: Uint8Array; start: number; end: number },
  gap: number,
) => ({
  bytes: Uint8Array.from([...new Uint8Array(gap), ...bytes.subarray(start, end), 1, 2, 3]),
  start: gap,
  end: gap + end - start,
});

const OPERATIONS = ['INSERT', 'UPSERT', 'UPDATE', 'INSERT_IGNORE'] as const;

test('rows that were encoded apart are put together as objects are', () => {
  fc.assert(
    fc.property(
      schemaAndRows,
      fc.constantFrom(...OPERATIONS),
      fc.nat(9),
      ([schema, rows], operation, gap) => {
        const expected = new RowOperations(schema);
        const found = new RowOperations(schema);
        const encoder = new RowEncoder(schema, 8);
        const encoded = rows.map((row) => encode(encoder, row));
        const all = encoder.bytes();
        rows.forEach((row, i) => {
          expected.append(operation, row);
          const { start, end } = encoded[i]!;
          found.appendEncoded(operation, i % 2 ? elsewhere(encoded[i]!, gap) : { bytes: all, start, end });
        });
        expect(bytesOf(found)).toEqual(bytesOf(expected));
      },
    ),
  );
});

test('cells that are changed or left out are as if the object had been so', () => {
  const choice = fc.constantFrom('same', 'other', 'out');
  fc.assert(
    fc.property(
      schemaAndRows,
      fc.array(choice, { minLength: 23, maxLength: 23 }),
      ([schema, rows], choices) => {
        const expected = new RowOperations(schema);
        const found = new RowOperations(schema);
        const encoder = new RowEncoder(schema);
        for (const row of rows) {
          const changed: Record<string, Row[string]> = { ...row };
          const cells: Uint8Array[] = [];
          const leftOut: boolean[] = [];
          schema.columns.forEach((column, index) => {
            const value = rows[0]![column.name];
            const isFixed = !['STRING', 'VARCHAR', 'BINARY'].includes(column.type);
            if (choices[index] === 'out' && !column.key) {
              leftOut[index] = true;
              changed[column.name] = undefined;
            } else if (choices[index] === 'other' && isFixed && value !== null && value !== undefined) {
              cells[index] = encodeCell(column, value);
              if (row[column.name] !== null && row[column.name] !== undefined) changed[column.name] = value;
            }
          });
          expected.append('UPDATE', changed);
          found.appendEncoded('UPDATE', encode(encoder, row), { cells, leftOut });
        }
        // Of what is left out, bytes that lie apart come along and nothing refers to them.
        const decoded = (of: RowOperations) => decodeRows(schema, of.rows, of.indirectData);
        expect(decoded(found)).toEqual(decoded(expected));
        expect(Buffer.from(found.rows).length).toBe(expected.rows.length);
      },
    ),
  );
});

test('its keys are those of the object', () => {
  fc.assert(
    fc.property(schemaAndRows, ([schema, rows]) => {
      const encoder = new RowEncoder(schema);
      const keys = new EncodedKeys(schema);
      const all = schema.keyColumns.map((_, index) => index);
      for (const row of rows) {
        keys.read(encode(encoder, row));
        for (const columns of [all, all.slice(0, 1), all.toReversed()]) {
          const [expected, found] = [new GrowingBytes(8), new GrowingBytes(8)];
          writeKey(expected, schema, columns, row);
          keys.write(found, columns);
          expect(Buffer.from(found.filled())).toEqual(Buffer.from(expected.filled()));
        }
      }
    }),
  );
});

test('what is read from an encoded row is what went in', () => {
  const schema = new Schema([
    { name: 'id', type: 'STRING', key: true },
    { name: 'n', type: 'INT64', nullable: true },
    { name: 'bytes', type: 'BINARY', nullable: true },
    { name: 'hex', type: 'STRING', nullable: true },
    { name: 'written', type: 'STRING', nullable: true },
    { name: 'nothing', type: 'BOOL', nullable: true },
    { name: 'unset', type: 'BOOL', nullable: true },
  ]);
  const encoder = new RowEncoder(schema);
  encoder.begin();
  encoder.ascii(0, 'a/1');
  encoder.int64(1, -(2 ** 40) - 1);
  encoder.bytesOf(2, Uint8Array.of(1, 2), Uint8Array.of(3));
  encoder.hex(3, '\x00\x1f\xff');
  encoder.write(4, 100, (bytes, at) => at + bytes.write('[1]', at));
  encoder.bool(5, null);
  const { values } = decodeEncodedRow(schema, encoder.end());
  const of = Object.fromEntries([...values].map(([index, value]) => [schema.columns[index]!.name, value]));
  expect(of).toEqual({
    id: 'a/1',
    n: -(2n ** 40n) - 1n,
    bytes: Buffer.of(1, 2, 3),
    hex: '001fff',
    written: '[1]',
    nothing: null,
  });
});

describe('an encoder refuses', () => {
  const schema = new Schema([
    { name: 'id', type: 'STRING', key: true },
    { name: 'n', type: 'INT32' },
    { name: 'm', type: 'INT32', nullable: true },
  ]);
  const refused: [string, (encoder: RowEncoder) => void, string][] = [
    ['a value of another type', (encoder) => encoder.int64(1, 1), 'Column n is of type INT32.'],
    ['text for a number', (encoder) => encoder.text(1, 'a'), 'Column n is of type INT32.'],
    ['a null where none may be', (encoder) => encoder.int32(1, null), 'Column n (INT32) takes no nulls.'],
    ['a row without a column that must be set', (encoder) => encoder.end(), 'Column n is not set.'],
    ['a column twice', (encoder) => encoder.text(0, 'b'), 'in order'],
  ];
  test.each(refused)('%s', (_, write, message) => {
    const encoder = new RowEncoder(schema);
    encoder.begin();
    encoder.text(0, 'a');
    expect(() => write(encoder)).toThrow(message);
  });
});

test('bytes that are no encoded row are refused or harmless, and leave nothing behind', () => {
  fc.assert(
    fc.property(
      schemaAndRows,
      fc.array(fc.tuple(fc.nat(), fc.nat(255)), { minLength: 1, maxLength: 4 }),
      fc.nat(40),
      ([schema, rows], changes, cut) => {
        const encoder = new RowEncoder(schema);
        const row = elsewhere(encode(encoder, rows[0]!), 0);
        for (const [at, byte] of changes) row.bytes[at % row.end] = byte;
        const operations = new RowOperations(schema);
        operations.append('INSERT', rows[0]!);
        const before = bytesOf(operations);
        try {
          operations.appendEncoded('INSERT' satisfies Operation, {
            ...row,
            end: Math.max(0, row.end - (cut % 5)),
          });
        } catch (error) {
          expect(error).toBeInstanceOf(KuduValueError);
          expect(bytesOf(operations)).toEqual(before);
        }
      },
    ),
  );
});
