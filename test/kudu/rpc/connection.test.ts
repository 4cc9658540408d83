import { expect, test } from '@jest/globals';
import { createServer } from 'node:http';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { connect } from '../../../kudu/index.ts';
import { MessageWriter } from '../../../kudu/messages/fields.ts';
import { Connection } from '../../../kudu/rpc/connection.ts';
import { ConnectionPool } from '../../../kudu/rpc/pool.ts';
import { freePort, LOCALHOST } from '../../../stack/ports.ts';
import { type FakeCall, fakeKudu, responseFrame, tcpServer } from '../support/fake-server.ts';
import { kuduCluster } from '../support/kudu-cluster.ts';

const PATIENCE_MS = 20_000;
const call = (method: string, timeoutMs = PATIENCE_MS) => ({
  service: 'test',
  method,
  body: Buffer.from(method),
  timeoutMs,
});
const text = (bytes: Uint8Array) => Buffer.from(bytes).toString();

test('nobody listens there: UNREACHABLE, with the address', async () => {
  const port = await freePort();
  await expect(Connection.open({ host: LOCALHOST, port }, 'me', PATIENCE_MS)).rejects.toMatchObject({
    code: 'UNREACHABLE',
    message: expect.stringContaining(`${LOCALHOST}:${port}`),
    retryable: true,
  });
});

test('a server that accepts and says nothing: TIMEOUT', async () => {
  await using server = await tcpServer(() => undefined);
  await expect(Connection.open(server, 'me', 50)).rejects.toMatchObject({ code: 'TIMEOUT' });
});

test('a server that hangs up while it negotiates: UNREACHABLE', async () => {
  await using server = await tcpServer((socket) => socket.once('data', () => socket.end()));
  await expect(Connection.open(server, 'me', PATIENCE_MS)).rejects.toMatchObject({
    code: 'UNREACHABLE',
    message: expect.stringContaining('closed the connection'),
  });
});

test('a web server: BAD_REPLY, and no retries until the time is over', async () => {
  const server = createServer().listen(0, LOCALHOST);
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  try {
    await expect(connect({ masters: [`${LOCALHOST}:${port}`] })).rejects.toMatchObject({ code: 'BAD_REPLY' });
  } finally {
    server.close();
  }
});

test('a server that demands Kerberos: NOT_AUTHORIZED, which says what it demands and what to do', async () => {
  await using server = await fakeKudu(() => undefined, ['GSSAPI']);
  await expect(connect({ masters: [server.address] })).rejects.toMatchObject({
    code: 'NOT_AUTHORIZED',
    message: expect.stringMatching(/Kerberos.*GSSAPI.*--rpc_authentication=optional/),
  });
});

test('a real server that demands encryption: NOT_AUTHORIZED, which says so', async () => {
  await using cluster = await kuduCluster({
    tservers: 0,
    flags: ['--rpc_encryption=required', '--rpc_authentication=optional'],
    unasked: true,
  });
  await expect(connect({ masters: cluster.addresses, operationMs: PATIENCE_MS })).rejects.toMatchObject({
    code: 'NOT_AUTHORIZED',
    message: expect.stringMatching(/TLS.*--rpc_encryption=optional/s),
  });
});

test('many calls are in flight at once, and each gets its own answer, in whatever order they come', async () => {
  const calls: FakeCall[] = [];
  await using server = await fakeKudu((one) => {
    calls.push(one);
    if (calls.length < 100) return;
    for (const { answer, body } of calls.reverse()) answer(body);
  });
  const connection = await Connection.open(server, 'me', PATIENCE_MS);
  const names = Array.from({ length: 100 }, (_, i) => `call ${i}`);
  const answers = await Promise.all(names.map((name) => connection.call(call(name))));
  expect(answers.map(({ body }) => text(body))).toEqual(names);
  expect(connection.inFlight).toBe(0);
  connection.close();
});

