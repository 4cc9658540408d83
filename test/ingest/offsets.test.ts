import { describe, expect, test } from '@jest/globals';
import { createKafka } from '../../ingest/kafka.ts';
import { acceptGap, acceptNewTopic, listPartitions } from '../../sql/offsets.ts';
import { digitPng } from '../support/digits.ts';
import { testPipeline, type TestPipeline, until } from '../support/pipeline.ts';
import { testServers } from '../support/servers.ts';

const some = (count: number, name: string) =>
  Array.from({ length: count }, (_, i) => ({ key: `${name}-${i}.png`, value: digitPng(i % 10, i) }));

const state = async (pipeline: TestPipeline) => (await listPartitions(pipeline.pool, pipeline.dataset))[0]!;

const count = async (pipeline: TestPipeline) =>
  (await pipeline.pool.query<{ count: number }>(`select count(*) from ${pipeline.dataset}`)).rows[0]!.count;

const halted = (pipeline: TestPipeline) =>
  until(async () => (await state(pipeline)).haltedReason !== null, 'the partition is stopped');

/** A transaction that is given up: its messages and a marker lie in the topic, and nobody gets to see them. */
async function aborted(pipeline: TestPipeline, messages: { key: string; value: Buffer }[]): Promise<void> {
  const producer = createKafka(pipeline.config, testServers().kafka, pipeline.log).producer({
    transactionalId: pipeline.topic,
    maxInFlightRequests: 1,
    idempotent: true,
  });
  await producer.connect();
  const transaction = await producer.transaction();
  for (const message of messages) await transaction.send({ topic: pipeline.topic, messages: [message] });
  await transaction.abort();
  await producer.disconnect();
}

