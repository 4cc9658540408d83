import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { connect } from '../../../kudu/index.ts';
import { testServers, uniqueName } from '../../support/servers.ts';
import { Client } from '../../../kudu/client/client.ts';
import { decodeListTables } from '../../../kudu/messages/list-tables.ts';
import { Deadline } from '../../../kudu/rpc/backoff.ts';
import { fakeKudu, tcpServer } from '../support/fake-server.ts';
import { kuduTool } from '../support/kudu-tool.ts';

let client: Client;
beforeAll(async () => {
  client = await connect({ masters: testServers().kudu });
});
afterAll(() => client.close());

const describeTable = (name: string) => kuduTool('table', 'describe', testServers().kudu.join(','), name);

test('a table with every column attribute is what the kudu tool describes', async () => {
  const name = uniqueName('attributes');
  const table = await client.createTable({
    name,
    comment: 'of a test',
    owner: 'somebody',
    columns: [
      { name: 'id', type: 'STRING', key: true, encoding: 'PREFIX', compression: 'LZ4', comment: 'who' },
      { name: 'day', type: 'DATE', key: true },
      { name: 'n', type: 'INT32', nullable: true, default: 7, encoding: 'RLE', compression: 'ZLIB' },
      { name: 'price', type: 'DECIMAL', precision: 12, scale: 3, nullable: true },
      { name: 'short', type: 'VARCHAR', length: 9, nullable: true, encoding: 'DICTIONARY' },
      { name: 'once', type: 'STRING', nullable: true, immutable: true },
      { name: 'bytes', type: 'BINARY', default: Uint8Array.of(0, 255), blockSize: 65536 },
    ],
    partitions: { hash: [{ columns: ['id'], buckets: 2, seed: 5 }] },
  });
  const text = await kuduTool('table', 'describe', testServers().kudu.join(','), name, '-show_attributes');
  expect(text).toContain('id STRING NOT NULL PREFIX_ENCODING LZ4 - -');
  expect(text).toMatch(/day DATE NOT NULL/);
  expect(text).toMatch(/n INT32 NULLABLE RLE ZLIB 7 7/);
  expect(text).toMatch(/price DECIMAL\(12, 3\) NULLABLE/);
  expect(text).toMatch(/short VARCHAR\(9\) NULLABLE DICT_ENCODING/);
  expect(text).toMatch(/once STRING NULLABLE IMMUTABLE/);
  expect(text).toMatch(/HASH \(id\) PARTITIONS 2 SEED 5/);
  expect(text).toContain('OWNER somebody');
  expect(text).toContain('of a test');
  expect(table).toMatchObject({ name, owner: 'somebody', comment: 'of a test', replicas: 1 });
  // What was given is what comes back when the table is opened.
  const opened = await client.openTable(name);
  expect(opened.schema.column('n')).toMatchObject({ default: 7, encoding: 'RLE', compression: 'ZLIB' });
  expect(opened.schema.column('bytes')).toMatchObject({ blockSize: 65536, nullable: false });
  expect(opened.schema.column('price')).toMatchObject({ type: 'DECIMAL64', precision: 12, scale: 3 });
  expect(opened.schema.column('id')).toMatchObject({ key: true, comment: 'who' });
  expect(await opened.tablets()).toHaveLength(2);
  expect(await client.listTables(name)).toMatchObject([{ name, tablets: 2, replicas: 1 }]);
  await client.deleteTable(name);
  expect(await client.listTables(name)).toEqual([]);
});

test('range partitions with every kind of bound, and a range hashed in its own way', async () => {
  const name = uniqueName('ranges');
  const columns = [
    { name: 'day', type: 'INT32', key: true },
    { name: 'id', type: 'STRING', key: true },
  ] as const;
  await client.createTable({
    name,
    columns: [...columns],
    partitions: {
      hash: [{ columns: ['id'], buckets: 2 }],
      range: {
        columns: ['day'],
        partitions: [
          { upper: { day: 0 } },
          { lower: { day: 10 }, upper: { day: 20 }, lowerInclusive: false, upperInclusive: true },
          { value: { day: 30 } },
        ],
      },
    },
  });
  expect(await describeTable(name)).toContain(
    'PARTITION VALUES < 0,\n    PARTITION 11 <= VALUES < 21,\n    PARTITION 30 <= VALUES < 31\n',
  );
  const own = { hash: [{ columns: ['id'], buckets: 5 }] };
  const altered = await client.alterTable(name, [
    { dropRange: { lower: { day: 11 }, upper: { day: 21 } } },
    { addRange: { lower: { day: 40 }, upper: { day: 41 }, ...own } },
  ]);
  expect(altered.partitionSchema.customRanges).toHaveLength(1);
  expect(await altered.tablets()).toHaveLength(2 + 2 + 5);
  expect(await describeTable(name)).toContain(
    'PARTITION VALUES < 0,\n    PARTITION 30 <= VALUES < 31,\n    PARTITION 40 <= VALUES < 41 HASH(id) PARTITIONS 5\n',
  );
  await client.deleteTable(name);
  const ranges = [
    { lower: { day: 1 }, upper: { day: 2 }, ...own },
    { lower: { day: 2 }, upper: { day: 3 } },
  ];
  const hash = [{ columns: ['id'], buckets: 2 }];
  const made = await client.createTable({
    name,
    columns: [...columns],
    partitions: { hash, range: { columns: ['day'], partitions: ranges } },
  });
  expect(await made.tablets()).toHaveLength(5 + 2);
  await client.deleteTable(name);
  const turned = [{ value: { day: 1 }, ...own }];
  await expect(
    client.createTable({
      name,
      columns: [...columns],
      partitions: { hash, range: { columns: ['day'], partitions: turned } },
    }),
  ).rejects.toMatchObject({ code: 'INVALID_ARGUMENT', message: expect.stringContaining('addRange') });
});

