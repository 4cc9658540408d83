import { expect, test } from '@jest/globals';
import { mkdir, readdir, readFile } from 'node:fs/promises';
import snappy from 'snappy';
import { loadConfig } from '../../config.ts';
import { type Compression, createKafka, openKafkaAdmin } from '../../ingest/kafka.ts';
import { sourceMessage } from '../../ingest/kafka-consumer.ts';
import { KafkaRecord } from '../../ingest/kafka-record.ts';
import { lz4Codec, snappyCodec, zstdCodec } from '../../ingest/kafka-codecs.ts';
import { createSenderProducer } from '../../ingest/kafka-producer.ts';
import { encodeGreyPng } from '../../images/png.ts';
import { createLogger } from '../../log.ts';
import { consoleProducer, javaMessages } from '../support/java-kafka.ts';
import { testServers, uniqueName } from '../support/servers.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';

const COMPRESSED: Compression[] = ['gzip', 'snappy', 'lz4', 'zstd'];
const config = loadConfig({});
const log = createLogger({ logLevel: 'silent', logFormat: 'json' });

/** Small grey PNGs and one of random pixels that is larger than a snappy block, by key. */
function sampleImages(): Map<string, Buffer> {
  const images = new Map<string, Buffer>();
  for (let i = 0; i < 50; i++) images.set(`digit-${i}.png`, encodeGreyPng(Buffer.alloc(784, i), 28, 28));
  const noise = Uint8Array.from({ length: 300 * 300 }, (_, i) => (i * i * 7919) >> 5);
  return images.set('noise.png', encodeGreyPng(noise, 300, 300));
}

async function ownTopic(partitions = 1) {
  const brokers = testServers().kafka;
  const admin = await openKafkaAdmin(config, brokers, log);
  const topic = uniqueName('codecs');
  await admin.createTopic(topic, partitions);
  return {
    brokers,
    topic,
    admin,
    async [Symbol.asyncDispose]() {
      await admin.deleteTopic(topic);
      await admin.close();
    },
  };
}

/** What our consumer reads from a topic: key → value and label. */
async function readTopic(brokers: string[], topic: string, count: number) {
  const consumer = createKafka(config, brokers, log).consumer({ groupId: topic });
  const messages = new Map<string, { value: Buffer; label: string | undefined }>();
  await consumer.connect();
  await consumer.subscribe({ topic, fromBeginning: true });
  try {
    await new Promise<void>((resolve, reject) => {
      consumer.on('consumer.crash', ({ payload }) => reject(payload.error));
      void consumer.run({
        eachMessage: ({ message }) => {
          // Otherwise kafkajs decoded the fetch itself, at many times the cost.
          expect(message).toBeInstanceOf(KafkaRecord);
          const { key, value, headers } = sourceMessage(message);
          const label = headers.find(([name]) => name === 'known-label')?.[1].toString();
          messages.set(key!.toString(), { value: value!, label });
          if (messages.size === count) resolve();
          return Promise.resolve();
        },
      });
    });
  } finally {
    await consumer.disconnect();
  }
  return messages;
}

test('snappy is read framed as Java clients write it and raw as librdkafka does, and written framed', async () => {
  for (const size of [0, 1, 32 * 1024, 32 * 1024 + 1, 200_000]) {
    const body = Buffer.from(Array.from({ length: size }, (_, i) => i % 251));
    const framed = await snappyCodec.compress(body);
    expect(framed.subarray(0, 8).toString('latin1')).toBe('\x82SNAPPY\0');
    expect(await snappyCodec.decompress(framed)).toEqual(body);
    expect(await snappyCodec.decompress(await snappy.compress(body))).toEqual(body);
  }
  const cut = (await snappyCodec.compress(Buffer.alloc(1000, 1))).subarray(0, -3);
  await expect(snappyCodec.decompress(cut)).rejects.toThrow('cut short');
});

test.each([
  ['lz4', lz4Codec],
  ['zstd', zstdCodec],
  ['snappy', snappyCodec],
])('%s gives back what it was given, and throws on damaged input', async (_name, codec) => {
  const body = Buffer.from(Array.from({ length: 100_000 }, (_, i) => (i * i) >> 3));
  const packed = await codec.compress(body);
  expect(await codec.decompress(packed)).toEqual(body);
  await expect(codec.decompress(packed.subarray(0, packed.length >> 1))).rejects.toThrow();
});

test.each(COMPRESSED)(
  'images that Kafka’s Java producer sends with %s arrive byte for byte, with key and label',
  async (codec) => {
    await using t = await ownTopic();
    await using folder = await temporaryFolder();
    const images = sampleImages();
    for (const [name, bytes] of images) await folder.write(name, bytes);
    await javaMessages('produce', t.brokers.join(','), t.topic, codec, folder.path);
    const messages = await readTopic(t.brokers, t.topic, images.size);
    expect(messages).toEqual(new Map([...images].map(([key, value]) => [key, { value, label: codec }])));
  },
);

test.each(COMPRESSED)('what kafka-console-producer sends with %s arrives', async (codec) => {
  await using t = await ownTopic();
  // Plain PGM is an image in text, so a line of the console can be one.
  const images = Array.from({ length: 20 }, (_, i) => [`a/${i}.pgm`, `P2 2 2 255 ${i} 0 128 255`] as const);
  await consoleProducer(
    t.brokers.join(','),
    t.topic,
    codec,
    images.map((image) => image.join('|')),
  );
  const messages = await readTopic(t.brokers, t.topic, images.length);
  expect([...messages].map(([key, { value }]) => [key, value.toString()])).toEqual(
    images.map((image) => [...image]),
  );
});

test('Kafka’s Java consumer reads what we send, with every compression', async () => {
  await using t = await ownTopic(3);
  await using folder = await temporaryFolder();
  const images = sampleImages();
  const expected = new Map<string, Buffer>();
  for (const codec of ['none', ...COMPRESSED] as const) {
    await using producer = await createSenderProducer(config, t.brokers, t.topic, codec, log);
    const messages = [...images].map(([key, value]) => ({
      key: `${codec}-${key}`,
      value,
      headers: { 'known-label': codec },
    }));
    await producer.publish(messages);
    for (const { key, value } of messages) expected.set(key, value);
  }
  await mkdir(folder.at('out'));
  await javaMessages('consume', t.brokers.join(','), t.topic, String(expected.size), folder.at('out'));
  const received = new Map<string, Buffer>();
  for (const name of await readdir(folder.at('out')))
    received.set(name, await readFile(folder.at(`out/${name}`)));
  expect([...received].sort()).toEqual([...expected].sort());
  const offsets = await t.admin.topicOffsets(t.topic);
  expect(offsets.reduce((sum, { low, high }) => sum + high - low, 0)).toBe(expected.size);
});
