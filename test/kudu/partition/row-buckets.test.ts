import fc from 'fast-check';
import { GrowingBytes } from '../../../kudu/encoding/growing-bytes.ts';
import { type Row, writeKey } from '../../../kudu/encoding/key.ts';
import { hashBucket } from '../../../kudu/encoding/murmur.ts';
import { RowEncoder } from '../../../kudu/encoding/row-encoder.ts';
import { RowOperations } from '../../../kudu/encoding/row-operations.ts';
import { looseRows } from '../../../kudu/partition/loose-rows.ts';
import type { HashSchema } from '../../../kudu/partition/partition-schema.ts';
import { RowBucketer } from '../../../kudu/partition/row-buckets.ts';
import type { Schema } from '../../../kudu/schema/schema.ts';
import { encode, schemaAndRows } from '../support/encoded-rows.ts';

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');
const bytesOf = ({ rows, indirectData }: { rows: Uint8Array; indirectData: Uint8Array }) => [
  hex(rows),
  hex(indirectData),
];

const seeds = fc.nat(0xffff_ffff);
const cases = schemaAndRows.chain(([schema, rows]) =>
  fc.tuple(
    fc.constant(schema),
    fc.constant(rows),
    fc
      .tuple(fc.integer({ min: 0, max: schema.keyCount }), fc.integer({ min: 1, max: 5 }), seeds)
      .map(([columns, buckets, seed]): HashSchema => ({
        columns: Array.from({ length: columns }, (_, i) => i),
        buckets: columns === 0 ? 1 : buckets,
        seed,
      })),
  ),
);

function arrange(schema: Schema, hash: HashSchema, rows: Row[], memory?: ArrayBuffer[]) {
  const bucketer = new RowBucketer(schema, hash, memory);
  const encoder = new RowEncoder(schema, 8);
  for (const row of rows) {
    bucketer.add(encode(encoder, row));
    encoder.clear();
  }
  return bucketer.finish();
}

function bucketOf(schema: Schema, { columns, buckets, seed }: HashSchema, row: Row): number {
  const key = new GrowingBytes(8);
  writeKey(key, schema, columns, row);
  return columns.length === 0 ? 0 : hashBucket(key.bytes, key.length, seed, buckets);
}

test('rows are put together by bucket, as the inserts that a request holds, and know their place among all', () => {
  fc.assert(
    fc.property(cases, ([schema, rows, hash]) => {
      const { buckets } = arrange(schema, hash, rows);
      const ofBucket = Map.groupBy(rows.keys(), (index) => bucketOf(schema, hash, rows[index]!));
      expect(buckets.map(({ bucket }) => bucket)).toEqual([...ofBucket.keys()].sort((a, b) => a - b));
      for (const bucket of buckets) {
        const expected = new RowOperations(schema);
        const starts: number[] = [];
        for (const index of ofBucket.get(bucket.bucket)!) {
          starts.push(expected.rowBytes);
          expected.append('INSERT', rows[index]!);
        }
        expect(bytesOf(bucket)).toEqual(bytesOf(expected));
        expect([...bucket.starts]).toEqual(starts);
        expect([...bucket.indexes]).toEqual(ofBucket.get(bucket.bucket));
      }
    }),
  );
});

test('they stand for themselves again, in their old order', () => {
  fc.assert(
    fc.property(cases, ([schema, rows, hash]) => {
      const { bytes, ends } = looseRows(schema, arrange(schema, hash, rows));
      const [expected, found] = [new RowOperations(schema), new RowOperations(schema)];
      expect(ends).toHaveLength(rows.length);
      rows.forEach((row, i) => {
        expected.append('UPSERT', row);
        found.appendEncoded('UPSERT', { bytes, start: i === 0 ? 0 : ends[i - 1]!, end: ends[i]! });
      });
      expect(bytesOf(found)).toEqual(bytesOf(expected));
    }),
  );
});

test('memory of earlier rows is written into again, by what needs as much', () => {
  fc.assert(
    fc.property(cases, cases, ([schema, rows, hash], [, others]) => {
      const first = arrange(schema, hash, rows);
      const expected = first.buckets.map(bytesOf);
      const again = arrange(schema, hash, rows, first.memory);
      // A bucket may get what another one had.
      expect(new Set(again.memory)).toEqual(new Set(first.memory));
      expect(again.memory.every((buffer) => first.memory.includes(buffer))).toBe(true);
      expect(again.buckets.map(bytesOf)).toEqual(expected);
      const strange = others.map((_, i) => new ArrayBuffer(i));
      expect(arrange(schema, hash, rows, strange).buckets.map(bytesOf)).toEqual(expected);
    }),
  );
});

test('what is no key column is not hashed', () => {
  fc.assert(
    fc.property(schemaAndRows, ([schema]) => {
      const columns = [0, schema.keyCount];
      expect(() => new RowBucketer(schema, { columns, buckets: 2, seed: 0 })).toThrow('key columns');
    }),
  );
});
