import { expect, test } from '@jest/globals';
import { connect } from '../../../kudu/index.ts';
import { kuduCluster } from '../support/kudu-cluster.ts';
import { toolScan } from '../support/kudu-tool.ts';

const columns = [{ name: 'id', type: 'INT32', key: true } as const];

test('a server that throttles is left alone for a while, and every row is written', async () => {
  await using cluster = await kuduCluster({ tserverFlags: () => ['--tablet_throttler_rpc_per_sec=40'] });
  using client = await connect({ masters: cluster.addresses });
  const table = await client.createTable({ name: 'throttled', columns });
  const session = client.session({ flushBytes: 1 });
  for (let id = 0; id < 100; id++) session.insert(table, { id });
  expect(await session.flush()).toEqual({ errors: [] });
  expect(await toolScan(cluster.addresses, 'throttled')).toHaveLength(100);
});

test('a token that a server does not accept is replaced by a new one', async () => {
  await using cluster = await kuduCluster({
    tserverFlags: () => [
      '--tserver_enforce_access_control=true',
      '--tserver_inject_invalid_authz_token_ratio=0.5',
    ],
  });
  using client = await connect({ masters: cluster.addresses });
  const table = await client.createTable({ name: 'guarded', columns });
  const first = table.authorization;
  const session = client.session({ flushBytes: 1 });
  for (let id = 0; id < 20; id++) session.insert(table, { id });
  expect(await session.flush()).toEqual({ errors: [] });
  expect(table.authorization).not.toBe(first);
});
