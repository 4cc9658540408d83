import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { Writable } from 'node:stream';
import { printRows } from '../../cli/sql-output.ts';
import { type Client, type ColumnSpec, connect, type KuduValue, type Row } from '../../kudu/index.ts';
import { queryKudu } from '../../query/kudu.ts';
import { testServers, uniqueName } from '../support/servers.ts';
import { askKudu, fillKudu } from './support/tables.ts';

const COLUMNS: ColumnSpec[] = [
  { name: 'int64', type: 'INT64', key: true },
  { name: 'int8', type: 'INT8', nullable: true },
  { name: 'int16', type: 'INT16', nullable: true },
  { name: 'int32', type: 'INT32', nullable: true },
  { name: 'float', type: 'FLOAT', nullable: true },
  { name: 'double', type: 'DOUBLE', nullable: true },
  { name: 'bool', type: 'BOOL', nullable: true },
  { name: 'string', type: 'STRING', nullable: true },
  { name: 'varchar', type: 'VARCHAR', length: 9, nullable: true },
  { name: 'binary', type: 'BINARY', nullable: true },
  { name: 'date', type: 'DATE', nullable: true },
  { name: 'time', type: 'UNIXTIME_MICROS', nullable: true },
  { name: 'decimal4', type: 'DECIMAL', precision: 4, scale: 1, nullable: true },
  { name: 'decimal9', type: 'DECIMAL', precision: 9, scale: 2, nullable: true },
  { name: 'decimal18', type: 'DECIMAL', precision: 18, scale: 3, nullable: true },
  { name: 'decimal38', type: 'DECIMAL', precision: 38, scale: 4, nullable: true },
];

/** Two of DuckDB's chunks and a bit, in two tablets. */
const ROWS = 9001;

/** Each value tells its row; every third of them null, another third in each column. */
function rowOf(n: number): Row {
  const values: Record<string, KuduValue> = {
    int8: (n % 256) - 128,
    int16: n - 4500,
    int32: n * 200_000,
    float: Math.fround(n / 7),
    double: n / 7,
    bool: n % 2 === 0,
    string: `${'ü'.repeat(n % 15)}${n}`,
    varchar: `v${n}`,
    binary: Uint8Array.of(n & 255, n >> 8, 0, 255),
    date: n - 1000,
    time: BigInt(n) * 1_000_001n - 5_000_000_000n,
    decimal4: `${n - 4500 < 0 ? '-' : ''}${Math.abs(n - 4500) % 1000}.${n % 10}`,
    decimal9: `-${n}.25`,
    decimal18: `${n + 1}00000000.125`,
    decimal38: `-${n + 1}00000000000000000000000000.0625`,
  };
  Object.keys(values).forEach((column, index) => {
    if ((n + index) % 3 === 0) values[column] = null;
  });
  return { int64: BigInt(n), ...values };
}

const EXTREME: Row = {
  int64: -(2n ** 63n),
  int8: 127,
  int16: -32768,
  int32: 2 ** 31 - 1,
  float: NaN,
  double: -Infinity,
  bool: false,
  string: '',
  varchar: '🙂🙂',
  binary: new Uint8Array(),
  date: new Date('9999-12-31'),
  time: new Date('1969-12-31T23:59:59.999Z'),
  decimal4: '-999.9',
  decimal9: '9999999.99',
  decimal18: '-999999999999999.999',
  decimal38: '9999999999999999999999999999999999.9999',
};

let client: Client;
let name: string;
beforeAll(async () => {
  client = await connect({ masters: testServers().kudu });
  name = uniqueName('types');
  await fillKudu(client, name, COLUMNS, [EXTREME, ...Array.from({ length: ROWS }, (_, n) => rowOf(n))]);
});
afterAll(async () => {
  await client.deleteTable(name);
  client.close();
});

async function printed(statement: string, format: 'csv' | 'ndjson'): Promise<string> {
  let text = '';
  const out = new Writable({
    write(chunk, _, done) {
      text += String(chunk);
      done();
    },
  });
  await queryKudu(client, statement, { maxBytes: 1e9 }, (result) =>
    printRows(result, { format, limit: Infinity }, out),
  );
  return text;
}

