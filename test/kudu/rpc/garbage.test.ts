import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { KuduError } from '../../../kudu/index.ts';
import { decodeAlterTable } from '../../../kudu/messages/alter-table.ts';
import { decodeConnectToMaster } from '../../../kudu/messages/connect-to-master.ts';
import { decodeCreateTable } from '../../../kudu/messages/create-table.ts';
import { decodeErrorStatus } from '../../../kudu/messages/error-status.ts';
import { decodeGetTableLocations } from '../../../kudu/messages/get-table-locations.ts';
import { decodeGetTableSchema } from '../../../kudu/messages/get-table-schema.ts';
import { decodeIsDone } from '../../../kudu/messages/is-done.ts';
import { decodeListTables } from '../../../kudu/messages/list-tables.ts';
import { decodeListTabletServers } from '../../../kudu/messages/list-tablet-servers.ts';
import { decodeNegotiate } from '../../../kudu/messages/negotiate.ts';
import { decodeWrite } from '../../../kudu/messages/write.ts';
import { Client } from '../../../kudu/client/client.ts';
import { Connection } from '../../../kudu/rpc/connection.ts';
import { decodeFrame, FrameSplitter } from '../../../kudu/rpc/frame.ts';
import { fakeKudu, framed, responseFrame, tcpServer } from '../support/fake-server.ts';

const bytes = fc.uint8Array({ maxLength: 200 });
/** Bytes that look like a protobuf message: tags of small field numbers, and lengths that are right or nearly so. */
const message = fc
  .array(
    fc.tuple(
      fc.nat(12),
      fc.constantFrom(0, 1, 2, 5),
      fc.uint8Array({ maxLength: 20 }),
      fc.integer({ min: -1, max: 1 }),
    ),
    { maxLength: 6 },
  )
  .map((fields) =>
    Buffer.concat(
      fields.map(([number, type, content, error]) => {
        const tag = (number << 3) | type;
        if (type === 2) return Buffer.from([tag, Math.max(0, content.length + error), ...content]);
        if (type === 0) return Buffer.from([tag, content[0] ?? 0]);
        return Buffer.from([tag, ...content.subarray(0, type === 1 ? 8 : 4)]);
      }),
    ),
  );
/** Never reached: each of these servers closes the connection after its answer. Large, for machines that pause. */
const LIMIT_MS = 60_000;
const SERVER_RUNS = { numRuns: 60 };

/** Either an answer or a KuduError; what hangs fails by jest's limit, what crashes fails at once. */
async function settles(work: Promise<unknown>): Promise<void> {
  try {
    await work;
  } catch (error) {
    expect(error).toBeInstanceOf(KuduError);
  }
}

test('decoders of every answer give a message or an error for any bytes', () => {
  const decoders = [
    decodeAlterTable,
    decodeConnectToMaster,
    decodeCreateTable,
    decodeErrorStatus,
    decodeGetTableLocations,
    decodeGetTableSchema,
    decodeIsDone,
    decodeListTables,
    decodeListTabletServers,
    decodeNegotiate,
    decodeWrite,
  ];
  fc.assert(
    fc.property(fc.oneof(bytes, message), fc.constantFrom(...decoders), (garbage, decode) => {
      try {
        decode(garbage);
      } catch (error) {
        expect(error).toBeInstanceOf(Error);
      }
    }),
    { numRuns: 3000 },
  );
});

test('frames come whole, however their bytes are cut', () => {
  fc.assert(
    fc.property(
      fc.array(fc.uint8Array({ minLength: 1, maxLength: 50 }), { maxLength: 5 }),
      fc.array(fc.integer({ min: 1, max: 20 }), { minLength: 1 }),
      (frames, sizes) => {
        const stream = Buffer.concat(frames.map(framed));
        const got: Uint8Array[] = [];
        const splitter = new FrameSplitter((frame) => got.push(frame));
        for (let at = 0, i = 0; at < stream.length; i++) {
          const size = sizes[i % sizes.length]!;
          splitter.push(stream.subarray(at, at + size));
          at += size;
        }
        expect(got.map((frame) => [...frame])).toEqual(frames.map((frame) => [...frame]));
      },
    ),
  );
});

