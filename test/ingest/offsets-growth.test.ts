import { describe, expect, test } from '@jest/globals';
import { createKafka, Partitioners } from '../../ingest/kafka.ts';
import { listPartitions } from '../../sql/offsets.ts';
import { digitPng } from '../support/digits.ts';
import { type TestMessage, testPipeline, type TestPipeline, until } from '../support/pipeline.ts';
import { testServers } from '../support/servers.ts';

/** Added partitions must be found by asking every few seconds, not by luck, or after the five minutes that kafkajs takes. */
const NOTICED_WITHIN_MS = 60_000;

/** Adds partitions, as `kafka-topics --alter --partitions` does. */
async function grow(pipeline: TestPipeline, count: number): Promise<void> {
  const admin = createKafka(pipeline.config, testServers().kafka, pipeline.log).admin();
  await admin.connect();
  await admin.createPartitions({ topicPartitions: [{ topic: pipeline.topic, count }] });
  await until(
    async () => (await pipeline.admin.topicOffsets(pipeline.topic)).length === count,
    'the topic has its new partitions',
  );
  await admin.disconnect();
}

/** A producer that was started after the topic grew, so that it spreads keys over all partitions. */
async function produceAnew(pipeline: TestPipeline, messages: TestMessage[]): Promise<void> {
  const producer = createKafka(pipeline.config, testServers().kafka, pipeline.log).producer({
    createPartitioner: Partitioners.DefaultPartitioner,
  });
  await producer.connect();
  await producer.send({ topic: pipeline.topic, messages });
  await producer.disconnect();
}

const digits = (count: number, name: string): TestMessage[] =>
  Array.from({ length: count }, (_, i) => ({ key: `${name}-${i}.png`, value: digitPng(i % 10, i) }));

interface Source {
  id: string;
  partition: number;
  /** Of which digit the image is. */
  digit: number;
}

const BYTES = Array.from({ length: 10 }, (_, digit) => digitPng(digit, 0).toString('base64'));

async function sources(pipeline: TestPipeline): Promise<Source[]> {
  const { rows } = await pipeline.pool.query<{ id: string; partition: number; bytes: string }>(
    `select id, source_partition as partition, image_base64 as bytes from ${pipeline.dataset} order by id`,
  );
  return rows.map(({ bytes, ...row }) => ({ ...row, digit: BYTES.indexOf(bytes) }));
}

describe('a topic that gets more partitions', () => {
  test('while it is consumed: they are taken up within seconds, from their first message', async () => {
    await using pipeline = await testPipeline();
    await pipeline.produce(digits(40, 'before'));
    await pipeline.startIngest();
    await pipeline.startIngest();
    await pipeline.drained();
    await grow(pipeline, 4);
    // At once, so that most of them lie there before anybody of the group has noticed.
    await produceAnew(pipeline, digits(400, 'after'));
    await pipeline.drained(NOTICED_WITHIN_MS);
    expect(await pipeline.reconcile()).toMatchObject({
      consistent: true,
      rows: 440,
      deadLetters: 0,
      messages: { seen: 440, inserted: 440, gaps: 0 },
    });
    const partitions = await listPartitions(pipeline.pool, pipeline.dataset);
    expect(partitions.map(({ partition, startOffset }) => [partition, startOffset])).toEqual([
      [0, 0],
      [1, 0],
      [2, 0],
      [3, 0],
    ]);
    for (const { nextOffset } of partitions) expect(nextOffset).toBeGreaterThan(40);
  });

  test('a key that moves to another partition by that: the newest message wins, wherever it lies', async () => {
    await using pipeline = await testPipeline();
    const keys = Array.from({ length: 12 }, (_, i) => `${i}.png`);
    const firstAt = Date.now();
    const send = (digit: number) => keys.map((key) => ({ key, value: digitPng(digit, 0) }));
    await pipeline.produce(send(1));
    await pipeline.startIngest();
    await pipeline.drained();
    await grow(pipeline, 4);
    await produceAnew(pipeline, send(2));
    await pipeline.drained(NOTICED_WITHIN_MS);
    const moved = await sources(pipeline);
    expect(moved.map(({ digit }) => digit)).toEqual(keys.map(() => 2));
    const elsewhere = moved.filter(({ partition }) => partition !== 0).map(({ id }) => id);
    expect(elsewhere.length).toBeGreaterThan(0);

    // A producer that still knows one partition only, first with what it had kept back, then with news.
    const old = String(firstAt);
    await pipeline.produce(
      elsewhere.map((key) => ({ key, value: digitPng(3, 0), partition: 0, timestamp: old })),
    );
    await pipeline.drained();
    expect(await sources(pipeline)).toEqual(moved);
    await pipeline.produce(elsewhere.map((key) => ({ key, value: digitPng(4, 0), partition: 0 })));
    await pipeline.drained();
    const last = await sources(pipeline);
    for (const { id, digit } of last) expect(digit).toBe(elsewhere.includes(id) ? 4 : 2);

    // An old deletion does nothing, a new one deletes, although both come through another partition than the row did.
    await produceAnew(
      pipeline,
      elsewhere.map((key) => ({ key, value: null, timestamp: old })),
    );
    await pipeline.drained();
    expect(await sources(pipeline)).toEqual(last);
    await produceAnew(
      pipeline,
      elsewhere.map((key) => ({ key, value: null })),
    );
    await pipeline.drained();
    expect((await sources(pipeline)).map(({ id }) => id)).toEqual(
      keys.filter((key) => !elsewhere.includes(key)).sort(),
    );
    expect(await pipeline.reconcile()).toMatchObject({ consistent: true, deadLetters: 0 });
  });
});
