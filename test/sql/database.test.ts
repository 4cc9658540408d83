import { once } from 'node:events';
import { type AddressInfo, connect, createServer } from 'node:net';
import { expect, test } from '@jest/globals';
import { openPool, withClient } from '../../sql/database.ts';
import { testServers } from '../support/servers.ts';

/** What Postgres says when somebody ends a session: ErrorResponse, https://www.postgresql.org/docs/current/protocol-message-formats.html */
function endOfSession(): Buffer {
  const fields = ['SFATAL', 'C57P01', 'Mterminating connection due to administrator command', ''];
  const body = Buffer.from(`${fields.join('\0')}\0`);
  const head = Buffer.from('E\0\0\0\0', 'latin1');
  head.writeInt32BE(4 + body.length, 1);
  return Buffer.concat([head, body]);
}

const READY = Buffer.from('Z\0\0\0\x05I', 'latin1');

test('a connection that ends in the packet with the answer that freed it costs who has it next an error, not the process', async () => {
  const server = new URL(testServers().postgres);
  let ending = false;
  await using cleanUp = new AsyncDisposableStack();
  const proxy = createServer((client) => {
    const upstream = connect(Number(server.port), server.hostname);
    client.on('error', () => undefined).pipe(upstream);
    upstream.on('error', () => undefined);
    upstream.on('data', (chunk) => {
      if (!ending || !chunk.subarray(-READY.length).equals(READY)) return client.write(chunk);
      ending = false;
      upstream.destroy();
      return client.end(Buffer.concat([chunk, endOfSession()]));
    });
  }).listen(0, '127.0.0.1');
  cleanUp.defer(() => void proxy.close());
  await once(proxy, 'listening');
  const through = new URL(server);
  through.port = String((proxy.address() as AddressInfo).port);
  await using pool = openPool(through.href, { max: 1 });

  await pool.query('select 1');
  ending = true;
  const freeing = pool.query('select 2 as two');
  const next = withClient(pool, (client) => client.query('select 3'));
  expect((await freeing).rows).toEqual([{ two: 2 }]);
  await expect(next).rejects.toThrow(/connection|terminated/i);
  expect((await pool.query('select 4 as four')).rows).toEqual([{ four: 4 }]);
});