test('every type is printed as it is', async () => {
  const columns = COLUMNS.map((column) => column.name.replace('binary', '"binary"')).join(', ');
  expect(await printed(`select ${columns} from ${name} where int64 < 2 order by int64`, 'csv')).toBe(
    `${columns.replaceAll(/[ "]/g, '')}
-9223372036854775808,127,-32768,2147483647,NaN,-Infinity,false,"",🙂🙂,\\x,9999-12-31,1969-12-31 23:59:59.999+00,-999.9,9999999.99,-999999999999999.999,9999999999999999999999999999999999.9999
0,,-4500,0,,0,true,,v0,\\x000000ff,,1969-12-31 22:36:40+00,-500.0,,100000000.125,-100000000000000000000000000.0625
1,-127,-4499,,0.14285715,0.14285714285714285,,ü1,v1,,1967-04-08,1969-12-31 22:36:41.000001+00,,-1.25,200000000.125,
`,
  );
  expect(
    JSON.parse(
      await printed(
        `select int64, float, double, decimal9, decimal38, "binary" from ${name} where int64 < 0`,
        'ndjson',
      ),
    ),
  ).toEqual({
    int64: '-9223372036854775808',
    float: 'NaN',
    double: '-Infinity',
    decimal9: 9999999.99,
    decimal38: '9999999999999999999999999999999999.9999',
    binary: '\\x',
  });
});

test('every cell of many rows arrives, nulls where they are', async () => {
  const all = COLUMNS.map((column) => column.name).filter((column) => column !== 'int64');
  const cast = all
    .map((column) => (column.startsWith('decimal') ? `${column}::varchar` : `"${column}"`))
    .join(', ');
  const { rows } = await askKudu(
    client,
    `select int64, ${cast.replace('"date"', "date - date '1970-01-01'").replace('"time"', 'epoch_us(time)')} from ${name} where int64 >= 0 order by int64`,
  );
  expect(rows).toHaveLength(ROWS);
  const wrong = rows.flatMap(([n, ...cells], index) => {
    const wanted = rowOf(index);
    const got = cells.map((cell, at) =>
      all[at] === 'time' && cell !== null ? BigInt(cell as number) : cell,
    );
    const row = [n, ...got].map(comparable);
    const expected = [BigInt(index), ...all.map((column) => wanted[column]!)].map(comparable);
    return row.every((cell, at) => cell === expected[at]) ? [] : [[row, expected]];
  });
  expect(wrong).toEqual([]);
});

/** Bytes as hexadecimal digits, decimals without a sign of nothing, and of numbers 32 bits: floats are printed as short as can be. */
const comparable = (cell: unknown): unknown =>
  cell instanceof Uint8Array
    ? Buffer.from(cell).toString('hex')
    : typeof cell === 'number' || typeof cell === 'bigint'
      ? Math.fround(Number(cell))
      : cell === '-0.0'
        ? '0.0'
        : cell;

test.each([
  ['int8 = 5', { int8: { eq: 5 } }],
  ['int16 <= -4400', { int16: { lte: -4400 } }],
  ['int64 = 9007199254740993', { int64: { eq: 9007199254740993n } }],
  ['int64 < -9223372036854775807', { int64: { lt: -9223372036854775807n } }],
  ['bool', { bool: { eq: true } }],
  ['not bool', { bool: { eq: false } }],
  ['float < 1', { float: { lt: 1 } }],
  // The row with NaN is among them: to DuckDB it is greater.
  ['float > 1285', { float: { gt: 1285 } }],
  ['float >= 1e30::float', { float: { gte: Math.fround(1e30) } }],
  ["float > 'infinity'", {}],
  ['double = 1', { double: { eq: 1 } }],
  ["string = 'ü1'", { string: { eq: 'ü1' } }],
  [
    "varchar in ('v1', 'v33', 'far too long for it')",
    { varchar: { in: ['v1', 'v33', 'far too long for it'] } },
  ],
  ['"binary" = \'\\x07\\x00\\x00\\xff\'::blob', {}],
  ["date < '1967-05-01'", { date: { lt: -976 } }],
  ["date > '-5000-01-01'", {}],
  ["time < '1969-12-31 22:36:42'", { time: { lt: -4998000000n } }],
  ["time < 'infinity'", { time: { lt: 9223372036854775807n } }],
  ['decimal9 = -7.25', { decimal9: { eq: -725n } }],
  ['decimal18 > 800000000000.125', { decimal18: { gt: 800000000000125n } }],
  ['decimal38 < 0', {}],
])('where %s: DuckDB alone finds the same rows, and Kudu filters by %j', async (condition, where) => {
  const answer = await askKudu(client, `select int64 from ${name} where ${condition} order by int64`);
  expect(answer.scans[0]!.where).toEqual(where);
  // Kudu is not asked what a function makes of it.
  const alone = await askKudu(
    client,
    `select int64 from ${name} where coalesce(${condition}, false) order by int64`,
  );
  expect(alone.scans[0]!.where).toEqual({});
  expect(answer.rows).toEqual(alone.rows);
});
