import { expect, test } from '@jest/globals';
import { openPool, withClient } from '../../sql/database.ts';
import { awayProxy } from '../support/away-proxy.ts';
import { freshDatabase } from '../support/servers.ts';

/** Longer than a busy machine takes for a new connection. */
const SILENCE_MS = 3000;
const WORKS_S = 8;

test('a silent connection that the server has forgotten is given up; one on which it works is not, however long', async () => {
  await using database = await freshDatabase();
  await using proxy = await awayProxy(database.url);
  await using pool = openPool(database.url, { silenceMs: SILENCE_MS });
  await using proxied = openPool(proxy.url, { silenceMs: SILENCE_MS });
  const working = pool.query(`select pg_sleep(${WORKS_S})`);
  const forgotten = withClient(proxied, async (client) => {
    const { rows } = await client.query<{ pid: number }>('select pg_backend_pid() as pid');
    proxy.silence();
    await proxy.back();
    // As after a failover: nobody tells the client that its session is not there.
    await database.pool.query('select pg_terminate_backend($1)', [rows[0]!.pid]);
    await client.query('select 1');
  });
  await expect(forgotten).rejects.toThrow(
    'Postgres has not answered for 3 s, and does not know this connection any more',
  );
  expect((await proxied.query('select 2 as two')).rows).toEqual([{ two: 2 }]);
  expect((await working).rowCount).toBe(1);
});
