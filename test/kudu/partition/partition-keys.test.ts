import { type Operation, RowOperations } from '../../../kudu/encoding/row-operations.ts';
import type { PartitionSchemaMessage } from '../../../kudu/messages/partition-schema.ts';
import { PartitionSchema } from '../../../kudu/partition/partition-schema.ts';
import { Schema } from '../../../kudu/schema/schema.ts';

const SCHEMA = new Schema([
  { name: 'a', type: 'INT32', key: true, id: 0 },
  { name: 'b', type: 'STRING', key: true, id: 1 },
  { name: 'c', type: 'STRING', key: true, id: 2 },
]);
const ids = (...columns: number[]) => columns.map((id) => ({ id }));

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');

function bounds(...rows: [Operation, object][]) {
  const operations = new RowOperations(SCHEMA);
  for (const [operation, row] of rows) operations.append(operation, { ...row });
  return { rows: operations.rows, indirectData: operations.indirectData };
}

const HASH_AND_RANGE: PartitionSchemaMessage = {
  hashSchemas: [
    { columns: ids(0, 1), buckets: 32, seed: 0 },
    { columns: ids(2), buckets: 32, seed: 42 },
  ],
  rangeColumns: ids(0, 1, 2),
  customRanges: [],
};

// From TestKeyEncoding.java, testPartitionKeyEncoding.
test.each([
  [{ a: 0, b: '', c: '' }, '00000000 00000014 80000000 0000'],
  [{ a: 1, b: '', c: '' }, '00000005 00000014 80000001 0000'],
  [{ a: 0, b: 'b', c: 'c' }, '0000001a 0000001d 80000000 620000 63'],
  [{ a: 1, b: 'b', c: 'c' }, '00000000 0000001d 80000001 620000 63'],
])('the partition key of %j', (row, expected) => {
  const schema = new PartitionSchema(SCHEMA, HASH_AND_RANGE);
  expect(hex(schema.partitionKey(row))).toBe(expected.replaceAll(' ', ''));
  const { hashKey, rangeKey } = schema.keyParts(row);
  expect([hashKey.length, hex(hashKey) + hex(rangeKey)]).toEqual([8, expected.replaceAll(' ', '')]);
});

// From TestKeyEncoding.java, testPartitionKeyEncodingCustomHashSchema.
test.each([
  [{ a: 1, b: 'C', c: 'D' }, '00000010 80000001 430000 44'],
  [{ a: 11, b: '', c: 'd' }, '00000002 8000000b 0000 64'],
])('the partition key of %j where one range is hashed in a way of its own', (row, expected) => {
  const schema = new PartitionSchema(SCHEMA, {
    hashSchemas: [{ columns: ids(2), buckets: 3, seed: 0 }],
    rangeColumns: ids(0, 1, 2),
    customRanges: [
      {
        bounds: bounds(
          ['RANGE_LOWER_BOUND', { a: 0, b: 'B', c: 'C' }],
          ['RANGE_UPPER_BOUND', { a: 10, b: 'b', c: 'c' }],
        ),
        hashSchemas: [{ columns: ids(0, 1), buckets: 32, seed: 0 }],
      },
    ],
  });
  expect(hex(schema.partitionKey(row))).toBe(expected.replaceAll(' ', ''));
});

test('a bound that sets some columns has the least values for the others; one that sets none is no bound', () => {
  const schema = new PartitionSchema(SCHEMA, {
    ...HASH_AND_RANGE,
    customRanges: [
      {
        bounds: bounds(['RANGE_LOWER_BOUND', { b: 'x' }], ['RANGE_UPPER_BOUND', {}]),
        hashSchemas: [],
      },
    ],
  });
  expect(hex(schema.customRanges[0]!.lower)).toBe('00000000780000');
  expect(schema.customRanges[0]!.upper).toHaveLength(0);
});

test('a range without both of its bounds is refused', () => {
  const customRanges = [{ bounds: bounds(['RANGE_LOWER_BOUND', { a: 1 }]), hashSchemas: [] }];
  expect(() => new PartitionSchema(SCHEMA, { ...HASH_AND_RANGE, customRanges })).toThrow(
    'without its two bounds',
  );
});

test('bounds whose bytes are cut short, or point outside, are refused', () => {
  const whole = bounds(['RANGE_LOWER_BOUND', { a: 1, b: 'abc' }], ['RANGE_UPPER_BOUND', { a: 2, b: 'abc' }]);
  const cut = { ...whole, rows: whole.rows.subarray(0, -1) };
  const outside = { ...whole, indirectData: whole.indirectData.subarray(1) };
  for (const [bad, message] of [
    [cut, 'ends in the middle'],
    [outside, 'not there'],
  ] as const) {
    const customRanges = [{ bounds: bad, hashSchemas: [] }];
    expect(() => new PartitionSchema(SCHEMA, { ...HASH_AND_RANGE, customRanges })).toThrow(message);
  }
});

test('without range columns named, the range is over the whole primary key', () => {
  const schema = new PartitionSchema(SCHEMA, { hashSchemas: [], rangeColumns: undefined, customRanges: [] });
  expect(hex(schema.partitionKey({ a: 0, b: '', c: 'z' }))).toBe('8000000000007a');
});