describe('offsets', () => {
  test('a topic made anew under the same name is noticed, stopped, and taken as a new epoch when accepted', async () => {
    await using pipeline = await testPipeline();
    await pipeline.produce(some(5, 'old'));
    const first = await pipeline.startIngest();
    await pipeline.drained();
    await first.stop();
    await pipeline.remakeTopic();
    await pipeline.produce(some(8, 'new'));

    await pipeline.startIngest();
    await halted(pipeline);
    expect((await state(pipeline)).haltedReason).toMatch(/made anew.*resume digits --accept-new-topic/s);
    expect(await count(pipeline)).toBe(5);

    await acceptNewTopic(pipeline.pool, pipeline.topic, 0, 0);
    await pipeline.drained();
    expect(await count(pipeline)).toBe(13);
    expect(await state(pipeline)).toMatchObject({ epoch: 1, nextOffset: 8 });
    expect(await pipeline.reconcile()).toMatchObject({
      consistent: true,
      messages: { seen: 13, inserted: 13 },
    });
  });

  test('a shorter topic under the same name is noticed too', async () => {
    await using pipeline = await testPipeline();
    await pipeline.produce(some(5, 'old'));
    const first = await pipeline.startIngest();
    await pipeline.drained();
    await first.stop();
    await pipeline.remakeTopic();
    await pipeline.produce(some(2, 'new'));
    await pipeline.startIngest();
    await halted(pipeline);
    expect((await state(pipeline)).haltedReason).toMatch(/ends at offset 2, but 5/);
  });

  test('messages deleted by retention before they were read stop the partition, until the gap is accepted', async () => {
    await using pipeline = await testPipeline();
    await pipeline.produce(some(3, 'a'));
    const first = await pipeline.startIngest();
    await pipeline.drained();
    await first.stop();
    await pipeline.produce(some(6, 'b'));
    await pipeline.deleteMessagesBelow(7);

    await pipeline.startIngest();
    await halted(pipeline);
    expect((await state(pipeline)).haltedReason).toMatch(/Messages 3 to 6 are gone.*--accept-gap/s);
    expect(await count(pipeline)).toBe(3);
    await acceptGap(pipeline.pool, pipeline.topic, 0, 7);
    await pipeline.drained();
    expect(await count(pipeline)).toBe(5);
    expect(await pipeline.reconcile()).toMatchObject({ consistent: true, messages: { seen: 5, gaps: 4 } });
  });

  test("Kafka's own idea of the offset does not matter: what it believes done is taken all the same", async () => {
    await using pipeline = await testPipeline();
    await pipeline.produce(some(10, 'a'));
    const admin = createKafka(pipeline.config, testServers().kafka, pipeline.log).admin();
    await admin.connect();
    await admin.setOffsets({
      groupId: pipeline.config.group,
      topic: pipeline.topic,
      partitions: [{ partition: 0, offset: '6' }],
    });
    await admin.disconnect();
    // The database has taken none, but the partition is known: as after a restore of an older backup.
    await pipeline.pool.query(
      'insert into imagehub.consumer_offsets (topic, partition, dataset, start_offset, next_offset) values ($1, 0, $2, 0, 0)',
      [pipeline.topic, pipeline.dataset],
    );
    await pipeline.startIngest();
    await pipeline.drained();
    expect(await count(pipeline)).toBe(10);
  });

  test('messages of aborted and committed transactions: the first are not there, the markers count as gaps', async () => {
    await using pipeline = await testPipeline();
    const producer = createKafka(pipeline.config, testServers().kafka, pipeline.log).producer({
      transactionalId: pipeline.topic,
      maxInFlightRequests: 1,
      idempotent: true,
    });
    await producer.connect();
    for (const [name, end] of [
      ['a', 'commit'],
      ['b', 'abort'],
      ['c', 'commit'],
    ] as const) {
      const transaction = await producer.transaction();
      await transaction.send({ topic: pipeline.topic, messages: some(3, name) });
      await transaction[end]();
    }
    await producer.disconnect();
    await pipeline.startIngest();
    await pipeline.produce(some(1, 'last'));
    await pipeline.drained();
    const { rows } = await pipeline.pool.query<{ id: string }>(
      `select id from ${pipeline.dataset} order by id`,
    );
    expect(rows.map(({ id }) => id)).toEqual(
      [...some(3, 'a'), ...some(3, 'c'), ...some(1, 'last')].map(({ key }) => key),
    );
    expect(await pipeline.reconcile()).toMatchObject({ consistent: true, messages: { seen: 7, gaps: 6 } });
  });

  test('an aborted transaction at the end of a topic is passed by too: nothing seems to wait there', async () => {
    await using pipeline = await testPipeline();
    await pipeline.produce(some(2, 'before'));
    await pipeline.startIngest();
    await pipeline.drained();
    await aborted(pipeline, some(3, 'aborted'));
    await pipeline.drained();
    expect(await pipeline.reconcile()).toMatchObject({
      consistent: true,
      complete: true,
      lag: 0,
      messages: { seen: 2, gaps: 4 },
    });
    await pipeline.produce(some(2, 'after'));
    await pipeline.drained();
    await aborted(pipeline, some(1, 'aborted again'));
    await pipeline.drained();
    expect(await pipeline.reconcile()).toMatchObject({ consistent: true, messages: { seen: 4, gaps: 6 } });
  });

  test('two processes share the partitions and lose nothing when one joins and leaves', async () => {
    await using pipeline = await testPipeline({ partitions: 4 });
    await pipeline.startIngest({ batchImages: 50 });
    for (let round = 0; round < 3; round++) {
      await pipeline.produce(some(400, `round-${round}`));
      const second = await pipeline.startIngest({ batchImages: 50 });
      await pipeline.produce(some(400, `more-${round}`));
      await second.stop();
    }
    await pipeline.drained();
    expect(await count(pipeline)).toBe(2400);
    expect(await pipeline.reconcile()).toMatchObject({ consistent: true, messages: { inserted: 2400 } });
  });

  test('a topic made anew while it is consumed is noticed, even when it holds more than was taken', async () => {
    await using pipeline = await testPipeline();
    await pipeline.produce(some(5, 'old'));
    await pipeline.startIngest();
    await pipeline.drained();
    await pipeline.remakeTopic();
    await pipeline.produce(some(50, 'new'));
    await halted(pipeline);
    expect((await state(pipeline)).haltedReason).toMatch(/made anew/);
    await acceptNewTopic(pipeline.pool, pipeline.topic, 0, 0);
    await pipeline.drained();
    expect(await count(pipeline)).toBe(55);
  });

  test('a topic made anew is not taken for a gap, although an operator says so', async () => {
    await using pipeline = await testPipeline();
    await pipeline.produce(some(5, 'old'));
    const first = await pipeline.startIngest();
    await pipeline.drained();
    await first.stop();
    await pipeline.remakeTopic();
    await pipeline.produce(some(8, 'new'));
    await pipeline.startIngest();
    await halted(pipeline);
    // What imagehub resume --accept-gap does where nothing below the next offset is missing.
    await acceptGap(pipeline.pool, pipeline.topic, 0, 5);
    await halted(pipeline);
    expect(await count(pipeline)).toBe(5);
    expect((await state(pipeline)).haltedReason).toMatch(/made anew/);
  });

  test('more aborted messages than one fetch holds are passed over', async () => {
    await using pipeline = await testPipeline();
    await aborted(
      pipeline,
      Array.from({ length: 6 }, (_, i) => ({ key: `aborted-${i}`, value: Buffer.alloc(900_000, i) })),
    );
    await pipeline.produce(some(3, 'after'));
    await pipeline.startIngest();
    await pipeline.drained();
    expect(await count(pipeline)).toBe(3);
    expect(await pipeline.reconcile()).toMatchObject({ consistent: true, messages: { seen: 3, gaps: 7 } });
  });
});
