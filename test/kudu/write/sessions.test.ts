import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { type Client, connect, KuduValueError, type Row, type Table } from '../../../kudu/index.ts';
import { waitFor } from '../../support/processes.ts';
import { testServers, uniqueName } from '../../support/servers.ts';
import { toolScan } from '../support/kudu-tool.ts';

let client: Client;
let made: string[] = [];
beforeAll(async () => {
  client = await connect({ masters: testServers().kudu });
});
afterAll(async () => {
  for (const name of made) await client.deleteTable(name);
  client.close();
  made = [];
});

async function newTable(buckets = 3): Promise<Table> {
  const name = uniqueName('writes');
  made.push(name);
  return client.createTable({
    name,
    columns: [
      { name: 'id', type: 'INT32', key: true },
      { name: 'label', type: 'STRING', nullable: true },
      { name: 'n', type: 'INT64', default: 7n },
      { name: 'once', type: 'STRING', nullable: true, immutable: true },
    ],
    partitions: { hash: [{ columns: ['id'], buckets }] },
  });
}

const scan = (table: Table) => toolScan(testServers().kudu, table.name);
const plain = (rows: { row: Row; code: string; operation: string }[]) =>
  rows.map(({ row, code, operation }) => ({ row, code, operation }));

test('every type at its extremes is read by the kudu tool as it was written', async () => {
  const name = uniqueName('types');
  made.push(name);
  const table = await client.createTable({
    name,
    columns: [
      { name: 'id', type: 'STRING', key: true },
      { name: 'i8', type: 'INT8', nullable: true },
      { name: 'i16', type: 'INT16', nullable: true },
      { name: 'i32', type: 'INT32', nullable: true },
      { name: 'i64', type: 'INT64', nullable: true },
      { name: 'f', type: 'FLOAT', nullable: true },
      { name: 'd', type: 'DOUBLE', nullable: true },
      { name: 'b', type: 'BOOL', nullable: true },
      { name: 'bytes', type: 'BINARY', nullable: true },
      { name: 'text', type: 'VARCHAR', length: 4, nullable: true },
      { name: 'at', type: 'UNIXTIME_MICROS', nullable: true },
      { name: 'day', type: 'DATE', nullable: true },
      { name: 'd32', type: 'DECIMAL', precision: 9, scale: 2, nullable: true },
      { name: 'd64', type: 'DECIMAL', precision: 18, scale: 18, nullable: true },
      { name: 'd128', type: 'DECIMAL', precision: 38, scale: 0, nullable: true },
    ],
  });
  const session = client.session();
  const most = {
    id: 'most',
    i8: 127,
    i16: 32767,
    i32: 2147483647,
    i64: 9223372036854775807n,
    f: 3.4028234663852886e38,
    d: Number.MAX_VALUE,
    b: true,
    bytes: Uint8Array.of(0, 1, 255),
    text: 'äöü😀',
    at: new Date('2262-04-11T23:47:16.854Z'),
    day: 2932896,
    d32: '9999999.99',
    d64: 999999999999999999n,
    d128: 10n ** 38n - 1n,
  };
  const least = {
    id: 'least',
    i8: -128,
    i16: -32768,
    i32: -2147483648,
    i64: -(2n ** 63n),
    f: -3.4028234663852886e38,
    d: -Number.MAX_VALUE,
    b: false,
    bytes: new Uint8Array(),
    text: '',
    at: -1n,
    day: new Date('0001-01-01'),
    d32: '-9999999.99',
    d64: -999999999999999999n,
    d128: -(10n ** 38n) + 1n,
  };
  session.insert(table, most);
  session.insert(table, least);
  session.insert(table, { id: 'nulls' });
  expect(await session.flush()).toEqual({ errors: [] });
  // The tool prints decimals unscaled.
  expect(await scan(table)).toEqual([
    '(string id="least", int8 i8=-128, int16 i16=-32768, int32 i32=-2147483648, int64 i64=-9223372036854775808, ' +
      'float f=-3.4028235e+38, double d=-1.7976931348623157e+308, bool b=false, binary bytes="", varchar text="", ' +
      'unixtime_micros at=1969-12-31T23:59:59.999999Z, date day=1-01-01, decimal d32=-999999999_D32, ' +
      'decimal d64=-999999999999999999_D64, decimal d128=-99999999999999999999999999999999999999_D128)',
    '(string id="most", int8 i8=127, int16 i16=32767, int32 i32=2147483647, int64 i64=9223372036854775807, ' +
      'float f=3.4028235e+38, double d=1.7976931348623157e+308, bool b=true, binary bytes="\\x00\\x01\\xff", ' +
      'varchar text="äöü😀", unixtime_micros at=2262-04-11T23:47:16.854000Z, date day=9999-12-31, ' +
      'decimal d32=999999999_D32, decimal d64=999999999999999999_D64, ' +
      'decimal d128=99999999999999999999999999999999999999_D128)',
    '(string id="nulls", int8 i8=NULL, int16 i16=NULL, int32 i32=NULL, int64 i64=NULL, float f=NULL, double d=NULL, ' +
      'bool b=NULL, binary bytes=NULL, varchar text=NULL, unixtime_micros at=NULL, date day=NULL, ' +
      'decimal d32=NULL, decimal d64=NULL, decimal d128=NULL)',
  ]);
});

