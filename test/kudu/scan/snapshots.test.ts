import { setTimeout as sleep } from 'node:timers/promises';
import fc from 'fast-check';
import {
  type Client,
  type ColumnSpec,
  connect,
  dateOfHybridTime,
  hybridTime,
  type Table,
} from '../../../kudu/index.ts';
import { testServers, uniqueName } from '../../support/servers.ts';
import { recordCalls } from '../support/recorded-calls.ts';

let client: Client;
beforeAll(async () => {
  client = await connect({ masters: testServers().kudu });
});
afterAll(() => client.close());

const COLUMNS: ColumnSpec[] = [
  { name: 'id', type: 'INT32', key: true },
  { name: 'n', type: 'INT32', nullable: true },
];

const createTable = (columns = COLUMNS) =>
  client.createTable({
    name: uniqueName('snapshots'),
    columns,
    partitions: { hash: [{ columns: ['id'], buckets: 3 }] },
  });

const now = () => client.latestTimestamp!;

type Step = ['upsert', number, number] | ['delete', number];

async function apply(table: Table, steps: readonly Step[]): Promise<void> {
  const session = client.session();
  for (const [kind, id, n] of steps) {
    if (kind === 'upsert') session.upsert(table, { id, n: n! });
    else session.deleteIgnore(table, { id });
    // Each by itself, so that what happens to one row does so at different times.
    expect(await session.flush()).toEqual({ errors: [] });
  }
}

const byId = (rows: Record<string, unknown>[]) => rows.sort((a, b) => Number(a.id) - Number(b.id));

const scanned = async (...[options, table]: [Parameters<Table['scan']>[0], Table]) =>
  byId(await Array.fromAsync(table.scan(options).rows()));

test('a snapshot shows the rows as they were, whatever happened to them since', async () => {
  const table = await createTable();
  await apply(table, [
    ['upsert', 1, 10],
    ['upsert', 2, 20],
    ['upsert', 3, 30],
  ]);
  const before = now();
  await apply(table, [
    ['upsert', 2, 21],
    ['delete', 3],
    ['upsert', 4, 40],
  ]);
  const then = [
    { id: 1, n: 10 },
    { id: 2, n: 20 },
    { id: 3, n: 30 },
  ];
  expect(await scanned({ snapshot: before }, table)).toEqual(then);
  expect(await scanned({ snapshot: before, faultTolerant: true, parallel: 3 }, table)).toEqual(then);
  const latest = [
    { id: 1, n: 10 },
    { id: 2, n: 21 },
    { id: 4, n: 40 },
  ];
  expect(await scanned({}, table)).toEqual(latest);
  expect(await scanned({ read: 'yourWrites' }, table)).toEqual(latest);
  await client.deleteTable(table.name);
});

test('a snapshot may be of any moment since the table has been there', async () => {
  const table = await createTable();
  await apply(table, [['upsert', 1, 10]]);
  await sleep(20);
  const moment = new Date();
  await sleep(20);
  await apply(table, [['upsert', 1, 11]]);
  expect(await scanned({ snapshot: hybridTime(moment) }, table)).toEqual([{ id: 1, n: 10 }]);
  expect(dateOfHybridTime(hybridTime(moment))).toEqual(moment);
  await client.deleteTable(table.name);
});

test('all tablets show the same moment, which the scan tells', async () => {
  const table = await createTable();
  await apply(
    table,
    Array.from({ length: 30 }, (_, id): Step => ['upsert', id, 0]),
  );
  using recorded = recordCalls(table);
  const scan = table.scan({ read: 'snapshot', parallel: 3 });
  expect(scan.snapshot).toBeUndefined();
  const seen = [];
  for await (const batch of scan) {
    // The first batch is of the first tablet; what is written now is later than the snapshot for all of them.
    if (seen.length === 0)
      await apply(
        table,
        Array.from({ length: 30 }, (_, id): Step => ['upsert', id, 1]),
      );
    seen.push(...batch.getChild('n')!.toArray());
  }
  expect(seen).toEqual(Array.from({ length: 30 }, () => 0));
  // The first server chose it.
  const asked = recorded.calls.filter(({ step }) => step === 'open').map(({ snapshot }) => snapshot);
  expect(asked).toEqual([undefined, scan.snapshot, scan.snapshot]);
  expect(await scanned({ snapshot: scan.snapshot! }, table)).toHaveLength(30);
  await client.deleteTable(table.name);
});

