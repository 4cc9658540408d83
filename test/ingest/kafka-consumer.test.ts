import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from '@jest/globals';
import { loadConfig } from '../../config.ts';
import { openKafkaAdmin } from '../../ingest/kafka.ts';
import { type ConsumeOptions, PartitionLost, startConsumer } from '../../ingest/kafka-consumer.ts';
import { createSenderProducer } from '../../ingest/kafka-producer.ts';
import { createLogger } from '../../log.ts';
import { committedOffsets } from '../support/consumer-group.ts';
import { quietKafka } from '../support/kafka.ts';
import { until } from '../support/pipeline.ts';
import { testServers, uniqueName } from '../support/servers.ts';

/** A batch that takes longer than five seconds goes on by itself, and its partition is paused. */
const GOES_ON_BY_ITSELF_MS = 6000;
/** Rare enough that kafkajs, which looks twice a second whether one is due, sends most of them itself. */
const SESSION_MS = 12_000;
const MESSAGES = 40;

test('a batch that goes on by itself hears of every rebalance, and what it takes afterwards is not told to Kafka', async () => {
  const brokers = testServers().kafka;
  const topic = uniqueName('topic');
  const config = { ...loadConfig({}), group: uniqueName('group') };
  const log = createLogger({ logLevel: 'silent', logFormat: 'json' });
  await using admin = await openKafkaAdmin(config, brokers, log);
  await admin.createTopic(topic, 2);
  await using afterwards = new AsyncDisposableStack();
  afterwards.defer(async () => void (await admin.deleteTopic(topic)));
  await using producer = await createSenderProducer(config, brokers, topic, 'none', log);
  await producer.publish(
    Array.from({ length: MESSAGES }, (_, i) => ({ key: `${i}`, value: Buffer.from('x'), headers: {} })),
  );
  const ends = new Map((await admin.topicOffsets(topic)).map(({ partition, high }) => [partition, high]));
  const join = (
    onBatch: ConsumeOptions['onBatch'],
    onJoin: (partitions: number[]) => void = () => undefined,
  ) =>
    startConsumer(quietKafka(brokers), {
      groupId: config.group,
      sessionMs: SESSION_MS,
      topics: [topic],
      concurrency: 2,
      onJoin: (assignment) => onJoin(assignment[topic] ?? []),
      onBatch,
      onLag: () => undefined,
      onCrash: () => undefined,
    });

  const release = Promise.withResolvers<void>();
  const lost: number[] = [];
  const again: number[] = [];
  const begun = new Set<number>();
  const first = await join(async (_, partition, batch, beat) => {
    if (begun.has(partition)) {
      again.push(partition);
      return { kind: 'continue', offset: batch.endOffset };
    }
    begun.add(partition);
    await release.promise;
    await beat(1).catch((error: unknown) => {
      if (error instanceof PartitionLost) lost.push(partition);
      throw error;
    });
    return { kind: 'continue', offset: batch.endOffset };
  });
  afterwards.defer(() => first.stop());
  afterwards.defer(() => release.resolve());
  await until(() => Promise.resolve(begun.size === 2), 'both partitions are worked on');
  await sleep(GOES_ON_BY_ITSELF_MS);
  let moved = -1;
  const second = await join(
    (_, __, batch) => Promise.resolve({ kind: 'continue', offset: batch.endOffset }),
    (partitions) => (moved = partitions[0] ?? -1),
  );
  afterwards.defer(() => second.stop());
  const committed = async () => (await committedOffsets({ brokers, config, topic })).get(moved);
  await until(async () => moved >= 0 && (await committed()) === ends.get(moved), 'the second has taken one');

  release.resolve();
  await until(() => Promise.resolve(lost.length === 2), 'both batches of the first have heard of it');
  // The one that it keeps is handed over anew.
  await until(() => Promise.resolve(again.length > 0), 'the first goes on');
  expect(again).toEqual([1 - moved]);
  await first.stop();
  expect(await committed()).toBe(ends.get(moved));
});
