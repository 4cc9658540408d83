import fc from 'fast-check';
import { predicatesOf, type Where } from '../../../kudu/encoding/predicates.ts';
import { RowOperations } from '../../../kudu/encoding/row-operations.ts';
import type { PartitionSchemaMessage } from '../../../kudu/messages/partition-schema.ts';
import { PartitionSchema } from '../../../kudu/partition/partition-schema.ts';
import { type Partition, TabletPruner } from '../../../kudu/partition/pruner.ts';
import { Schema } from '../../../kudu/schema/schema.ts';
import { matches } from '../support/matching.ts';

const SCHEMA = new Schema([
  { name: 'a', type: 'INT8', key: true },
  { name: 'b', type: 'STRING', key: true },
  { name: 'c', type: 'INT64', key: true },
  { name: 'v', type: 'INT32', nullable: true },
]);
const names = (...columns: string[]) => columns.map((name) => ({ name }));

/** Range bounds on `a` alone, and hash schemas for the ranges between. */
const ROWS = {
  a: fc.integer({ min: -128, max: 127 }),
  b: fc.stringMatching(/^[\0ab\x7f]{0,3}$/),
  c: fc.bigInt(-3n, 3n),
};

const row = fc.record({ ...ROWS, v: fc.option(fc.integer({ min: 0, max: 2 })) });

const conditionOn = (value: fc.Arbitrary<unknown>) =>
  fc.oneof(
    value.map((eq) => ({ eq })),
    fc.array(value, { maxLength: 3 }).map((list) => ({ in: list })),
    fc
      .record({ gt: value, gte: value, lt: value, lte: value }, { requiredKeys: [] })
      .filter((condition) => Object.keys(condition).length > 0),
  );

const where = fc.record(
  { a: conditionOn(ROWS.a), b: conditionOn(ROWS.b), c: conditionOn(ROWS.c) },
  { requiredKeys: [] },
) as fc.Arbitrary<Where>;

interface Layout {
  message: PartitionSchemaMessage;
  tablets: Partition[];
}

/** Two hash schemas (or one, or none) and ranges over (a, b), the second with hashing of its own. */
const layout: fc.Arbitrary<Layout> = fc
  .record({
    hashes: fc.integer({ min: 0, max: 2 }),
    ranged: fc.boolean(),
    custom: fc.boolean(),
    cuts: fc.uniqueArray(fc.integer({ min: -128, max: 127 }), { minLength: 2, maxLength: 2 }),
  })
  .map(({ hashes, ranged, custom, cuts }) => {
    const hashSchemas = [
      { columns: names('a', 'c'), buckets: 3, seed: 0 },
      { columns: names('b'), buckets: 2, seed: 7 },
    ].slice(0, hashes);
    const [from, to] = cuts.sort((x, y) => x - y) as [number, number];
    // Of the last column, which the bounds leave out, the least text is nothing.
    const key = (a: number) => Buffer.from([a ^ 0x80]);
    const own = [{ columns: names('c'), buckets: 2, seed: 1 }];
    const hasCustom = ranged && custom;
    const bounds = new RowOperations(SCHEMA);
    bounds.append('RANGE_LOWER_BOUND', { a: from });
    bounds.append('RANGE_UPPER_BOUND', { a: to });
    const ranges = ranged
      ? [
          { start: Buffer.of(), end: key(from), hashing: hashSchemas },
          { start: key(from), end: key(to), hashing: hasCustom ? own : hashSchemas },
          { start: key(to), end: Buffer.of(), hashing: hashSchemas },
        ]
      : [{ start: Buffer.of(), end: Buffer.of(), hashing: hashSchemas }];
    return {
      message: {
        hashSchemas,
        rangeColumns: ranged ? names('a', 'b') : [],
        customRanges: hasCustom
          ? [{ bounds: { rows: bounds.rows, indirectData: bounds.indirectData }, hashSchemas: own }]
          : [],
      },
      tablets: ranges.flatMap(({ start, end, hashing }) =>
        combinations(hashing.map(({ buckets }) => buckets)).map((buckets) => tablet(buckets, start, end)),
      ),
    };
  });