test('a frame is a reply with sidecars inside it, or BAD_REPLY', () => {
  fc.assert(
    fc.property(fc.oneof(bytes, message), fc.array(fc.nat(300), { maxLength: 4 }), (body, offsets) => {
      // A frame whose header names any offsets at all.
      const header = Buffer.from([
        8,
        1,
        ...offsets.flatMap((offset) => [24, (offset & 127) | 128, offset >> 7]),
      ]);
      const frame = Buffer.from([header.length, ...header, body.length & 127, ...body.subarray(0, 127)]);
      try {
        const reply = decodeFrame(frame);
        const total = reply.sidecars.reduce(
          (sum, sidecar) => sum + sidecar.byteLength,
          reply.body.byteLength,
        );
        expect(total).toBeLessThanOrEqual(body.length);
      } catch (error) {
        expect(error).toMatchObject({ code: 'BAD_REPLY' });
      }
    }),
    { numRuns: 1000 },
  );
});

test('whatever a server answers to the greeting, connecting ends with an error', async () => {
  let garbage: Uint8Array = new Uint8Array();
  await using server = await tcpServer((socket) => socket.once('data', () => socket.end(garbage)));
  const negotiations = fc.oneof(
    bytes,
    bytes.map((body) => responseFrame(-33, body)),
    message.map((body) => responseFrame(-33, body)),
    message.map((body) => responseFrame(-33, body, { isError: true })),
  );
  await fc.assert(
    fc.asyncProperty(negotiations, async (answer) => {
      garbage = answer;
      await expect(Connection.open(server, 'me', LIMIT_MS)).rejects.toBeInstanceOf(KuduError);
    }),
    SERVER_RUNS,
  );
});

test('whatever a server answers to calls, they end with an answer or an error', async () => {
  let garbage: (callId: number) => Uint8Array = () => new Uint8Array();
  await using server = await fakeKudu(({ callId, raw, socket }) => {
    raw(garbage(callId));
    socket.end();
  });
  const answers = fc.oneof(
    bytes.map((body) => () => framed(body)),
    bytes.map((body) => () => body),
    message.map((body) => (callId: number) => responseFrame(callId, body)),
    message.map((body) => (callId: number) => responseFrame(callId, body, { isError: true })),
  );
  await fc.assert(
    fc.asyncProperty(answers, async (answer) => {
      garbage = answer;
      using client = new Client({ masters: [server.address], operationMs: 20 });
      await settles(client.openTable('t'));
      const connection = await Connection.open(server, 'me', LIMIT_MS);
      await settles(
        connection.call({ service: 's', method: 'm', body: new Uint8Array(), timeoutMs: LIMIT_MS }),
      );
      connection.close();
    }),
    SERVER_RUNS,
  );
});

/** A leading master that answers everything else with the bytes given. */
const LEADER = Buffer.from([16, 1]);

test('whatever a leading master answers, opening a table and writing to it end', async () => {
  let schema: Uint8Array = new Uint8Array();
  let locations: Uint8Array = new Uint8Array();
  await using server = await fakeKudu(({ method, answer }) => {
    if (method === 'ConnectToMaster') answer(LEADER);
    else answer(method === 'GetTableSchema' ? schema : locations);
  });
  // A table of one INT32 column `id`; its id is "t".
  const table = Buffer.from('120c0a0a080012026964180520012201742a021200', 'hex');
  schema = table;
  {
    using client = new Client({ masters: [server.address] });
    expect((await client.openTable('t')).schema.column('id').type).toBe('INT32');
  }
  await fc.assert(
    fc.asyncProperty(message, fc.boolean(), async (garbage, goodSchema) => {
      schema = goodSchema ? table : garbage;
      locations = garbage;
      using client = new Client({ masters: [server.address], operationMs: 15 });
      const write = async () => {
        const opened = await client.openTable('t');
        const session = client.session();
        session.insert(opened, { id: 1 });
        const { errors } = await session.flush();
        expect(errors).toHaveLength(1);
      };
      await write().catch((error: unknown) => expect(error).toBeInstanceOf(Error));
    }),
    SERVER_RUNS,
  );
});
