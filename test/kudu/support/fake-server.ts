import { once } from 'node:events';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { BinaryReader, BinaryWriter } from '@bufbuild/protobuf/wire';
import { MessageWriter, readFields } from '../../../kudu/messages/fields.ts';
import { decodeNegotiate, encodeNegotiate, STEPS } from '../../../kudu/messages/negotiate.ts';
import { FrameSplitter } from '../../../kudu/rpc/frame.ts';
import { LOCALHOST } from '../../../stack/ports.ts';

/** A TCP server of hand-built bytes, for what no real Kudu does. */
export interface FakeServer extends AsyncDisposable {
  address: string;
  host: string;
  port: number;
}

/** @param serve what to do with each connection; errors of its socket are of no interest */
export async function tcpServer(serve: (socket: Socket) => void): Promise<FakeServer> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    socket.on('close', () => sockets.delete(socket));
    serve(socket);
  });
  server.listen(0, LOCALHOST);
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  return {
    address: `${LOCALHOST}:${port}`,
    host: LOCALHOST,
    port,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, 'close');
    },
  };
}

export interface FakeCall {
  callId: number;
  method: string;
  body: Uint8Array;
  /** Answers with these bytes as they are. */
  raw(bytes: Uint8Array): void;
  /** Answers with a well-formed frame. */
  answer(body: Uint8Array, options?: { isError?: boolean; sidecars?: Uint8Array[] }): void;
  socket: Socket;
}

/** Negotiates as Kudu does, and leaves the calls to the test. @param mechanisms that it offers */
export const fakeKudu = (onCall: (call: FakeCall) => void, mechanisms = ['PLAIN']): Promise<FakeServer> =>
  tcpServer((socket) => {
    let greeting = 7;
    const splitter = new FrameSplitter((frame) => {
      const { callId, method, body } = readRequest(frame);
      const answer: FakeCall['answer'] = (bytes, options = {}) =>
        void socket.write(responseFrame(callId, bytes, options));
      if (callId === -33) {
        const { step } = decodeNegotiate(body);
        const reply = step === STEPS.NEGOTIATE ? { step, mechanisms } : { step: STEPS.SASL_SUCCESS };
        answer(encodeNegotiate(reply));
      } else if (callId >= 0) {
        onCall({ callId, method, body, answer, raw: (bytes) => void socket.write(bytes), socket });
      }
    });
    socket.on('data', (chunk) => {
      const rest = chunk.subarray(greeting);
      greeting -= chunk.byteLength - rest.byteLength;
      splitter.push(rest);
    });
  });

/** A response as a server sends it. */
export function responseFrame(
  callId: number,
  body: Uint8Array,
  { isError = false, sidecars = [] }: { isError?: boolean; sidecars?: Uint8Array[] } = {},
): Buffer {
  const header = new MessageWriter().int(1, callId).bool(2, isError);
  let offset = body.byteLength;
  for (const sidecar of sidecars) {
    header.uint(3, offset);
    offset += sidecar.byteLength;
  }
  const parts = new BinaryWriter()
    .bytes(header.finish())
    .bytes(Buffer.concat([body, ...sidecars]))
    .finish();
  return framed(parts);
}

/** With the length before it. */
export function framed(bytes: Uint8Array): Buffer {
  const frame = Buffer.alloc(4 + bytes.byteLength);
  frame.writeUInt32BE(bytes.byteLength);
  frame.set(bytes, 4);
  return frame;
}

function readRequest(frame: Uint8Array) {
  const reader = new BinaryReader(frame);
  const header = reader.bytes();
  const body = reader.bytes();
  let callId = 0;
  let method = '';
  readFields(header, {
    3: (field) => (callId = field.int32()),
    6: (remote) => readFields(remote.bytes(), { 2: (field) => (method = field.string()) }),
  });
  return { callId, method, body };
}
