import { RowOperations } from '../../../kudu/encoding/row-operations.ts';
import { Schema } from '../../../kudu/schema/schema.ts';

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');

const NARROW = new Schema([
  { name: 'id', type: 'INT64', key: true },
  { name: 'note', type: 'STRING', nullable: true },
  { name: 'level', type: 'INT16', default: 7 },
]);

test('a row is the operation, the bitmaps and the cells; text lies apart', () => {
  const operations = new RowOperations(NARROW);
  operations.append('UPSERT', { id: 1, note: 'ü', level: -2 });
  operations.append('INSERT', { id: 2n ** 62n, note: null });
  operations.append('DELETE', { id: 3, note: 'left out' });
  operations.append('UPDATE', { id: 4, note: 'a' });
  expect(hex(operations.rows)).toBe(
    [
      '05 07 00 0100000000000000 0000000000000000 0200000000000000 feff',
      '01 03 02 0000000000000040',
      '03 01 00 0300000000000000',
      '02 03 00 0400000000000000 0200000000000000 0100000000000000',
    ]
      .join('')
      .replaceAll(' ', ''),
  );
  expect(Buffer.from(operations.indirectData).toString()).toBe('üa');
  expect([operations.count, operations.byteLength]).toEqual([4, operations.rows.length + 3]);
});

test('without a nullable column there is no bitmap of nulls', () => {
  const operations = new RowOperations(new Schema([{ name: 'id', type: 'INT8', key: true }]));
  operations.append('INSERT_IGNORE', { id: -1 });
  expect(hex(operations.rows)).toBe('0a01ff');
});

test('the bitmaps of nine columns have two bytes', () => {
  const operations = new RowOperations(
    new Schema(
      Array.from({ length: 9 }, (_, index) =>
        index === 0
          ? { name: 'c0', type: 'INT8', key: true }
          : { name: `c${index}`, type: 'BOOL', nullable: true },
      ),
    ),
  );
  operations.append('UPSERT', { c0: 5, c3: true, c8: null });
  expect(hex(operations.rows)).toBe('05 0901 0001 05 01'.replaceAll(' ', ''));
});

test('a bad row is named and leaves nothing behind', () => {
  const operations = new RowOperations(NARROW);
  operations.append('UPSERT', { id: 1, note: 'a' });
  const before = [hex(operations.rows), hex(operations.indirectData)];
  const refused: [Record<string, unknown>, string][] = [
    [{ note: 'a' }, 'Column id is part of the key and is not set.'],
    [{ id: 2, note: 'abc', level: 40000 }, 'Column level (INT16): 40000 is to be from -32768 to 32767.'],
    [{ id: 2, level: null }, 'Column level (INT16): null is to be set: the column takes no nulls.'],
    [{ id: 2, notes: 'a' }, 'There is no column notes; there are id, note, level.'],
  ];
  for (const [row, message] of refused)
    expect(() => operations.append('UPSERT', row as never)).toThrow(message);
  expect([hex(operations.rows), hex(operations.indirectData)]).toEqual(before);
  expect(operations.count).toBe(1);
});

test('an insert sets what has no default; an update need not', () => {
  const schema = new Schema([
    { name: 'id', type: 'INT64', key: true },
    { name: 'size', type: 'INT32' },
  ]);
  const operations = new RowOperations(schema);
  expect(() => operations.append('INSERT', { id: 1 })).toThrow('Column size is not set; it takes no nulls');
  operations.append('UPDATE', { id: 1 });
  operations.append('RANGE_LOWER_BOUND', {});
  expect(hex(operations.rows)).toBe('02010100000000000000' + '0600');
});

test('the buffers grow with the rows, and long text goes in whole', () => {
  const operations = new RowOperations(NARROW);
  const note = 'abcü'.repeat(5000);
  for (let id = 0; id < 50; id++) operations.append('UPSERT', { id, note, level: id });
  expect(Buffer.from(operations.indirectData).toString()).toBe(note.repeat(50));
  const lastRow = operations.rows.subarray(-(3 + 8 + 16 + 2));
  expect(hex(lastRow)).toBe(`0507003100000000000000${hex(reference(49 * 25000, 25000))}3100`);
});

function reference(offset: number, length: number): Uint8Array {
  const bytes = Buffer.alloc(16);
  bytes.writeBigUInt64LE(BigInt(offset));
  bytes.writeBigUInt64LE(BigInt(length), 8);
  return bytes;
}