test('columns are added, renamed, changed and dropped; the table is renamed', async () => {
  const name = uniqueName('alter');
  await client.createTable({
    name,
    columns: [
      { name: 'id', type: 'INT64', key: true },
      { name: 'old', type: 'STRING', nullable: true },
      { name: 'extra', type: 'BOOL', nullable: true },
    ],
  });
  const table = await client.alterTable(name, [
    { addColumn: { name: 'score', type: 'DOUBLE', default: 0.5 } },
    { renameColumn: 'old', to: 'label' },
    { dropColumn: 'extra' },
    { alterColumn: 'label', set: { default: 'none', comment: 'what it is', compression: 'SNAPPY' } },
    { setComment: 'altered' },
    { renameTable: `${name}_2` },
  ]);
  expect(table.name).toBe(`${name}_2`);
  expect(table.comment).toBe('altered');
  expect(table.schema.columns.map((column) => column.name)).toEqual(['id', 'label', 'score']);
  expect(table.schema.column('label')).toMatchObject({
    default: 'none',
    comment: 'what it is',
    compression: 'SNAPPY',
  });
  expect(table.schema.column('score')).toMatchObject({ default: 0.5, nullable: false });
  const without = await client.alterTable(table.name, [{ alterColumn: 'label', set: { default: null } }]);
  expect(without.schema.column('label').default).toBeUndefined();
  await client.deleteTable(table.name);
});

test('what the master refuses is an error with a code of its own', async () => {
  const name = uniqueName('refused');
  const id = { name: 'id', type: 'INT64', key: true } as const;
  await expect(client.openTable(name)).rejects.toMatchObject({ code: 'NOT_FOUND' });
  await expect(client.deleteTable(name)).rejects.toMatchObject({ code: 'NOT_FOUND' });
  await client.createTable({ name, columns: [id] });
  await expect(client.createTable({ name, columns: [id] })).rejects.toMatchObject({
    code: 'ALREADY_PRESENT',
    detail: 'TABLE_ALREADY_PRESENT',
  });
  const same = { addColumn: { name: 'id', type: 'INT32' as const, nullable: true } };
  await expect(client.alterTable(name, [same])).rejects.toMatchObject({ code: 'ALREADY_PRESENT' });
  const gone = { dropColumn: 'nothing' };
  await expect(client.alterTable(name, [gone])).rejects.toMatchObject({ code: 'NOT_FOUND' });
  const overlapping = { addRange: { lower: { id: 1n }, upper: { id: 2n } } };
  await expect(client.alterTable(name, [overlapping])).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
  await client.deleteTable(name);
  await expect(client.createTable({ name, columns: [id], replicas: 2 })).rejects.toMatchObject({
    code: 'INVALID_ARGUMENT',
  });
});

test('the tablet servers are listed with their version', async () => {
  const servers = await client.listTabletServers();
  expect(servers).toHaveLength(1);
  expect(servers[0]).toMatchObject({ version: expect.stringContaining('1.18.0') });
});

test('an operation ends in time although a server never answers the connection', async () => {
  await using silent = await tcpServer(() => undefined);
  const client = new Client({ masters: [silent.address], operationMs: 100, connectMs: 600_000 });
  await expect(client.listTables()).rejects.toMatchObject({ code: 'TIMEOUT' });
  client.close();
});

test('who shares the search for the leader with somebody who has less time goes on when that one gives up', async () => {
  let leads = false;
  await using server = await fakeKudu(({ method, answer }) => {
    // Role: LEADER or FOLLOWER.
    answer(Buffer.from(method === 'ConnectToMaster' ? [16, leads ? 1 : 0] : []));
  });
  const { masters } = new Client({ masters: [server.address] }).context;
  const list = (limitMs: number) =>
    masters.call({
      method: 'ListTables',
      body: new Uint8Array(),
      decode: decodeListTables,
      deadline: new Deadline(limitMs),
      repeatable: true,
    });
  const hasty = list(50);
  const patient = list(20_000);
  await expect(hasty).rejects.toMatchObject({ code: 'TIMEOUT' });
  leads = true;
  expect(await patient).toEqual({ tables: [] });
});

test('creating a table whose answer is lost is not tried again: UNKNOWN_OUTCOME', async () => {
  let asked = 0;
  await using server = await fakeKudu(({ method, answer, socket }) => {
    if (method === 'ConnectToMaster') return answer(Buffer.from([16, 1]));
    asked++;
    socket.destroy();
  });
  const hapless = new Client({ masters: [server.address] });
  const columns = [{ name: 'id', type: 'INT64', key: true } as const];
  await expect(hapless.createTable({ name: 'lost', columns })).rejects.toMatchObject({
    code: 'UNKNOWN_OUTCOME',
    server: server.address,
  });
  expect(asked).toBe(1);
  hapless.close();
});

test('options that cannot be are refused', async () => {
  const refused = { code: 'INVALID_ARGUMENT' };
  await expect(connect({ masters: [] })).rejects.toMatchObject(refused);
  await expect(connect({ masters: ['host:port'] })).rejects.toMatchObject(refused);
  await expect(connect({ masters: ['host:99999'] })).rejects.toMatchObject(refused);
  await expect(connect({ masters: ['host'], operationMs: 3_600_000 })).rejects.toMatchObject(refused);
  await expect(connect({ masters: ['host'], attemptMs: NaN })).rejects.toMatchObject(refused);
});
