import { describe, expect, test } from '@jest/globals';
import { setTimeout as sleep } from 'node:timers/promises';
import { loadConfig } from '../../config.ts';
import { openKafkaAdmin } from '../../ingest/kafka.ts';
import { createSenderProducer } from '../../ingest/kafka-producer.ts';
import { openKafkaSink } from '../../ingest/senders/kafka-sink.ts';
import { createLogger } from '../../log.ts';
import { startSaslBroker } from '../support/java-kafka.ts';
import { until } from '../support/pipeline.ts';
import { testServers, uniqueName } from '../support/servers.ts';

const config = loadConfig({});
/** Port 1 is nobody's. */
const NOBODY = '127.0.0.1:1';
const log = createLogger({ logLevel: 'silent', logFormat: 'json' });

describe('topics', () => {
  test('a topic is made once, is found, counted and deleted', async () => {
    const topic = uniqueName('topic');
    await using admin = await openKafkaAdmin(config, testServers().kafka, log);
    expect(await admin.topicExists(topic)).toBe(false);
    expect(await admin.createTopic(topic, 3)).toBe(true);
    expect(await admin.createTopic(topic, 5)).toBe(false);
    expect(await admin.topicExists(topic)).toBe(true);
    expect(await admin.maxMessageBytes(topic)).toBe(config.topicMessageBytes);
    const { kafka } = testServers();
    await using producer = await createSenderProducer(config, kafka, topic, 'none', log);
    await producer.publish(
      Array.from({ length: 30 }, (_, i) => ({ key: `${i}`, value: Buffer.from('x'), headers: {} })),
    );
    const offsets = await admin.topicOffsets(topic);
    expect(offsets.map(({ partition, low }) => [partition, low])).toEqual([
      [0, 0],
      [1, 0],
      [2, 0],
    ]);
    expect(offsets.reduce((sum, { high }) => sum + high, 0)).toBe(30);
    expect(await admin.deleteTopic(topic)).toBe(true);
    await until(async () => !(await admin.topicExists(topic)), 'the topic is gone');
    expect(await admin.deleteTopic(topic)).toBe(false);
  });

  test('a topic that does not exist is an error that says how to make it, and is not made on the way', async () => {
    const { kafka } = testServers();
    const topic = uniqueName('nowhere');
    const missing = { code: 'NOT_FOUND', hint: expect.stringContaining('imagehub dataset create') };
    await using admin = await openKafkaAdmin(config, kafka, log);
    await expect(admin.topicOffsets(topic)).rejects.toMatchObject(missing);
    await expect(openKafkaSink(config, kafka, topic, 'none', log)).rejects.toMatchObject(missing);
    expect(await admin.topicExists(topic)).toBe(false);
  });

  test('names and replications that Kafka refuses are the user’s to correct', async () => {
    await using admin = await openKafkaAdmin(config, testServers().kafka, log);
    await expect(admin.createTopic('no/slash', 1)).rejects.toMatchObject({ code: 'USAGE' });
    await expect(admin.createTopic(uniqueName('t'), 1, 99)).rejects.toMatchObject({
      code: 'USAGE',
      message: expect.stringContaining('Replication-factor is invalid'),
    });
  });
});

test('brokers that nobody answers at are named within seconds, with what to do', async () => {
  const address = NOBODY;
  const started = performance.now();
  await expect(openKafkaAdmin(config, [address], log)).rejects.toMatchObject({
    code: 'SERVER_UNREACHABLE',
    message: expect.stringContaining(address),
    hint: expect.stringMatching(/imagehub status.*imagehub up.*IMAGEHUB_KAFKA_BROKERS/),
  });
  expect(performance.now() - started).toBeLessThan(30_000);
});

test('an image larger than its topic takes is refused with the limit’s name, and its neighbours are sent', async () => {
  const { kafka } = testServers();
  const topic = uniqueName('narrow');
  await using admin = await openKafkaAdmin({ ...config, topicMessageBytes: 20_000 }, kafka, log);
  await admin.createTopic(topic, 1);
  const sink = await openKafkaSink(config, kafka, topic, 'none', log);
  // Together over the limit, so they have to be sent in parts.
  const images = Array.from({ length: 40 }, (_, i) => ({
    id: `${i}`,
    bytes: Buffer.alloc(i === 17 ? 30_000 : 3000, i),
  }));
  const refused = (await sink.send(images)) ?? [];
  await sink.close();
  expect(refused.map(({ image }) => image.id)).toEqual(['17']);
  expect(refused[0]!.reason).toContain('max.message.bytes is 20,000');
  expect(await admin.topicOffsets(topic)).toEqual([{ partition: 0, low: 0, high: 39 }]);
  await admin.deleteTopic(topic);
});

test('a wrong password is said to be that, and the right one gets in', async () => {
  await using broker = await startSaslBroker('alice', 'right');
  const open = (password: string, kafkaUsername = 'alice') =>
    openKafkaAdmin({ ...config, kafkaUsername, kafkaPassword: password }, [broker.address], log);
  for (;;) {
    // It takes some seconds to start; what else goes wrong is not awaited.
    const error: unknown = await open('right').then(
      (admin) => admin.close(),
      (reason: unknown) => reason,
    );
    if (error === undefined) break;
    expect(error).toMatchObject({ code: 'SERVER_UNREACHABLE' });
    await sleep(200);
  }
  const denied = { code: 'ACCESS_DENIED', hint: expect.stringContaining('IMAGEHUB_KAFKA_PASSWORD') };
  await expect(open('wrong')).rejects.toMatchObject(denied);
  await expect(open('right', 'bob')).rejects.toMatchObject(denied);
});

test('a user name without a password is a bad setting', async () => {
  await expect(
    openKafkaAdmin({ ...config, kafkaUsername: 'alice' }, testServers().kafka, log),
  ).rejects.toMatchObject({ code: 'CONFIG_INVALID' });
});
