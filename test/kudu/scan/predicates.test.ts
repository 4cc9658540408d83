import fc from 'fast-check';
import type { Where } from '../../../kudu/encoding/predicates.ts';
import { type Client, type ColumnSpec, connect, type KuduValue, type Table } from '../../../kudu/index.ts';
import { testServers, uniqueName } from '../../support/servers.ts';
import { matches } from '../support/matching.ts';

let client: Client;
beforeAll(async () => {
  client = await connect({ masters: testServers().kudu });
});
afterAll(() => client.close());

const COLUMNS: ColumnSpec[] = [
  { name: 'a', type: 'INT8', key: true },
  { name: 'b', type: 'STRING', key: true },
  { name: 'int', type: 'INT64', nullable: true },
  { name: 'float', type: 'FLOAT', nullable: true },
  { name: 'double', type: 'DOUBLE', nullable: true },
  { name: 'bool', type: 'BOOL', nullable: true },
  { name: 'varchar', type: 'VARCHAR', length: 3, nullable: true },
  { name: 'decimal', type: 'DECIMAL', precision: 4, scale: 1, nullable: true },
  { name: 'date', type: 'DATE', nullable: true },
];

/** Few values of each, so that conditions meet rows; among them the extremes. */
const VALUES: Record<string, fc.Arbitrary<KuduValue>> = {
  a: fc.constantFrom(-128, -1, 0, 1, 2, 127),
  b: fc.constantFrom('', '\0', 'a', 'a\0', 'ab', 'ü', '\uffff', '😀'),
  int: fc.constantFrom(-(2n ** 63n), -1n, 0n, 1n, 2n ** 63n - 1n),
  float: fc.constantFrom(-Infinity, -1.5, 0, Math.fround(0.1), 1.401298464324817e-45, Infinity),
  double: fc.constantFrom(-Infinity, -0.5, 0, 0.1, Number.MIN_VALUE, Number.MAX_VALUE, Infinity),
  bool: fc.boolean(),
  varchar: fc.constantFrom('', 'a', 'ab', 'abc', '😀'),
  decimal: fc.constantFrom(-9999n, -1n, 0n, 1n, 9999n),
  date: fc.constantFrom(-719162, 0, 1, 2932896),
};

const rows = fc.uniqueArray(
  fc.record({
    a: VALUES.a!,
    b: VALUES.b!,
    ...Object.fromEntries(
      Object.entries(VALUES)
        .slice(2)
        .map(([name, value]) => [name, fc.option(value, { freq: 4 })]),
    ),
  }),
  { minLength: 40, maxLength: 40, selector: ({ a, b }) => `${String(a)}/${String(b)}` },
) as fc.Arbitrary<Record<string, KuduValue>[]>;

const conditionOn = (value: fc.Arbitrary<KuduValue>, nullable: boolean) =>
  fc.oneof(
    { weight: 2, arbitrary: value.map((eq) => eq as unknown) },
    { weight: 2, arbitrary: fc.array(value, { maxLength: 4 }).map((list) => ({ in: list })) },
    {
      weight: 4,
      arbitrary: fc
        .record(
          {
            gt: value,
            gte: value,
            lt: value,
            lte: value,
            in: fc.array(value, { minLength: 2, maxLength: 5 }),
          },
          { requiredKeys: [] },
        )
        .filter((condition) => Object.keys(condition).length > 0),
    },
    { weight: nullable ? 2 : 1, arbitrary: fc.boolean().map((isNull) => ({ isNull })) },
    { weight: 1, arbitrary: fc.record({ gte: value, isNull: fc.boolean() }) },
  );

const where = fc
  .record(
    Object.fromEntries(
      Object.entries(VALUES).map(([name, value]) => [name, conditionOn(value, name.length > 1)]),
    ),
    { requiredKeys: [] },
  )
  .map((all) => {
    // Three conditions at once hardly any row fulfils.
    return Object.fromEntries(Object.entries(all).slice(0, 2)) as Where;
  });

const LAYOUTS = {
  'one tablet': {},
  'hash and ranges': {
    hash: [
      { columns: ['a'], buckets: 2 },
      { columns: ['b'], buckets: 3 },
    ],
    range: {
      columns: ['b', 'a'],
      partitions: [
        { upper: { b: 'a', a: 1 } },
        { lower: { b: 'a', a: 1 }, upper: { b: 'ab', a: -128 } },
        { lower: { b: 'ab', a: -128 } },
      ],
    },
  },
  'one range hashed in its own way': {
    hash: [{ columns: ['a'], buckets: 2 }],
    range: {
      columns: ['a'],
      partitions: [
        { upper: { a: 0 } },
        { lower: { a: 0 }, upper: { a: 2 }, hash: [{ columns: ['b'], buckets: 3 }] },
        { lower: { a: 2 } },
      ],
    },
  },
};

test.each(Object.entries(LAYOUTS))(
  'conditions, and the tablets they leave out, give the rows that JavaScript would pick (%s)',
  async (_, partitions) => {
    const table = await client.createTable({ name: uniqueName('predicates'), columns: COLUMNS, partitions });
    const [data] = fc.sample(rows, 1) as [Record<string, KuduValue>[]];
    await fill(table, data);
    await fc.assert(
      fc.asyncProperty(where, async (condition) => {
        const found = await Array.fromAsync(table.scan({ where: condition, parallel: 4 }).rows());
        expect(sorted(found)).toEqual(sorted(data.filter((row) => matches(row, condition))));
      }),
      { numRuns: 150 },
    );
    await client.deleteTable(table.name);
  },
);

test('a condition that cannot be is refused before any server is asked', async () => {
  const table = await client.createTable({ name: uniqueName('refused'), columns: COLUMNS });
  const refused: [object, string][] = [
    [{ c: 1 }, 'There is no column c; there are a, b, int'],
    [{ a: 300 }, 'Column a (INT8): 300 is to be from -128 to 127.'],
    [{ a: { like: 1 } }, 'there is no condition like'],
    [{ a: {} }, 'its condition says nothing'],
    [{ a: { gt: null } }, 'null is to be compared by isNull'],
    [{ double: { lt: NaN } }, 'a number that can be compared'],
    [{ a: { in: 1 } }, '"in" takes an array'],
  ];
  for (const [condition, message] of refused)
    expect(() => table.scan({ where: condition as Where })).toThrow(message);
  await client.deleteTable(table.name);
});

async function fill(table: Table, data: Record<string, KuduValue>[]): Promise<void> {
  const session = client.session();
  for (const row of data) session.insert(table, row);
  expect(await session.flush()).toEqual({ errors: [] });
}

const sorted = (some: Record<string, unknown>[]) =>
  some.map((row) => [`${String(row.a)}/${String(row.b)}`, row] as const).sort(([a], [b]) => (a < b ? -1 : 1));