const combinations = (counts: number[]): number[][] =>
  counts.reduce<number[][]>(
    (all, count) => all.flatMap((one) => Array.from({ length: count }, (_, bucket) => [...one, bucket])),
    [[]],
  );

function tablet(hashBuckets: number[], start: Buffer, end: Buffer): Partition {
  const prefix = (buckets: number[]) => Buffer.concat(buckets.map((bucket) => Buffer.of(0, 0, 0, bucket)));
  const next = [...hashBuckets.slice(0, -1), (hashBuckets.at(-1) ?? 0) + 1];
  const keyEnd = end.length > 0 ? [prefix(hashBuckets), end] : hashBuckets.length > 0 ? [prefix(next)] : [];
  return {
    hashBuckets,
    keyStart: Buffer.concat([prefix(hashBuckets), start]),
    keyEnd: Buffer.concat(keyEnd),
  };
}

/** Keys with different numbers of buckets do not compare, so both parts count by themselves. */
function holds(
  { hashBuckets, keyStart, keyEnd }: Partition,
  hashKey: Uint8Array,
  rangeKey: Uint8Array,
): boolean {
  const hashed = hashBuckets.length * 4;
  const end = keyEnd.subarray(hashed);
  return (
    Buffer.compare(Buffer.concat(hashBuckets.map((bucket) => Buffer.of(0, 0, 0, bucket))), hashKey) === 0 &&
    Buffer.compare(keyStart.subarray(hashed), rangeKey) <= 0 &&
    (end.length === 0 || Buffer.compare(rangeKey, end) < 0)
  );
}

test('a tablet that holds a matching row is never left out', () => {
  fc.assert(
    fc.property(layout, where, row, ({ message, tablets }, condition, one) => {
      const schema = new PartitionSchema(SCHEMA, message);
      const { hashKey, rangeKey } = schema.keyParts(one);
      const home = tablets.filter((candidate) => holds(candidate, hashKey, rangeKey));
      expect(home).toHaveLength(1);
      const pruner = new TabletPruner(schema, predicatesOf(SCHEMA, condition));
      if (matches(one, condition)) expect(pruner.keeps(home[0]!)).toBe(true);
    }),
    { numRuns: 3000 },
  );
});

const HASHED: PartitionSchemaMessage = {
  hashSchemas: [
    { columns: names('a'), buckets: 3, seed: 0 },
    { columns: names('b'), buckets: 2, seed: 0 },
  ],
  rangeColumns: names('c'),
  customRanges: [],
};
const HASHED_TABLETS = combinations([3, 2]).flatMap((buckets) =>
  [
    [Buffer.of(), Buffer.from('8000000000000000', 'hex')],
    [Buffer.from('8000000000000000', 'hex'), Buffer.from('800000000000000a', 'hex')],
    [Buffer.from('800000000000000a', 'hex'), Buffer.of()],
  ].map(([start, end]) => tablet(buckets, start!, end!)),
);

test.each([
  [{}, 18],
  [{ a: 1 }, 6],
  [{ a: 1, b: 'x' }, 3],
  [{ a: 1, b: 'x', c: 5 }, 1],
  [{ c: { gte: 0, lt: 10 } }, 6],
  [{ c: { lt: 0 } }, 6],
  [{ c: { gt: 9 } }, 6],
  [{ c: { gte: 9 } }, 12],
  [{ c: { in: [-1, 10] } }, 18],
  [{ a: { in: [1, 1] }, c: { lt: -(2n ** 63n) } }, 2],
  [{ a: { gt: 5, lt: 6 } }, 0],
  [{ a: { isNull: true } }, 0],
  [{ v: 1 }, 18],
] as [Where, number][])('of 3 × 2 buckets × 3 ranges, %p asks %d tablets', (condition, expected) => {
  const pruner = new TabletPruner(new PartitionSchema(SCHEMA, HASHED), predicatesOf(SCHEMA, condition));
  expect(HASHED_TABLETS.filter((one) => pruner.keeps(one))).toHaveLength(expected);
});
