import { afterAll, beforeAll, expect, test } from '@jest/globals';
import {
  type Client,
  connect,
  EncodedWrite,
  RowBucketer,
  RowEncoder,
  Schema,
  type Table,
} from '../../../kudu/index.ts';
import { RequestTracker } from '../../../kudu/write/request-tracker.ts';
import { type CuttingProxy, cuttingProxy } from '../support/cutting-proxy.ts';
import { type KuduCluster, kuduCluster } from '../support/kudu-cluster.ts';
import { waitFor } from '../../support/processes.ts';
import { toolScan } from '../support/kudu-tool.ts';

/** A tablet server that clients reach only by way of a proxy, which can lose its answers. */
let proxy: CuttingProxy;
let cluster: KuduCluster;
let client: Client;
beforeAll(async () => {
  cluster = await kuduCluster({
    tserverFlags: async (_, port) => {
      proxy = await cuttingProxy(port);
      return [`--rpc_advertised_addresses=${proxy.address}`];
    },
  });
  client = await connect({ masters: cluster.addresses });
});
afterAll(async () => {
  client.close();
  await cluster[Symbol.asyncDispose]();
  await proxy[Symbol.asyncDispose]();
});

const newTable = (name: string): Promise<Table> =>
  client.createTable({
    name,
    columns: [
      { name: 'id', type: 'INT32', key: true },
      { name: 'n', type: 'INT32', nullable: true },
    ],
  });

test('an insert whose answer is lost is sent again and is not "already present"', async () => {
  const table = await newTable('inserts');
  const session = client.session();
  proxy.made = 0;
  proxy.cuts = 3;
  for (let id = 0; id < 10; id++) session.insert(table, { id });
  expect(await session.flush()).toEqual({ errors: [] });
  expect(proxy.made).toBe(3);
  expect(await toolScan(cluster.addresses, 'inserts')).toHaveLength(10);
});

test('rows that were encoded apart are as well, and memory that may still be in a socket is not used again', async () => {
  const table = await newTable('encoded');
  const { memory } = table.context;
  const schema = new Schema([
    { name: 'id', type: 'INT32', key: true },
    { name: 'n', type: 'INT32', nullable: true },
  ]);
  const insert = async (from: number) => {
    const encoder = new RowEncoder(schema);
    const write = new EncodedWrite(table, schema);
    for (let id = from; id < from + 3000; id++) {
      encoder.begin();
      encoder.int32(0, id);
      write.add('INSERT', { ...encoder.end() });
    }
    return write.send();
  };
  const grown = () => [memory.take(), memory.take()].filter(({ bytes }) => bytes.length > 16 * 1024).length;
  expect(await insert(0)).toEqual([]);
  expect(grown()).toBe(1);
  proxy.made = 0;
  proxy.cuts = 3;
  expect(await insert(3000)).toEqual([]);
  expect([proxy.made, grown()]).toEqual([3, 0]);
  expect(await toolScan(cluster.addresses, 'encoded')).toHaveLength(6000);
});

test('and so are rows that were put together by bucket: their memory is held', async () => {
  const table = await newTable('buckets');
  const schema = new Schema([{ name: 'id', type: 'INT32', key: true }]);
  const insert = async (from: number) => {
    const encoder = new RowEncoder(schema);
    const bucketer = new RowBucketer(schema, { columns: [], buckets: 1, seed: 0 });
    for (let id = from; id < from + 3000; id++) {
      encoder.begin();
      encoder.int32(0, id);
      bucketer.add(encoder.end());
    }
    const write = new EncodedWrite(table, schema);
    expect(await write.addBuckets(bucketer.finish())).toBe(true);
    expect(await write.send()).toEqual([]);
    return write.holdsBuckets;
  };
  expect(await insert(0)).toBe(false);
  proxy.made = 0;
  proxy.cuts = 3;
  expect(await insert(3000)).toBe(true);
  expect(proxy.made).toBe(3);
  expect(await toolScan(cluster.addresses, 'buckets')).toHaveLength(6000);
});

test('the errors of rows whose answer was lost are those of the first time', async () => {
  const table = await newTable('errors');
  const session = client.session();
  session.insert(table, { id: 1 });
  expect(await session.flush()).toEqual({ errors: [] });
  proxy.cuts = 1;
  session.insert(table, { id: 1 });
  session.insert(table, { id: 2 });
  session.delete(table, { id: 3 });
  const { errors } = await session.flush();
  expect(errors.map(({ row, code }) => [row.id, code])).toEqual([
    [1, 'ALREADY_PRESENT'],
    [3, 'NOT_FOUND'],
  ]);
});

test('when no answer ever comes, the rows are of unknown outcome, and what follows is written', async () => {
  const table = await newTable('unknown');
  using hasty = await connect({ masters: cluster.addresses, operationMs: 2000 });
  const session = hasty.session();
  const opened = await hasty.openTable(table.name);
  await opened.tablets();
  proxy.cuts = 1_000_000;
  session.insert(opened, { id: 1 });
  const { errors } = await session.flush();
  expect(errors).toMatchObject([{ code: 'UNKNOWN_OUTCOME', row: { id: 1 } }]);
  proxy.cuts = 0;
  session.insert(opened, { id: 2 });
  expect(await session.flush()).toEqual({ errors: [] });
});

test('a client that is closed while a write is in flight does not know what became of it', async () => {
  await newTable('closed');
  const closing = await connect({ masters: cluster.addresses });
  const opened = await closing.openTable('closed');
  await opened.tablets();
  const session = closing.session();
  proxy.holds = true;
  session.insert(opened, { id: 1 });
  const flushing = session.flush();
  await waitFor('the write is sent', () => proxy.held > 0);
  closing.close();
  expect((await flushing).errors).toMatchObject([{ code: 'UNKNOWN_OUTCOME', row: { id: 1 } }]);
  proxy.holds = false;
});

test('requests are numbered from 1 and say which is the first without an answer', () => {
  const tracker = new RequestTracker();
  const [one, two, three] = [tracker.begin(), tracker.begin(), tracker.begin()];
  const id = { clientId: tracker.clientId, firstIncompleteSeqNo: 1n };
  expect(one.id(1)).toEqual({ ...id, seqNo: 1n, attemptNo: 1n });
  expect(three.id(2)).toEqual({ ...id, seqNo: 3n, attemptNo: 2n });
  two.done();
  expect(three.id(3).firstIncompleteSeqNo).toBe(1n);
  one.done();
  expect(three.id(4)).toEqual({ ...id, seqNo: 3n, attemptNo: 4n, firstIncompleteSeqNo: 3n });
  expect(new RequestTracker().clientId).not.toBe(tracker.clientId);
});
