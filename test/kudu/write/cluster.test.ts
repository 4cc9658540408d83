import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Client, connect, type Table } from '../../../kudu/index.ts';
import { Deadline } from '../../../kudu/rpc/backoff.ts';
import { type KuduCluster, type KuduProcess, kuduCluster } from '../support/kudu-cluster.ts';
import { kuduTool, toolScan } from '../support/kudu-tool.ts';
import { waitFor } from '../../support/processes.ts';

/** Three masters and three tablet servers, whose tests kill some of them. */
let cluster: KuduCluster;
let client: Client;
beforeAll(async () => {
  cluster = await kuduCluster({ masters: 3, tservers: 3 });
  client = await connect({ masters: cluster.addresses });
});
afterAll(async () => {
  client.close();
  await cluster[Symbol.asyncDispose]();
});

const newTable = (name: string): Promise<Table> =>
  client.createTable({
    name,
    columns: [
      { name: 'id', type: 'INT32', key: true },
      { name: 'text', type: 'STRING' },
    ],
    partitions: { hash: [{ columns: ['id'], buckets: 4 }] },
    replicas: 3,
  });

/** The server that leads the most tablets of the table. */
async function leadingServer(table: Table): Promise<KuduProcess> {
  const leads = new Map<string, number>();
  for (const { replicas } of await table.tablets()) {
    const leader = replicas.find((replica) => replica.leader);
    if (leader) leads.set(leader.address, (leads.get(leader.address) ?? 0) + 1);
  }
  const [[address]] = [...leads].sort((a, b) => b[1] - a[1]) as [[string, number]];
  return cluster.tservers.find((server) => server.address === address)!;
}

test('each of the masters is enough to find the one that leads, beside dead addresses too', async () => {
  for (const address of cluster.addresses) {
    using one = await connect({ masters: [address, '127.0.0.1:9'] });
    expect(await one.listTabletServers()).toHaveLength(3);
  }
});

test('a tablet server is killed while rows are inserted: each row is there once, and no error', async () => {
  const table = await newTable('killed');
  const session = client.session({ flushBytes: 4000 });
  const rows = 20_000;
  let killed: KuduProcess | undefined;
  for (let id = 0; id < rows; id++) {
    // Inserts: a row that was written twice would be an error.
    if (!session.insert(table, { id, text: `row ${id}` })) await session.drained();
    if (id % 500 === 499) await sleep(5);
    if (id === rows / 2) {
      killed = await leadingServer(table);
      await killed.kill('SIGKILL');
    }
  }
  const { errors } = await session.flush();
  killed!.start();
  expect(errors).toEqual([]);
  const lines = await toolScan(cluster.addresses, 'killed');
  const ids = lines.map((line) => Number(/id=(\d+)/.exec(line)![1]));
  expect(ids.sort((a, b) => a - b)).toEqual(Array.from({ length: rows }, (_, id) => id));
});

test('a tablet server that hangs is left for another replica', async () => {
  const table = await newTable('hangs');
  using impatient = await connect({ masters: cluster.addresses, attemptMs: 500 });
  const opened = await impatient.openTable('hangs');
  const session = impatient.session();
  session.insert(opened, { id: -1, text: 'before' });
  expect(await session.flush()).toEqual({ errors: [] });
  const leader = await leadingServer(table);
  await leader.kill('SIGSTOP');
  try {
    for (let id = 0; id < 100; id++) session.insert(opened, { id, text: 'meanwhile' });
    expect(await session.flush()).toEqual({ errors: [] });
  } finally {
    await leader.kill('SIGCONT');
  }
  expect(await toolScan(cluster.addresses, 'hangs')).toHaveLength(101);
});

test('a tablet that moves to another server is followed', async () => {
  const table = await client.createTable({
    name: 'moves',
    columns: [{ name: 'id', type: 'INT32', key: true }],
    replicas: 1,
  });
  const session = client.session({ flushMs: 1 });
  const [tablet] = await table.tablets();
  const from = tablet!.replicas[0]!.server;
  const to = (await client.listTabletServers()).find(({ id }) => id !== from)!.id;
  const masters = cluster.addresses.join(',');
  await kuduTool('tablet', 'change_config', 'move_replica', masters, tablet!.id, from, to);
  // A table of its own: asking for its places does not tell the session's.
  const other = await client.openTable('moves');
  let rows = 0;
  await waitFor('the tablet has moved', async () => {
    session.insert(table, { id: rows++ });
    const replicas = (await other.tablets())[0]!.replicas;
    return replicas.length === 1 && replicas[0]!.server === to;
  });
  for (let more = 0; more < 100; more++) session.insert(table, { id: rows++ });
  expect(await session.flush()).toEqual({ errors: [] });
  expect(await toolScan(cluster.addresses, 'moves')).toHaveLength(rows);
});

test('the leading master is killed: the client goes on with the next one', async () => {
  const { port } = await client.context.masters.leader(new Deadline(10_000));
  const master = cluster.masters.find(({ address }) => address.endsWith(`:${port}`))!;
  await master.kill('SIGKILL');
  expect(await client.listTables('killed')).toHaveLength(1);
  await newTable('after');
  const session = client.session();
  session.insert(await client.openTable('after'), { id: 1, text: 'x' });
  expect(await session.flush()).toEqual({ errors: [] });
  master.start();
});
