import { type Client, type ColumnSpec, connect, type KuduValue } from '../../../kudu/index.ts';
import { testServers, uniqueName } from '../../support/servers.ts';
import { kuduTool, toolScan } from '../support/kudu-tool.ts';

let client: Client;
const { kudu: masters } = testServers();
beforeAll(async () => {
  client = await connect({ masters });
});
afterAll(() => client.close());

const COLUMNS: ColumnSpec[] = [
  { name: 'id', type: 'INT32', key: true },
  { name: 'int8', type: 'INT8', nullable: true },
  { name: 'int16', type: 'INT16', nullable: true },
  { name: 'int32', type: 'INT32', nullable: true },
  { name: 'int64', type: 'INT64', nullable: true },
  { name: 'float', type: 'FLOAT', nullable: true },
  { name: 'double', type: 'DOUBLE', nullable: true },
  { name: 'bool', type: 'BOOL', nullable: true },
  { name: 'string', type: 'STRING', nullable: true },
  { name: 'varchar', type: 'VARCHAR', length: 3, nullable: true },
  { name: 'binary', type: 'BINARY', nullable: true },
  { name: 'date', type: 'DATE', nullable: true },
  { name: 'time', type: 'UNIXTIME_MICROS', nullable: true },
  { name: 'decimal32', type: 'DECIMAL', precision: 9, scale: 2, nullable: true },
  { name: 'decimal64', type: 'DECIMAL', precision: 18, scale: 18, nullable: true },
  { name: 'decimal128', type: 'DECIMAL', precision: 38, scale: 0, nullable: true },
];

/** The least and the greatest value of every type, and what else is easily lost. */
const EXTREMES: Record<string, KuduValue[]> = {
  int8: [-128, 127, 0],
  int16: [-32768, 32767, -1],
  int32: [-2147483648, 2147483647, 1],
  int64: [-(2n ** 63n), 2n ** 63n - 1n, 2n ** 53n + 1n],
  float: [-3.4028234663852886e38, 1.401298464324817e-45, NaN],
  double: [-Number.MAX_VALUE, Number.MIN_VALUE, Infinity],
  bool: [false, true, false],
  string: ['', '\0', 'ü😀'.repeat(1000)],
  varchar: ['', '😀😀😀', 'abc'],
  binary: [new Uint8Array(), Uint8Array.of(0), new Uint8Array(60_000).map((_, index) => index)],
  date: [-719162, 2932896, 0],
  time: [-(2n ** 63n), 2n ** 63n - 1n, -1n],
  decimal32: [-999999999n, 999999999n, 1n],
  decimal64: [-(10n ** 18n - 1n), 10n ** 18n - 1n, -1n],
  decimal128: [-(10n ** 38n - 1n), 10n ** 38n - 1n, 2n ** 64n],
};

async function collect(scan: { rows(): AsyncIterable<Record<string, unknown>> }) {
  const rows = await Array.fromAsync(scan.rows());
  return rows.sort((a, b) => Number(a.id) - Number(b.id));
}

test('values of every type at their extremes, and nulls, come back as they were written', async () => {
  const table = await client.createTable({ name: uniqueName('types'), columns: COLUMNS });
  const rows = [0, 1, 2].map((id) => ({
    id,
    ...Object.fromEntries(Object.entries(EXTREMES).map(([name, values]) => [name, values[id]!])),
  }));
  const nulls = { id: 3, ...Object.fromEntries(Object.keys(EXTREMES).map((name) => [name, null])) };
  const session = client.session();
  for (const row of [...rows, nulls]) session.upsert(table, row);
  expect(await session.flush()).toEqual({ errors: [] });
  expect(await collect(table.scan())).toEqual([...rows, nulls]);
  // What was read can be written.
  for (const row of [...rows, nulls]) session.upsert(table, { ...row, id: row.id + 10 });
  expect(await session.flush()).toEqual({ errors: [] });
  expect(await collect(table.scan({ where: { id: { gte: 10 } } }))).toEqual(
    [...rows, nulls].map((row) => ({ ...row, id: row.id + 10 })),
  );
  // The judge reads the same.
  const [least, greatest] = await toolScan(masters, table.name);
  for (const text of ['int8 int8=-128', 'int64 int64=-9223372036854775808', 'date date=1-01-01'])
    expect(least).toContain(text);
  expect(greatest).toContain('decimal64=999999999999999999_D64');
  await client.deleteTable(table.name);
});

test('rows of the load generator are counted and read', async () => {
  const name = uniqueName('loadgen');
  const columns: ColumnSpec[] = [
    { name: 'key', type: 'INT64', key: true },
    { name: 'n', type: 'INT32' },
    { name: 'text', type: 'STRING' },
    { name: 'flag', type: 'BOOL' },
  ];
  const table = await client.createTable({
    name,
    columns,
    partitions: { hash: [{ columns: ['key'], buckets: 4 }] },
  });
  await kuduTool(
    'perf',
    'loadgen',
    masters.join(','),
    `--table_name=${name}`,
    '--num_threads=1',
    '--num_rows_per_thread=20000',
    '--string_len=8',
  );
  const rows = await Array.fromAsync(table.scan({ parallel: 4, batchBytes: 50_000 }).rows());
  expect(rows).toHaveLength(20_000);
  // The generator counts: the next number for every cell but the key.
  rows.sort((a, b) => Number((a.key as bigint) - (b.key as bigint)));
  expect(rows).toEqual(
    rows.map((_, key) => ({
      key: BigInt(key),
      n: 3 * key,
      text: `${3 * key + 1}.`.padEnd(8, 'x'),
      flag: key % 2 === 1,
    })),
  );
  const count = await Array.fromAsync(table.scan({ columns: [] }), ({ numRows }) => numRows);
  expect(count.reduce((sum, one) => sum + one)).toBe(20_000);
  await client.deleteTable(name);
});

test('rows that we wrote are what the kudu tool reads', async () => {
  const name = uniqueName('judged');
  const table = await client.createTable({
    name,
    columns: [
      { name: 'id', type: 'STRING', key: true },
      { name: 'n', type: 'INT32', nullable: true },
      { name: 'price', type: 'DECIMAL', precision: 12, scale: 3 },
    ],
    partitions: { hash: [{ columns: ['id'], buckets: 3 }] },
  });
  const session = client.session();
  for (let id = 0; id < 500; id++)
    if (!session.upsert(table, { id: `i${id}`, n: id % 3 ? id : null, price: `${id}.125` }))
      await session.drained();
  expect(await session.flush()).toEqual({ errors: [] });
  const expected = Array.from(
    { length: 500 },
    (_, id) =>
      `(string id="i${id}", int32 n=${id % 3 ? id : 'NULL'}, decimal price=${BigInt(`${id}125`)}_D64)`,
  );
  expect(await toolScan(masters, name)).toEqual(expected.sort());
  await client.deleteTable(name);
});

test('an empty table gives no batches', async () => {
  const table = await client.createTable({
    name: uniqueName('empty'),
    columns: COLUMNS,
    partitions: { hash: [{ columns: ['id'], buckets: 2 }] },
  });
  expect(await Array.fromAsync(table.scan())).toEqual([]);
  expect(await Array.fromAsync(table.scan({ columns: [] }))).toEqual([]);
  expect(await Array.fromAsync(table.scan({ faultTolerant: true }))).toEqual([]);
  await client.deleteTable(table.name);
});
