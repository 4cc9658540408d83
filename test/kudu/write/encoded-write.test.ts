import { afterAll, beforeAll, expect, test } from '@jest/globals';
import fc from 'fast-check';
import {
  type Client,
  type ColumnSpec,
  connect,
  EncodedWrite,
  encodeCell,
  type HashSchema,
  RowBucketer,
  RowEncoder,
  rowsOf,
  Schema,
  type Table,
} from '../../../kudu/index.ts';
import { testServers, uniqueName } from '../../support/servers.ts';
import { encode, rowsOfSchema } from '../support/encoded-rows.ts';
import { toolScan } from '../support/kudu-tool.ts';

let client: Client;
const made: string[] = [];
beforeAll(async () => {
  client = await connect({ masters: testServers().kudu });
});
afterAll(async () => {
  for (const name of made) await client.deleteTable(name);
  client.close();
});

const COLUMNS: ColumnSpec[] = [
  { name: 'id', type: 'STRING', key: true },
  { name: 'n', type: 'INT32', nullable: true },
  { name: 'text', type: 'STRING', nullable: true },
  { name: 'more', type: 'INT64', default: 7n },
];
/** In another order than the table's, and not all of them. */
const SCHEMA = new Schema([COLUMNS[0]!, COLUMNS[2]!, COLUMNS[1]!]);

async function newTable(columns = COLUMNS, partitions: object = { hash: [{ columns: ['id'], buckets: 3 }] }) {
  const name = uniqueName('encoded');
  made.push(name);
  return client.createTable({ name, columns, partitions });
}

async function readAll(table: Table): Promise<Record<string, unknown>[]> {
  const rows: Record<string, unknown>[] = [];
  for await (const batch of table.scan()) rows.push(...rowsOf(batch));
  return rows.sort((a, b) => (String(a.id) < String(b.id) ? -1 : 1));
}

test('rows that were encoded apart are written, each to its tablet, with the columns that they have', async () => {
  const table = await newTable();
  const encoder = new RowEncoder(SCHEMA);
  const ids = Array.from({ length: 50 }, (_, i) => `image-${100 + i}`);
  const rows = ids.map((id, n) => encode(encoder, { id, n, text: n % 2 ? null : `ü${n}` }));
  const write = new EncodedWrite(table, SCHEMA);
  const bytes = encoder.bytes();
  rows.forEach(({ start, end }, i) => expect(write.add('INSERT', { bytes, start, end })).toBe(i));
  expect(await write.send()).toEqual([]);
  expect(await readAll(table)).toEqual(
    ids.map((id, n) => ({ id, n, text: n % 2 ? null : `ü${n}`, more: 7n })),
  );
  expect(await toolScan(testServers().kudu, table.name)).toHaveLength(50);
});

test('what is not written is told by its number, with what the server says', async () => {
  const table = await newTable();
  const encoder = new RowEncoder(SCHEMA);
  const first = new EncodedWrite(table, SCHEMA);
  for (const id of ['b', 'd']) first.add('INSERT', encode(encoder, { id, n: 0, text: null }));
  expect(await first.send()).toEqual([]);
  const second = new EncodedWrite(table, SCHEMA);
  const operations = [
    ['INSERT', 'a'],
    ['INSERT', 'b'],
    ['UPDATE', 'c'],
    ['UPDATE', 'd'],
    ['INSERT_IGNORE', 'd'],
    ['UPSERT', 'e'],
  ] as const;
  const changes = {
    cells: [undefined, undefined, encodeCell(SCHEMA.columns[2]!, 9)],
    leftOut: [false, true],
  };
  for (const [operation, id] of operations)
    second.add(operation, encode(encoder, { id, n: 1, text: 'not set' }), changes);
  const errors = (await second.send()).sort((a, b) => a.index - b.index);
  expect(errors).toMatchObject([
    { index: 1, code: 'ALREADY_PRESENT', message: expect.any(String) },
    { index: 2, code: 'NOT_FOUND' },
  ]);
  expect((await readAll(table)).map(({ id, n, text }) => [id, n, text])).toEqual([
    ['a', 9, null],
    ['b', 0, null],
    ['d', 9, null],
    ['e', 9, null],
  ]);
});

test('a row that no partition covers is not found, and the others are written', async () => {
  const table = await newTable(COLUMNS, {
    range: { columns: ['id'], partitions: [{ lower: { id: 'a' }, upper: { id: 'm' } }] },
  });
  const encoder = new RowEncoder(SCHEMA);
  const write = new EncodedWrite(table, SCHEMA);
  for (const id of ['b', 'x', 'c']) write.add('INSERT', encode(encoder, { id, n: 1, text: null }));
  expect(await write.send()).toMatchObject([{ index: 1, code: 'NOT_FOUND' }]);
  expect((await readAll(table)).map(({ id }) => id)).toEqual(['b', 'c']);
});

