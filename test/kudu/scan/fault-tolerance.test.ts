import { type Client, connect, type Table } from '../../../kudu/index.ts';
import { uniqueName } from '../../support/servers.ts';
import { type KuduCluster, kuduCluster, type KuduProcess } from '../support/kudu-cluster.ts';
import { recordCalls } from '../support/recorded-calls.ts';

const ROWS = 20_000;
/** Some hundred rows. */
const SMALL = 10_000;

let cluster: KuduCluster;
let client: Client;
let table: Table;

beforeAll(async () => {
  cluster = await kuduCluster({ tservers: 3 });
  client = await connect({ masters: cluster.addresses });
  table = await client.createTable({
    name: uniqueName('replicated'),
    replicas: 3,
    columns: [
      { name: 'id', type: 'INT32', key: true },
      { name: 'n', type: 'INT64' },
    ],
    partitions: { hash: [{ columns: ['id'], buckets: 2 }] },
  });
  const session = client.session();
  for (let id = 0; id < ROWS; id++) if (!session.upsert(table, { id, n: id * 3 })) await session.drained();
  expect(await session.flush()).toEqual({ errors: [] });
});
afterAll(async () => {
  client?.close();
  await cluster?.[Symbol.asyncDispose]();
});

const serverAt = (address: string) => cluster.tservers.find((one) => one.address === address)!;

const everyId = Array.from({ length: ROWS }, (_, id) => id);

/** Scans, and kills the server in use after some batches. */
async function scanKilling(options: Parameters<Table['scan']>[0]) {
  using recorded = recordCalls(table);
  const ids: number[] = [];
  let batches = 0;
  let killed: KuduProcess | undefined;
  try {
    for await (const batch of table.scan({ batchBytes: SMALL, ...options })) {
      ids.push(...batch.getChild('id')!.toArray());
      expect([...batch.getChild('n')!.toArray()]).toEqual(
        [...batch.getChild('id')!.toArray()].map((id) => BigInt(id * 3)),
      );
      if (++batches === 5) {
        const inUse = recorded.calls.find(({ step }) => step === 'open')!.server;
        killed = serverAt(inUse);
        await killed.kill();
      }
    }
  } finally {
    killed?.start();
  }
  const opened = new Set(recorded.calls.filter(({ step }) => step === 'open').map(({ server }) => server));
  return { ids, batches, opened: opened.size };
}

test('a fault-tolerant scan whose server is killed midway goes on at another replica, nothing lost or doubled', async () => {
  const { ids, batches, opened } = await scanKilling({ faultTolerant: true });
  expect(batches).toBeGreaterThan(10);
  expect(opened).toBeGreaterThan(1);
  expect(ids.sort((a, b) => a - b)).toEqual(everyId);
});

test('so does one with a limit and a condition, on both tablets at once', async () => {
  const { ids } = await scanKilling({
    faultTolerant: true,
    parallel: 2,
    where: { n: { gte: 3000 } },
    limit: ROWS - 2000,
  });
  expect(new Set(ids).size).toBe(ROWS - 2000);
  expect(Math.min(...ids)).toBeGreaterThanOrEqual(1000);
});

test('a scan that is not fault-tolerant fails then, and says so', async () => {
  await expect(scanKilling({})).rejects.toMatchObject({
    code: 'SCANNER_LOST',
    message: expect.stringContaining('Scan again, or with faultTolerant') as string,
  });
});

test('with a server down from the start, every scan finds another one', async () => {
  const [leader] = (await table.tablets())[0]!.replicas;
  const server = serverAt(leader!.address);
  await server.kill();
  const read = async (options: Parameters<Table['scan']>[0]) => {
    const rows = await Array.fromAsync(table.scan({ columns: ['id'], ...options }).rows());
    return rows.map(({ id }) => id as number).sort((a, b) => a - b);
  };
  expect(await read({ read: 'snapshot' })).toEqual(everyId);
  expect(await read({})).toEqual(everyId);
  server.start();
});