test('each operation does what it says, and rows that it cannot be done to come back with their errors', async () => {
  const table = await newTable();
  const session = client.session();
  const one = { id: 1, label: 'one' };
  session.insert(table, one);
  session.upsert(table, { id: 2, label: 'two', once: 'kept' });
  session.update(table, { id: 3, label: 'nobody' });
  session.delete(table, { id: 4 });
  session.insert(table, { id: 1, label: 'again' });
  session.update(table, { id: 1, n: 8n });
  session.upsert(table, { id: 2, once: 'changed' });
  const { errors } = await session.flush();
  const expected = [
    { row: { id: 3, label: 'nobody' }, code: 'NOT_FOUND', operation: 'UPDATE' },
    { row: { id: 4 }, code: 'NOT_FOUND', operation: 'DELETE' },
    { row: { id: 1, label: 'again' }, code: 'ALREADY_PRESENT', operation: 'INSERT' },
    { row: { id: 2, once: 'changed' }, code: 'IMMUTABLE', operation: 'UPSERT' },
  ];
  expect(plain(errors)).toHaveLength(4);
  expect(plain(errors)).toEqual(expect.arrayContaining(expected));
  expect(errors.every((error) => error.table === table.name && error.message.length > 0)).toBe(true);

  session.insertIgnore(table, { id: 1, label: 'ignored' });
  session.updateIgnore(table, { id: 3, label: 'ignored' });
  session.deleteIgnore(table, { id: 4 });
  session.upsertIgnore(table, { id: 2, label: 'second', once: 'ignored' });
  session.insert(table, { id: 5, label: null });
  session.insert(table, { id: 6 });
  session.delete(table, { id: 6, label: 'of no matter' });
  expect(await session.flush()).toEqual({ errors: [] });
  expect(await scan(table)).toEqual([
    '(int32 id=1, string label="one", int64 n=8, string once=NULL)',
    '(int32 id=2, string label="second", int64 n=7, string once="kept")',
    '(int32 id=5, string label=NULL, int64 n=7, string once=NULL)',
  ]);
});

test('the row that is wrong comes back as the object that was handed in, out of thousands that are written', async () => {
  const table = await newTable();
  const session = client.session({ flushBytes: 2000 });
  const rows = Array.from({ length: 5000 }, (_, id) => ({ id, label: `row ${id}` }));
  for (const row of rows) session.insert(table, row);
  const again = { id: 4321, label: 'again' };
  session.insert(table, again);
  const { errors } = await session.flush();
  expect(errors).toHaveLength(1);
  expect(errors[0]!.row).toBe(again);
  expect(session.pendingBytes).toBe(0);
  expect(await scan(table)).toHaveLength(5000);
});

test('a row into a gap between range partitions is NOT_FOUND, until somebody adds the partition', async () => {
  const name = uniqueName('gap');
  made.push(name);
  const partitions = [{ upper: { day: 10 } }, { lower: { day: 20 }, upper: { day: 30 } }];
  const table = await client.createTable({
    name,
    columns: [{ name: 'day', type: 'INT32', key: true }],
    partitions: { range: { columns: ['day'], partitions } },
  });
  const session = client.session();
  const write = async () => {
    for (const day of [-5, 9, 10, 15, 19, 20, 29, 30, 99]) session.upsert(table, { day });
    const { errors } = await session.flush();
    return errors.map(({ row, code }) => `${String(row.day)} ${code}`);
  };
  const outside = ['10', '15', '19', '30', '99'].map((day) => `${day} NOT_FOUND`);
  expect(await write()).toEqual(outside);
  // Known by now, so refused without asking.
  expect(await write()).toEqual(outside);
  using other = await connect({ masters: testServers().kudu });
  await other.alterTable(name, [{ addRange: { lower: { day: 10 }, upper: { day: 20 } } }]);
  await waitFor('the new partition is used', async () => (await write()).length === 2);
  expect(await write()).toEqual(['30 NOT_FOUND', '99 NOT_FOUND']);
  // And the other way: the partition is dropped behind our back.
  await other.alterTable(name, [{ dropRange: { lower: { day: 10 }, upper: { day: 20 } } }]);
  // Its server takes rows until it hears of that.
  await waitFor('the partition is gone', async () => (await write()).length === outside.length);
  expect((await write()).sort()).toEqual(outside);
});