test('a scan of changes gives each row that changed once, and says which are deleted', async () => {
  const table = await createTable([...COLUMNS, { name: 'is_deleted', type: 'BOOL', default: false }]);
  await apply(table, [
    ['upsert', 1, 10],
    ['upsert', 2, 20],
    ['upsert', 3, 30],
  ]);
  const from = now();
  await apply(table, [
    ['upsert', 2, 21],
    ['upsert', 2, 22],
    ['delete', 3],
    ['upsert', 4, 40],
    ['upsert', 5, 50],
    ['delete', 5],
  ]);
  const to = now();
  await apply(table, [['upsert', 1, 11]]);
  const changes = table.scan({ columns: ['id', 'n'], changedSince: from, snapshot: to });
  expect(changes.schema.columns.map(({ name }) => name)).toEqual(['id', 'n', 'is_deleted_']);
  const rows = byId(await Array.fromAsync(changes.rows()));
  expect(rows.map(({ id, is_deleted_ }) => [id, is_deleted_])).toEqual([
    [2, false],
    [3, true],
    [4, false],
  ]);
  expect(rows[0]).toMatchObject({ n: 22 });
  await client.deleteTable(table.name);
});

test('changes applied to an older copy make the newer one, whatever was done in between', async () => {
  const step: fc.Arbitrary<Step> = fc.oneof(
    fc.tuple(fc.constant('upsert' as const), fc.integer({ min: 0, max: 7 }), fc.integer({ min: 0, max: 99 })),
    fc.tuple(fc.constant('delete' as const), fc.integer({ min: 0, max: 7 })),
  );
  const table = await createTable();
  await fc.assert(
    fc.asyncProperty(
      fc.array(step, { maxLength: 8 }),
      fc.array(step, { maxLength: 12 }),
      async (first, then) => {
        await apply(table, [['upsert', 0, 0], ...first]);
        const from = now();
        const copy = new Map((await scanned({ snapshot: from }, table)).map((row) => [row.id, row.n]));
        await apply(table, then);
        const to = now();
        const changes = await Array.fromAsync(
          table.scan({ changedSince: from, snapshot: to, faultTolerant: true }).rows(),
        );
        for (const { id, n, is_deleted } of changes) {
          if (is_deleted) copy.delete(id!);
          else copy.set(id!, n!);
        }
        expect(new Set(changes.map(({ id }) => id)).size).toBe(changes.length);
        const newer = new Map((await scanned({ snapshot: to }, table)).map((row) => [row.id, row.n]));
        expect(new Map([...copy].sort())).toEqual(new Map([...newer].sort()));
      },
    ),
    { numRuns: 25 },
  );
  await client.deleteTable(table.name);
});

test('scans of changes, each from where the last one ended, miss nothing that is written meanwhile', async () => {
  const table = await createTable();
  const written = 300;
  let done = false;
  const writing = (async () => {
    const session = client.session();
    for (let id = 0; id < written; id++) {
      session.upsert(table, { id, n: id });
      await session.flush();
    }
    done = true;
  })();
  const seen: unknown[] = [];
  let from = hybridTime(new Date(Date.now() - 1000));
  for (let last = false; !last;) {
    last = done;
    const changes = table.scan({ changedSince: from, faultTolerant: true, parallel: 3 });
    for await (const { id } of changes.rows()) seen.push(id);
    from = changes.snapshot!;
  }
  await writing;
  expect(seen.sort((a, b) => Number(a) - Number(b))).toEqual(Array.from({ length: written }, (_, id) => id));
  await client.deleteTable(table.name);
});

test.each([
  [{ changedSince: 2n, snapshot: 1n }, 'begins (changedSince) before it ends'],
  [{ snapshot: 1n, read: 'latest' as const }, 'reads a snapshot, not "latest"'],
  [{ limit: -1 }, 'The limit is a number of rows, not -1.'],
  [{ parallel: 0 }, 'parallel is 1 or more'],
  [{ batchBytes: 0.5 }, 'batchBytes is 1 or more'],
  [{ columns: ['id', 'id'] }, 'two columns named id'],
  [{ columns: ['nothing'] }, 'There is no column nothing'],
])('%p is refused', async (options, message) => {
  const table = await createTable();
  expect(() => table.scan(options)).toThrow(message);
  await client.deleteTable(table.name);
});
