import { describe, expect, test } from '@jest/globals';
import { acceptGap, listPartitions } from '../../sql/offsets.ts';
import { digitPng } from '../support/digits.ts';
import { type RunningIngest, testPipeline, type TestPipeline, until } from '../support/pipeline.ts';

const some = (count: number, name: string) =>
  Array.from({ length: count }, (_, i) => ({ key: `${name}-${i}.png`, value: digitPng(i % 10, i) }));

/** The values of a gauge by partition. */
async function byPartition(
  { metrics }: RunningIngest,
  name: 'consumerLag' | 'ingestHalted',
): Promise<Record<string, number>> {
  const { values } = await metrics[name].get();
  return Object.fromEntries(values.map(({ labels, value }) => [labels.partition, value]));
}

const lagIs = (ingest: RunningIngest, lag: Record<string, number>) =>
  until(
    async () => JSON.stringify(await byPartition(ingest, 'consumerLag')) === JSON.stringify(lag),
    `the lag is ${JSON.stringify(lag)}`,
  );

const reason = async (pipeline: TestPipeline) =>
  (await listPartitions(pipeline.pool, pipeline.dataset))[0]?.haltedReason ?? null;

describe('the lag that an ingest process shows', () => {
  test('is right while the database takes nothing and no batch ends', async () => {
    await using pipeline = await testPipeline();
    await pipeline.produce(some(5, 'a'));
    const ingest = await pipeline.startIngest();
    await pipeline.drained();
    await lagIs(ingest, { 0: 0 });
    const holder = await pipeline.pool.connect();
    try {
      await holder.query('begin');
      await holder.query('select from imagehub.consumer_offsets for update');
      await pipeline.produce(some(7, 'b'));
      await lagIs(ingest, { 0: 7 });
      await pipeline.produce(some(3, 'c'));
      await lagIs(ingest, { 0: 10 });
    } finally {
      await holder.query('rollback');
      holder.release();
    }
    await lagIs(ingest, { 0: 0 });
  });

  test('grows while a partition is stopped', async () => {
    await using pipeline = await testPipeline();
    await pipeline.produce(some(9, 'a'));
    await pipeline.pool.query(
      'insert into imagehub.consumer_offsets (topic, partition, dataset, start_offset, next_offset) values ($1, 0, $2, 0, 2)',
      [pipeline.topic, pipeline.dataset],
    );
    await pipeline.deleteMessagesBelow(4);
    const ingest = await pipeline.startIngest();
    await until(async () => (await reason(pipeline)) !== null, 'the partition is stopped');
    await pipeline.produce(some(6, 'b'));
    await lagIs(ingest, { 0: 13 });
    expect(await byPartition(ingest, 'ingestHalted')).toEqual({ 0: 1 });
    await acceptGap(pipeline.pool, pipeline.topic, 0, 4);
    await lagIs(ingest, { 0: 0 });
    expect(await byPartition(ingest, 'ingestHalted')).toEqual({ 0: 0 });
  });

  test('tells only of partitions that are its own: the sum over all processes counts each once', async () => {
    await using pipeline = await testPipeline({ partitions: 4 });
    await pipeline.produce(some(40, 'a'));
    const first = await pipeline.startIngest();
    await pipeline.drained();
    await lagIs(first, { 0: 0, 1: 0, 2: 0, 3: 0 });
    const second = await pipeline.startIngest();
    const shared = async () => {
      const [ours, theirs] = [
        await byPartition(first, 'consumerLag'),
        await byPartition(second, 'consumerLag'),
      ];
      const both = [...Object.keys(ours), ...Object.keys(theirs)].sort();
      return Object.keys(ours).length === 2 && JSON.stringify(both) === '["0","1","2","3"]';
    };
    await until(shared, 'each process shows its own two partitions');
    expect(Object.keys(await byPartition(first, 'ingestHalted'))).toHaveLength(2);
    await second.stop();
    expect(await byPartition(second, 'consumerLag')).toEqual({});
    await lagIs(first, { 0: 0, 1: 0, 2: 0, 3: 0 });
  });
});

test('a topic that retention has emptied before it was read is stopped, although no message comes to show the gap', async () => {
  await using pipeline = await testPipeline();
  await pipeline.produce(some(3, 'a'));
  const first = await pipeline.startIngest();
  await pipeline.drained();
  await first.stop();
  await pipeline.produce(some(5, 'b'));
  await pipeline.deleteMessagesBelow(8);

  const ingest = await pipeline.startIngest();
  await until(async () => (await reason(pipeline)) !== null, 'the partition is stopped');
  expect(await reason(pipeline)).toMatch(/Messages 3 to 7 are gone.*--accept-gap/s);
  expect(await byPartition(ingest, 'ingestHalted')).toEqual({ 0: 1 });
  await acceptGap(pipeline.pool, pipeline.topic, 0, 8);
  await until(async () => (await byPartition(ingest, 'ingestHalted'))[0] === 0, 'it is taken up again');
  await pipeline.produce(some(2, 'c'));
  await pipeline.drained();
  expect(await pipeline.reconcile()).toMatchObject({
    consistent: true,
    rows: 5,
    messages: { seen: 5, gaps: 5 },
  });
});

test('messages that the database lost are read again without waiting for the next one', async () => {
  await using pipeline = await testPipeline({ partitions: 2 });
  await pipeline.produce(some(20, 'a'));
  const first = await pipeline.startIngest();
  await pipeline.drained();
  await first.stop(); // Tells Kafka how far it is.

  // A backup is restored: of one partition something was taken, the other one is not known yet.
  await pipeline.pool.query('delete from imagehub.consumer_offsets where partition = 0');
  await pipeline.pool.query(
    'update imagehub.consumer_offsets set next_offset = 3, last_offset = null, seen = 3, inserted = 3',
  );
  const ingest = await pipeline.startIngest();
  await pipeline.drained();
  expect(await pipeline.reconcile()).toMatchObject({ rows: 20, messages: { seen: 20 } });
  await lagIs(ingest, { 0: 0, 1: 0 });
});
