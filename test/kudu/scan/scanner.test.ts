import { setTimeout as sleep } from 'node:timers/promises';
import { type Client, connect, type Table } from '../../../kudu/index.ts';
import { testServers, uniqueName } from '../../support/servers.ts';
import { kuduCluster } from '../support/kudu-cluster.ts';
import { recordCalls } from '../support/recorded-calls.ts';

let client: Client;
let table: Table;
const ROWS = 5000;
/** Small enough for many batches in each of the three tablets. */
const SMALL = 4000;

beforeAll(async () => {
  client = await connect({ masters: testServers().kudu });
  table = await filledTable(client);
});
afterAll(async () => {
  await client.deleteTable(table.name);
  client.close();
});

async function filledTable(by: Client, buckets = 3): Promise<Table> {
  const made = await by.createTable({
    name: uniqueName('scanner'),
    columns: [
      { name: 'id', type: 'INT32', key: true },
      { name: 'text', type: 'STRING' },
    ],
    partitions: { hash: [{ columns: ['id'], buckets }] },
  });
  const session = by.session();
  for (let id = 0; id < ROWS; id++) session.upsert(made, { id, text: `row ${id}` });
  expect(await session.flush()).toEqual({ errors: [] });
  return made;
}

/** Resolves when there was nothing new for a while. */
async function quiet(calls: readonly unknown[]): Promise<void> {
  for (let before = -1; before !== calls.length; await sleep(100)) before = calls.length;
}

test.each([1, 3])('each row comes once, in many batches (%d tablets at a time)', async (parallel) => {
  const ids: number[] = [];
  let batches = 0;
  for await (const batch of table.scan({ batchBytes: SMALL, parallel })) {
    ids.push(...batch.getChild('id')!.toArray());
    batches++;
  }
  expect(batches).toBeGreaterThan(10);
  expect(ids.sort((a, b) => a - b)).toEqual(Array.from({ length: ROWS }, (_, id) => id));
});

test.each([
  [0, 1],
  [1, 1],
  [1700, 1],
  [ROWS - 1, 1],
  [ROWS * 2, 1],
  [1700, 3],
])('a limit of %d rows holds over all tablets (%d at a time)', async (limit, parallel) => {
  const rows = await Array.fromAsync(table.scan({ limit, parallel, batchBytes: SMALL }).rows());
  expect(rows).toHaveLength(Math.min(limit, ROWS));
  expect(new Set(rows.map(({ id }) => id)).size).toBe(rows.length);
  const some = await Array.fromAsync(table.scan({ limit, parallel, columns: [], faultTolerant: true }));
  expect(some.reduce((sum, { numRows }) => sum + numRows, 0)).toBe(Math.min(limit, ROWS));
});

test('the servers are told of a limit: few rows are one answer, and leave nothing open', async () => {
  using recorded = recordCalls(table);
  expect(await Array.fromAsync(table.scan({ limit: 3, batchBytes: SMALL }).rows())).toHaveLength(3);
  const steps = recorded.calls.filter(({ method }) => method === 'Scan').map(({ step }) => step);
  expect(steps).toEqual(['open']);
});

test('in a fault-tolerant scan the rows of a tablet come in the order of their keys', async () => {
  const { id } = (await table.tablets())[0]!;
  using recorded = recordCalls(table);
  let last = -1;
  for await (const batch of table.scan({ faultTolerant: true, batchBytes: SMALL })) {
    if (recorded.calls.filter(({ step }) => step === 'open').some(({ tablet }) => tablet !== id)) break;
    for (const value of batch.getChild('id')!.toArray() as Int32Array) {
      expect(value).toBeGreaterThan(last);
      last = value;
    }
  }
  expect(last).toBeGreaterThan(0);
});

test('the next batch is asked for while the consumer works on one, and no more than that', async () => {
  using recorded = recordCalls(table);
  let checked = false;
  for await (const _ of table.scan({ batchBytes: SMALL })) {
    await quiet(recorded.calls);
    const steps = recorded.calls.filter(({ method }) => method === 'Scan').map(({ step }) => step);
    expect(steps).toEqual(['open', 'continue']);
    checked = true;
    break;
  }
  expect(checked).toBe(true);
});

test.each([
  ['break', () => undefined],
  [
    'an error',
    () => {
      throw new Error('of the consumer');
    },
  ],
])('leaving the loop by %s closes what is open on the servers', async (_, leave) => {
  using recorded = recordCalls(table);
  const scan = async () => {
    for await (const _batch of table.scan({ batchBytes: SMALL, parallel: 3 })) {
      leave();
      break;
    }
  };
  await scan().catch((error: Error) => expect(error.message).toBe('of the consumer'));
  const count = (step: string) => recorded.calls.filter((call) => call.step === step).length;
  expect(count('open')).toBe(3);
  expect(count('close')).toBe(3);
});

test('a scanner that came to its end is not closed', async () => {
  using recorded = recordCalls(table);
  await Array.fromAsync(table.scan({ batchBytes: SMALL }));
  expect(recorded.calls.filter(({ step }) => step === 'close')).toEqual([]);
});

test('tablets that cannot match are not asked', async () => {
  using recorded = recordCalls(table);
  expect(await Array.fromAsync(table.scan({ where: { id: 17 } }).rows())).toEqual([
    { id: 17, text: 'row 17' },
  ]);
  expect(recorded.calls.filter(({ step }) => step === 'open')).toHaveLength(1);
  expect(await Array.fromAsync(table.scan({ where: { id: { gt: 5, lt: 6 } } }))).toEqual([]);
  expect(recorded.calls.filter(({ step }) => step === 'open')).toHaveLength(1);
});

test('a table that was dropped meanwhile is an error, not an empty scan', async () => {
  using impatient = await connect({ masters: testServers().kudu, operationMs: 2000 });
  const dropped = await filledTable(impatient, 2);
  await Array.fromAsync(dropped.scan());
  await client.deleteTable(dropped.name);
  await expect(Array.fromAsync(dropped.scan())).rejects.toMatchObject({ code: 'NOT_FOUND' });
});

test('a scanner whose consumer takes long is kept alive', async () => {
  await using cluster = await kuduCluster({
    tserverFlags: () => ['--scanner_ttl_ms=1000', '--scanner_gc_check_interval_us=100000'],
  });
  using own = await connect({ masters: cluster.addresses });
  const slow = await filledTable(own, 2);
  const read = async (keepAliveMs: number) => {
    let rows = 0;
    let waited = false;
    for await (const { numRows } of slow.scan({ batchBytes: SMALL, keepAliveMs })) {
      rows += numRows;
      if (!waited) await sleep(2500);
      waited = true;
    }
    return rows;
  };
  const [kept, left] = await Promise.allSettled([read(300), read(60_000)]);
  expect(kept).toEqual({ status: 'fulfilled', value: ROWS });
  // The judge that the waiting was long enough.
  expect(left).toMatchObject({ status: 'rejected', reason: { code: 'SCANNER_LOST' } });
});
