// A thread that keeps a topic filled at next to no cost; see refill.ts.
import { once } from 'node:events';
import { createRequire } from 'node:module';
import { connect, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { workerData } from 'node:worker_threads';
import { COMPRESSIONS } from '../ingest/kafka.ts';
import type { OutgoingImage } from '../ingest/senders/image.ts';
import { type RefillTask, SENT, STOP, TAKEN } from './refill.ts';

/** Images in one request, of all partitions together. */
const AT_ONCE = 2000;
const LOOK_EVERY_MS = 20;
const ACKS_OF_ALL = -1;
const TIMEOUT_MS = 30_000;

/** Produce, in the version with record batches: its key, its version, and what kafkajs knows of it. */
const PRODUCE = { apiKey: 0, apiVersion: 3 };
const require = createRequire(import.meta.url);
const produceRequest = require('kafkajs/src/protocol/requests/produce/v3/request') as (request: object) => {
  encode(): Promise<{ buffer: Buffer }>;
};
const produceResponse = require('kafkajs/src/protocol/requests/produce/v3/response') as {
  decode(body: Buffer): Promise<object>;
  /** @throws on an error code */
  parse(answer: object): Promise<object>;
};

const { broker, topic, partitions, images, low, high, counts } = workerData as RefillTask;

const requests: Buffer[] = [];
for (let from = 0; from < images.length; from += AT_ONCE)
  requests.push(await encode(images.slice(from, from + AT_ONCE), from));

const [host = '', port = ''] = broker.split(':');
const socket = connect(Number(port), host).setNoDelay(true);
await once(socket, 'connect');
const answers = frames(socket);

for (let next = 0; Atomics.load(counts, STOP) === 0n;) {
  const waiting = () => Number(Atomics.load(counts, SENT) - Atomics.load(counts, TAKEN));
  if (waiting() < low) {
    while (waiting() < high && Atomics.load(counts, STOP) === 0n) {
      const request = next++ % requests.length;
      socket.write(requests[request]!);
      const { value: answer } = await answers.next();
      // Behind the correlation id.
      await produceResponse.parse(await produceResponse.decode((answer as Buffer).subarray(4)));
      const sent = Math.min(AT_ONCE, images.length - request * AT_ONCE);
      Atomics.add(counts, SENT, BigInt(sent));
    }
  }
  await sleep(LOOK_EVERY_MS);
}
socket.destroy();

/** A whole Produce request: the same bytes each time, so that a cycle over all images is encoded once. */
async function encode(portion: RefillTask['images'], from: number): Promise<Buffer> {
  const messages = Array.from({ length: partitions }, (): object[] => []);
  portion.forEach((image, i) => messages[(from + i) % partitions]!.push(toMessage(image)));
  const body = await produceRequest({
    acks: ACKS_OF_ALL,
    timeout: TIMEOUT_MS,
    compression: COMPRESSIONS.none,
    topicData: [{ topic, partitions: messages.map((of, partition) => ({ partition, messages: of })) }],
  }).encode();
  const client = Buffer.from('bench');
  // https://kafka.apache.org/protocol#protocol_messages: size, then key, version, correlation id and client id.
  const header = Buffer.alloc(14);
  header.writeInt32BE(header.length - 4 + client.length + body.buffer.length, 0);
  header.writeInt16BE(PRODUCE.apiKey, 4);
  header.writeInt16BE(PRODUCE.apiVersion, 6);
  header.writeInt16BE(client.length, 12);
  return Buffer.concat([header, client, body.buffer]);
}

function toMessage({ id, bytes, label }: Pick<OutgoingImage, 'id' | 'bytes' | 'label'>): object {
  const headers = label === undefined ? {} : { 'known-label': label };
  return { key: Buffer.from(id), value: Buffer.from(bytes), headers };
}

/** What stands behind each size on the connection. */
async function* frames(from: Socket): AsyncGenerator<Buffer, never> {
  let buffered = Buffer.alloc(0);
  for await (const chunk of from as AsyncIterable<Buffer>) {
    buffered = Buffer.concat([buffered, chunk]);
    while (buffered.length >= 4 && buffered.length >= 4 + buffered.readInt32BE(0)) {
      const end = 4 + buffered.readInt32BE(0);
      yield buffered.subarray(4, end);
      buffered = buffered.subarray(end);
    }
  }
  throw new Error('Kafka has closed the connection.');
}