test('sidecars come apart as they were sent, empty ones too', async () => {
  const sidecars = ['one', '', 'three'].map((part) => Buffer.from(part));
  await using server = await fakeKudu(({ answer, body }) => answer(body, { sidecars }));
  const connection = await Connection.open(server, 'me', PATIENCE_MS);
  const answer = await connection.call(call('with sidecars'));
  expect(text(answer.body)).toBe('with sidecars');
  expect(answer.sidecars.map(text)).toEqual(['one', '', 'three']);
  connection.close();
});

test('a call that is not answered in time fails alone; its late answer disturbs nobody', async () => {
  let late: FakeCall | undefined;
  await using server = await fakeKudu((one) => {
    if (one.method === 'slow') late = one;
    else one.answer(one.body);
  });
  const connection = await Connection.open(server, 'me', PATIENCE_MS);
  await expect(connection.call(call('slow', 20))).rejects.toMatchObject({ code: 'TIMEOUT' });
  late!.answer(Buffer.from('late'));
  expect(text((await connection.call(call('quick'))).body)).toBe('quick');
  connection.close();
});

test('when the connection breaks every call in flight fails, and the pool opens another one', async () => {
  let connections = 0;
  await using server = await fakeKudu(({ method, socket, answer, body }) => {
    if (method === 'break') socket.destroy();
    else if (method !== 'wait') answer(body);
  });
  const pool = new ConnectionPool('me', PATIENCE_MS);
  const open = async () => {
    connections++;
    return pool.connection(server);
  };
  const first = await open();
  const lost = await Promise.allSettled(['wait', 'wait', 'break'].map((name) => first.call(call(name))));
  expect(lost.map((one) => one.status === 'rejected' && (one.reason as { code: string }).code)).toEqual(
    Array(3).fill('UNREACHABLE'),
  );
  await expect(first.call(call('again'))).rejects.toMatchObject({ code: 'UNREACHABLE' });
  const second = await open();
  expect(second).not.toBe(first);
  expect(text((await second.call(call('again'))).body)).toBe('again');
  expect(await open()).toBe(second);
  expect(connections).toBe(3);
  pool.close();
  await expect(open()).rejects.toMatchObject({ code: 'CLOSED' });
  await expect(second.call(call('again'))).rejects.toMatchObject({ code: 'CLOSED' });
});

test('errors of the RPC layer have their codes, and after a fatal one the connection is given up', async () => {
  const status = (message: string, code: number) =>
    new MessageWriter().string(1, message).int(2, code).finish();
  await using server = await fakeKudu(({ method, answer }) =>
    answer(status(method, Number(method)), { isError: true }),
  );
  const connection = await Connection.open(server, 'me', PATIENCE_MS);
  const expected = [
    [2, 'NOT_SUPPORTED'],
    [4, 'UNAVAILABLE'],
    [6, 'UNKNOWN_OUTCOME'],
    [7, 'UNAVAILABLE'],
    [99, 'REFUSED'],
    [11, 'UNREACHABLE'],
  ] as const;
  for (const [code, name] of expected) {
    await expect(connection.call(call(String(code)))).rejects.toMatchObject({ code: name });
    expect(connection.broken).toBe(code === 11);
  }
});

test('a server that lacks a feature that is needed: NOT_SUPPORTED, too old', async () => {
  const unsupported = new MessageWriter().string(1, 'no').int(2, 5).uint(3, 7).finish();
  await using server = await fakeKudu(({ answer }) => answer(unsupported, { isError: true }));
  const connection = await Connection.open(server, 'me', PATIENCE_MS);
  await expect(connection.call(call('new'))).rejects.toMatchObject({
    code: 'NOT_SUPPORTED',
    message: expect.stringContaining('too old'),
  });
  connection.close();
});

test('an answer to a call that nobody made is ignored', async () => {
  await using server = await fakeKudu(({ raw, answer, body }) => {
    raw(responseFrame(12345, Buffer.from('whose?')));
    answer(body);
  });
  const connection = await Connection.open(server, 'me', PATIENCE_MS);
  expect(text((await connection.call(call('mine'))).body)).toBe('mine');
  connection.close();
});
