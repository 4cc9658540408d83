import { describe, expect, test } from '@jest/globals';
import { listPartitions } from '../../sql/offsets.ts';
import { committedOffsets, untilShared } from '../support/consumer-group.ts';
import { digitPng } from '../support/digits.ts';
import { testPipeline, type TestPipeline, until } from '../support/pipeline.ts';
import { slowInserts } from '../support/slow-inserts.ts';

const MESSAGES = 2000;
/** So long they would take where they are slowed down: nobody gets to their end by chance. */
const FOR_ALL_S = 120;

const committed = async (pipeline: TestPipeline) => (await committedOffsets(pipeline)).get(0);

const taken = async ({ pool, dataset }: TestPipeline) =>
  (await listPartitions(pool, dataset))[0]?.nextOffset ?? 0;

const digits = (count: number) =>
  Array.from({ length: count }, (_, i) => ({ key: `${i}.png`, value: digitPng(i % 10, i) }));

describe('Kafka’s own offsets of the group, for those who watch its lag', () => {
  test('follow the database’s within seconds, also when nothing more comes', async () => {
    await using pipeline = await testPipeline();
    await pipeline.startIngest();
    for (const end of [1, 8]) {
      await pipeline.produce(digits(end - (await taken(pipeline))));
      await pipeline.drained();
      await until(async () => (await committed(pipeline)) === end, 'Kafka knows', 20_000);
    }
  });

  test('are the database’s after a stop in the middle of what was fetched', async () => {
    await using pipeline = await testPipeline();
    await pipeline.produce(digits(MESSAGES));
    await slowInserts(pipeline.pool, pipeline.dataset, FOR_ALL_S / MESSAGES);
    const ingest = await pipeline.startIngest({ batchImages: 4 });
    await until(async () => (await taken(pipeline)) > 0, 'it works');
    await ingest.stop();
    const stoppedAt = await taken(pipeline);
    expect(stoppedAt).toBeLessThan(MESSAGES);
    // It is sent before the process ends, and not waited for longer than a second.
    await until(async () => (await committed(pipeline)) === stoppedAt, 'Kafka knows');
  });

  test('are handed over with the partitions: whoever joins reads again at most what was just being written', async () => {
    await using pipeline = await testPipeline();
    // A heartbeat every 2.5 s, from which the first one hears of the second, amid work for two minutes.
    const settings = { batchImages: 4, kafkaSessionMs: 10_000 };
    const slowed = await slowInserts(pipeline.pool, pipeline.dataset, FOR_ALL_S / MESSAGES);
    const first = await pipeline.startIngest(settings);
    await pipeline.produce(digits(MESSAGES));
    await until(async () => (await taken(pipeline)) > 0, 'it works');
    const second = await pipeline.startIngest(settings);
    await untilShared(pipeline, 2);
    expect(await taken(pipeline)).toBeLessThan(MESSAGES);
    await slowed.end();
    await pipeline.drained();
    await first.stop();
    await second.stop();
    const { messages } = await pipeline.reconcile();
    expect(messages.seen).toBe(MESSAGES);
    // A batch that is in the database while the group hands out its partitions, when the second joins and when the first leaves.
    expect(messages.replays).toBeLessThanOrEqual(2 * settings.batchImages);
  });
});