test('values that cannot be, and columns that are not there, are refused at once; the others are written', async () => {
  const table = await newTable();
  const session = client.session();
  session.insert(table, { id: 1 });
  expect(() => session.insert(table, { id: 2 ** 40 })).toThrow(KuduValueError);
  expect(() => session.insert(table, { id: 2, label: 5 })).toThrow(/label/);
  expect(() => session.insert(table, { id: 2, lable: 'x' })).toThrow(/lable/);
  expect(() => session.insert(table, { label: 'no key' })).toThrow(/id/);
  session.insert(table, { id: 3 });
  expect(await session.flush()).toEqual({ errors: [] });
  // Now that the tablets are known, as well.
  expect(() => session.insert(table, { id: 2, label: 5 })).toThrow(/label/);
  session.insert(table, { id: 4 });
  expect(await session.flush()).toEqual({ errors: [] });
  expect(await scan(table)).toHaveLength(3);
});

test('a cell larger than the server takes fails with its neighbours, and the session goes on', async () => {
  const table = await newTable(2);
  const session = client.session();
  session.insert(table, { id: 1, label: 'x'.repeat(70_000) });
  const { errors } = await session.flush();
  expect(errors).toMatchObject([{ code: 'INVALID_ARGUMENT', message: expect.stringContaining('65536') }]);
  session.insert(table, { id: 1, label: 'y'.repeat(65_536) });
  expect(await session.flush()).toEqual({ errors: [] });
});

test('writes to one row happen in the order in which they were asked for, whatever the batches', async () => {
  const table = await newTable();
  const session = client.session({ flushBytes: 100 });
  for (let n = 0; n < 3000; n++) session.upsert(table, { id: n % 3, n: BigInt(n) });
  expect(await session.flush()).toEqual({ errors: [] });
  expect((await scan(table)).map((line) => /n=(\d+)/.exec(line)![1])).toEqual(['2997', '2998', '2999']);
});

test('rows are sent by time without a flush, and a full buffer says so until it has drained', async () => {
  const table = await newTable();
  const session = client.session({ flushMs: 5, bufferBytes: 10_000 });
  let full = 0;
  for (let id = 0; id < 1000; id++) {
    if (!session.insert(table, { id, label: 'x'.repeat(50) })) {
      full++;
      await session.drained();
      expect(session.pendingBytes).toBeLessThan(5000);
    }
  }
  expect(full).toBeGreaterThan(5);
  while (session.pendingBytes > 0) await new Promise((resolve) => setTimeout(resolve, 5));
  expect(await scan(table)).toHaveLength(1000);
  expect(await session.close()).toEqual({ errors: [] });
  expect(() => session.insert(table, { id: 1 })).toThrow(/closed/);
});

test('a session that is left with errors throws, and one with good rows writes them', async () => {
  const table = await newTable();
  {
    await using session = client.session();
    session.insert(table, { id: 1 });
  }
  expect(await scan(table)).toHaveLength(1);
  const leave = async () => {
    await using session = client.session();
    session.insert(table, { id: 1 });
  };
  await expect(leave()).rejects.toMatchObject({ code: 'ALREADY_PRESENT' });
});

test('a table that was deleted meanwhile fails the rows, not the session', async () => {
  const table = await newTable();
  const session = client.session();
  session.insert(table, { id: 1 });
  expect(await session.flush()).toEqual({ errors: [] });
  await client.deleteTable(table.name);
  made = made.filter((name) => name !== table.name);
  session.insert(table, { id: 2 });
  const { errors } = await session.flush();
  expect(errors).toMatchObject([{ code: 'NOT_FOUND', row: { id: 2 } }]);
});

test('rows with a column that was dropped meanwhile are refused with the reason', async () => {
  const table = await newTable();
  await client.alterTable(table.name, [{ dropColumn: 'label' }]);
  const session = client.session();
  session.insert(table, { id: 2, label: 'x' });
  const { errors } = await session.flush();
  expect(errors).toMatchObject([{ row: { id: 2 }, message: expect.stringContaining('label') }]);
});

test('options that cannot be are refused', () => {
  expect(() => client.session({ flushBytes: 0 })).toThrow(/flushBytes/);
  expect(() => client.session({ flushBytes: 2 ** 30 })).toThrow(/flushBytes/);
  expect(() => client.session({ flushMs: NaN })).toThrow(/flushMs/);
});
