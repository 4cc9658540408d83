import { describe, expect, test } from '@jest/globals';
import { createDataset, dropDataset } from '../../sql/datasets.ts';
import { constantModel } from '../support/constant-model.ts';
import { digitPng } from '../support/digits.ts';
import { goLive, testPipeline, type TestPipeline, TEN, until } from '../support/pipeline.ts';
import { uniqueName } from '../support/servers.ts';

const labelled = (id: string, label: string) => ({
  key: id,
  value: digitPng(1, 1),
  headers: { 'known-label': label },
});

async function labels(pipeline: TestPipeline): Promise<Record<string, number | null>> {
  const { rows } = await pipeline.pool.query<{ id: string; known_label: number | null }>(
    `select id, known_label from public.images order by id`,
  );
  return Object.fromEntries(rows.map(({ id, known_label }) => [id, known_label]));
}

describe('while the ingest runs', () => {
  test('a class that was just added is known to the next message', async () => {
    await using pipeline = await testPipeline();
    await pipeline.produce([labelled('a', '1')]);
    await pipeline.startIngest();
    await pipeline.drained();
    for (let round = 0; round < 3; round++) {
      const name = `new-${round}`;
      await pipeline.pool.query(
        `insert into imagehub.classes (dataset, index, name) select dataset, count(*), $1 from imagehub.classes group by 1`,
        [name],
      );
      await pipeline.produce([labelled(name, name)]);
      await pipeline.drained();
    }
    expect(await labels(pipeline)).toEqual({ a: 1, 'new-0': 10, 'new-1': 11, 'new-2': 12 });
    expect((await pipeline.reconcile()).messages.unknownLabels).toBe(0);
  });

  test('a dataset that is dropped and made anew on the same topic gets every message, with its own classes', async () => {
    await using pipeline = await testPipeline();
    await goLive(pipeline.pool, pipeline.dataset, constantModel(7));
    await pipeline.produce([labelled('a', '1'), labelled('b', 'dog')]);
    await pipeline.startIngest();
    await pipeline.drained();
    expect(await labels(pipeline)).toEqual({ a: 1, b: null });
    await dropDataset(pipeline.pool, pipeline.dataset);
    await createDataset(pipeline.pool, {
      name: pipeline.dataset,
      topic: pipeline.topic,
      // As many as before, with other meanings.
      classes: ['cat', 'dog', '1', ...'abcdefg'],
    });
    await pipeline.produce([labelled('c', 'cat')]);
    await pipeline.drained();
    expect(await labels(pipeline)).toEqual({ a: 2, b: 1, c: 0 });
    expect(await pipeline.reconcile()).toMatchObject({ consistent: true, rows: 3, unclassified: 3 });
  });

  test('a topic that went over to a dataset of another name is taken by that one', async () => {
    await using pipeline = await testPipeline();
    await pipeline.produce([labelled('a', '1')]);
    const ingest = await pipeline.startIngest();
    await pipeline.drained();
    await dropDataset(pipeline.pool, pipeline.dataset);
    await createDataset(pipeline.pool, { name: 'other', topic: pipeline.topic, classes: TEN });
    await pipeline.produce([labelled('b', '2')]);
    await until(async () => 'b' in (await labels(pipeline)), 'the new dataset has it');
    expect(await labels(pipeline)).toEqual({ a: 1, b: 2 });
    await until(() => Promise.resolve(ingest.health().state === 'ok'), 'nothing is waited for');
  });

  test('a dropped dataset is let go, and its batch is not tried for ever', async () => {
    await using pipeline = await testPipeline();
    await pipeline.produce([labelled('a', '1')]);
    const ingest = await pipeline.startIngest();
    await pipeline.drained();
    await dropDataset(pipeline.pool, pipeline.dataset);
    await pipeline.produce([labelled('b', '2')]);
    await until(async () => (await ingest.metrics.consumerLag.get()).values.length === 0, 'it is let go');
    await until(() => Promise.resolve(ingest.health().state === 'ok'), 'nothing is waited for');
    await ingest.stop();
    await createDataset(pipeline.pool, { name: pipeline.dataset, topic: pipeline.topic, classes: TEN });
  });

  test('a dataset made meanwhile is taken up, once its topic is there', async () => {
    await using pipeline = await testPipeline();
    await pipeline.startIngest();
    const topic = uniqueName('later');
    await createDataset(pipeline.pool, { name: 'later', topic, classes: TEN });
    await pipeline.produce([labelled('a', '1')]);
    await pipeline.drained();
    await pipeline.admin.createTopic(topic, 1);
    try {
      await pipeline.produce([labelled('b', '2')], topic);
      await until(async () => 'b' in (await labels(pipeline)), 'the new topic is taken');
      expect(await labels(pipeline)).toEqual({ a: 1, b: 2 });
    } finally {
      await pipeline.admin.deleteTopic(topic);
    }
  });
});