describe('rows that were put together by bucket', () => {
  /** What has to be set, first: it can be changed in every row. */
  const schema = new Schema([COLUMNS[0]!, { name: 'more', type: 'INT64' }, COLUMNS[1]!, COLUMNS[2]!]);
  const hash = { columns: [0], buckets: 3, seed: 0 };
  const ids = Array.from({ length: 50 }, (_, i) => `image-${100 + i}`);
  const arranged = (rowHash: HashSchema, some = ids) => {
    const encoder = new RowEncoder(schema);
    const bucketer = new RowBucketer(schema, rowHash);
    some.forEach((id, n) =>
      bucketer.add(encode(encoder, { id, more: 0, n: n % 3 ? n : null, text: `ü${n}` })),
    );
    return bucketer.finish();
  };
  const nine = [undefined, encodeCell(schema.columns[1]!, 9n)];

  test('are written, with cells that are known last, beside rows that stand for themselves', async () => {
    const table = await newTable();
    const write = new EncodedWrite(table, schema);
    expect(await write.addBuckets(arranged(hash), nine)).toBe(true);
    const one = encode(new RowEncoder(schema), { id: 'last', more: 1, n: 1, text: null });
    expect(write.add('INSERT', one)).toBe(50);
    expect(await write.send()).toEqual([]);
    expect(write.holdsBuckets).toBe(false);
    const expected = ids.map((id, n) => ({ id, more: 9n, n: n % 3 ? n : null, text: `ü${n}` }));
    expect(await readAll(table)).toEqual([...expected, { id: 'last', more: 1n, n: 1, text: null }]);
  });

  test('are told by their place among all where they are there already', async () => {
    const table = await newTable();
    const first = new EncodedWrite(table, schema);
    expect(await first.addBuckets(arranged(hash, [ids[7]!, ids[30]!]))).toBe(true);
    expect(await first.send()).toEqual([]);
    const write = new EncodedWrite(table, schema);
    expect(await write.addBuckets(arranged(hash), nine)).toBe(true);
    const errors = (await write.send()).sort((a, b) => a.index - b.index);
    expect(errors).toMatchObject([
      { index: 7, code: 'ALREADY_PRESENT' },
      { index: 30, code: 'ALREADY_PRESENT' },
    ]);
    expect(await readAll(table)).toHaveLength(50);
  });

  test.each<[string, HashSchema, object]>([
    ['in another number of buckets', { ...hash, buckets: 2 }, { hash: [{ columns: ['id'], buckets: 3 }] }],
    ['with another seed', { ...hash, seed: 1 }, { hash: [{ columns: ['id'], buckets: 3 }] }],
    ['not at all', hash, {}],
    [
      'and cut by ranges',
      hash,
      {
        hash: [{ columns: ['id'], buckets: 3 }],
        range: {
          columns: ['id'],
          partitions: [{ upper: { id: 'image-120' } }, { lower: { id: 'image-120' } }],
        },
      },
    ],
  ])('are not added where the table is spread %s', async (_, rowHash, partitions) => {
    const table = await newTable(COLUMNS, partitions);
    const write = new EncodedWrite(table, schema);
    expect(await write.addBuckets(arranged(rowHash))).toBe(false);
    expect(await write.send()).toEqual([]);
    expect(await readAll(table)).toEqual([]);
  });

  test('are one bucket where the table is not spread', async () => {
    const table = await newTable(COLUMNS, {});
    const write = new EncodedWrite(table, schema);
    expect(await write.addBuckets(arranged({ columns: [], buckets: 1, seed: 0 }), nine)).toBe(true);
    expect(await write.send()).toEqual([]);
    expect(await readAll(table)).toHaveLength(50);
  });

  test('come before others, and cells are changed only where every row has them in one place', async () => {
    const write = new EncodedWrite(await newTable(), schema);
    const n = [undefined, undefined, encodeCell(schema.columns[2]!, 9)];
    await expect(write.addBuckets(arranged(hash), n)).rejects.toThrow(
      'Not every row has a cell of column n.',
    );
    write.add('INSERT', encode(new RowEncoder(schema), { id: 'a', more: 1, n: 1, text: null }));
    await expect(write.addBuckets(arranged(hash))).rejects.toThrow('come first');
  });
});

test('columns that are not the table’s are refused', async () => {
  const table = await newTable();
  const refused = (columns: ColumnSpec[]) => () => new EncodedWrite(table, new Schema(columns));
  const [id] = COLUMNS as [ColumnSpec];
  expect(refused([id, { name: 'm', type: 'INT32' }])).toThrow('There is no column m');
  expect(refused([id, { name: 'n', type: 'INT32' }])).toThrow('Column n of the table is another one.');
  expect(refused([id, { name: 'n', type: 'INT64', nullable: true }])).toThrow('Column n of the table');
  expect(refused([{ ...id, key: false }])).toThrow('Column id of the table is another one.');
});

test('any rows of any types are read back as the same that a session writes', async () => {
  const columns: ColumnSpec[] = [
    { name: 'k1', type: 'INT64', key: true },
    { name: 'k2', type: 'BINARY', key: true },
    { name: 'k3', type: 'INT16', key: true },
    ...(['INT8', 'UNIXTIME_MICROS', 'FLOAT', 'DOUBLE', 'BOOL', 'STRING', 'BINARY', 'DATE'] as const).map(
      (type): ColumnSpec => ({ name: type, type, nullable: true }),
    ),
    { name: 'd', type: 'DECIMAL128', precision: 38, nullable: true },
  ];
  const partitions = {
    hash: [
      { columns: ['k1', 'k2'], buckets: 3 },
      { columns: ['k3'], buckets: 2 },
    ],
  };
  const [plain, encoded] = [await newTable(columns, partitions), await newTable(columns, partitions)];
  const schema = new Schema(columns);
  const rows = fc
    .sample(rowsOfSchema(schema), 40)
    .flat()
    .map((row, k1) => ({ ...row, k1 }));
  const session = client.session();
  const encoder = new RowEncoder(schema);
  const write = new EncodedWrite(encoded, schema);
  for (const row of rows) {
    session.insert(plain, row);
    write.add('INSERT', encode(encoder, row));
  }
  expect(await session.flush()).toEqual({ errors: [] });
  expect(await write.send()).toEqual([]);
  const all = async (table: Table) =>
    (await readAll(table)).sort((a, b) => Number((a.k1 as bigint) - (b.k1 as bigint)));
  expect(await all(encoded)).toEqual(await all(plain));
  expect(await all(encoded)).toHaveLength(rows.length);
});
