import { describe, expect, test } from '@jest/globals';
import { constantModel } from '../support/constant-model.ts';
import { digitPng } from '../support/digits.ts';
import { goLive, testPipeline, type TestMessage, type TestPipeline, until } from '../support/pipeline.ts';

const digits = (count: number, from = 0): TestMessage[] =>
  Array.from({ length: count }, (_, i) => ({
    key: `${(from + i) % 10}-${from + i}.png`,
    value: digitPng((from + i) % 10, from + i),
  }));

interface Row {
  id: string;
  prediction: number;
  known_label: number | null;
  model_id: number | null;
  revision: number;
  source_offset: number;
}

async function rows(pipeline: TestPipeline): Promise<Row[]> {
  const { rows } = await pipeline.pool.query<Row>(
    `select id, prediction, known_label, model_id, revision, source_offset from ${pipeline.dataset} order by id`,
  );
  return rows;
}

async function row(pipeline: TestPipeline, id: string): Promise<Row | undefined> {
  return (await rows(pipeline)).find((found) => found.id === id);
}

describe('the pipeline from topic to table', () => {
  test('makes one complete row of every image and proves it', async () => {
    await using pipeline = await testPipeline({ partitions: 3, labelFrom: 'first-character' });
    await pipeline.produce(digits(500));
    await pipeline.startIngest({ batchImages: 64 });
    await pipeline.drained();

    const found = await pipeline.pool.query(
      `select count(*) as rows, count(*) filter (where known_label = substr(id, 1, 1)::int) as labelled,
         count(*) filter (where decode(image_base64, 'base64') is not null and sha256(decode(image_base64, 'base64')) = sha256) as intact,
         count(*) filter (where octet_length(image_pgm) = 13 + 784 and format = 'png' and width = 28 and height = 28 and channels = 1) as described,
         count(*) filter (where pixel_mean > 0 and pixel_stddev > 0 and entropy > 0 and sharpness > 0 and object_count > 0 and phash is not null) as measured,
         count(*) filter (where prediction = -1 and model_id is null and predicted_at is null) as unclassified
       from ${pipeline.dataset}`,
    );
    expect(found.rows[0]).toEqual({
      rows: 500,
      labelled: 500,
      intact: 500,
      described: 500,
      measured: 500,
      unclassified: 500,
    });
    const books = await pipeline.reconcile();
    expect(books).toMatchObject({ consistent: true, complete: true, lag: 0, rows: 500, deadLetters: 0 });
    expect(books.messages).toMatchObject({ seen: 500, inserted: 500, updated: 0 });
  });

  test('classifies on arrival with the live model, and what came before it in the background', async () => {
    await using pipeline = await testPipeline();
    await pipeline.produce(digits(30));
    await pipeline.startIngest();
    await pipeline.drained();
    const first = await goLive(pipeline.pool, pipeline.dataset, constantModel(7));
    await until(
      async () =>
        (await rows(pipeline)).every(({ prediction, model_id }) => prediction === 7 && model_id === first),
      'the backlog is classified',
    );

    await pipeline.produce(digits(10, 30));
    await pipeline.drained();
    const second = await goLive(pipeline.pool, pipeline.dataset, constantModel(2));
    await pipeline.produce(digits(10, 40));
    await pipeline.drained();
    const byModel = (await rows(pipeline)).map(({ prediction, model_id }) => `${model_id}:${prediction}`);
    expect(byModel.filter((text) => text === `${first}:7`)).toHaveLength(40);
    expect(byModel.filter((text) => text === `${second}:2`)).toHaveLength(10);
  });

  test('never writes a prediction of a model that is no longer live', async () => {
    await using pipeline = await testPipeline();
    await goLive(pipeline.pool, pipeline.dataset, constantModel(1));
    await pipeline.produce(digits(5));
    await pipeline.startIngest();
    await pipeline.drained();
    // The promotion commits between two batches: the ingest still holds the old model in memory.
    const second = await goLive(pipeline.pool, pipeline.dataset, constantModel(8));
    await pipeline.produce(digits(400, 5));
    await pipeline.drained();
    const later = (await rows(pipeline)).filter(({ source_offset }) => source_offset >= 5);
    expect(later).toHaveLength(400);
    expect(new Set(later.map(({ prediction, model_id }) => `${model_id}:${prediction}`))).toEqual(
      new Set([`${second}:8`]),
    );
  });

  test('a replay of the whole topic changes nothing', async () => {
    await using pipeline = await testPipeline({ partitions: 2 });
    await pipeline.produce(digits(100));
    const ingest = await pipeline.startIngest();
    await pipeline.drained();
    await ingest.stop();
    const before = await rows(pipeline);

    // A group without offsets starts at the beginning; the database's offset says that all is done.
    await pipeline.startIngest({ group: `${pipeline.config.group}-again` });
    await pipeline.produce(digits(1, 100));
    await pipeline.drained();
    const after = await rows(pipeline);
    expect(after).toHaveLength(101);
    expect(after.filter(({ id }) => before.some((known) => known.id === id))).toEqual(before);
    expect(await pipeline.reconcile()).toMatchObject({ consistent: true, rows: 101 });
  });

  test('of several messages with one key the last wins, within a batch and across batches', async () => {
    await using pipeline = await testPipeline({ labelFrom: 'none' });
    const labelled = (label: number) => ({
      key: 'a.png',
      value: digitPng(label, 0),
      headers: { 'known-label': String(label) },
    });
    await pipeline.produce([labelled(1), labelled(2), { key: 'b.png', value: digitPng(0, 0) }, labelled(3)]);
    await pipeline.startIngest();
    await pipeline.drained();
    expect(await row(pipeline, 'a.png')).toMatchObject({ known_label: 3, source_offset: 3 });
    await pipeline.produce([labelled(4)]);
    await pipeline.drained();
    expect(await row(pipeline, 'a.png')).toMatchObject({ known_label: 4, source_offset: 4 });
    const { messages, consistent } = await pipeline.reconcile();
    expect(messages).toMatchObject({ seen: 5, inserted: 2, updated: 1, superseded: 2 });
    expect(consistent).toBe(true);
  });

  test('an older message from another partition does not overwrite a newer one', async () => {
    await using pipeline = await testPipeline({ partitions: 2 });
    const at = (partition: number, timestamp: number, label: string): TestMessage => ({
      key: 'a.png',
      value: digitPng(1, 1),
      partition,
      timestamp: String(timestamp),
      headers: { 'known-label': label },
    });
    const now = Date.now();
    await pipeline.startIngest();
    await pipeline.produce([at(0, now, '5')]);
    await pipeline.drained();
    await pipeline.produce([at(1, now - 60_000, '6')]);
    await pipeline.drained();
    expect(await row(pipeline, 'a.png')).toMatchObject({ known_label: 5 });
    await pipeline.produce([at(1, now + 60_000, '7')]);
    await pipeline.drained();
    expect(await row(pipeline, 'a.png')).toMatchObject({ known_label: 7 });
    expect((await pipeline.reconcile()).messages).toMatchObject({ inserted: 1, updated: 1, superseded: 1 });
  });

  test('a deletion removes the image, and neither a replay nor an older message brings it back', async () => {
    await using pipeline = await testPipeline({ partitions: 2 });
    const now = Date.now();
    await pipeline.produce([{ key: 'a.png', value: digitPng(1, 1), partition: 0, timestamp: String(now) }]);
    await pipeline.produce([{ key: 'a.png', value: null, partition: 0, timestamp: String(now + 1) }]);
    await pipeline.produce([
      { key: 'never-seen.png', value: Buffer.alloc(0), partition: 0, timestamp: String(now + 2) },
    ]);
    await pipeline.startIngest();
    await pipeline.drained();
    expect(await rows(pipeline)).toEqual([]);

    await pipeline.produce([
      { key: 'a.png', value: digitPng(1, 1), partition: 1, timestamp: String(now - 5) },
      { key: 'never-seen.png', value: digitPng(1, 1), partition: 1, timestamp: String(now - 5) },
    ]);
    await pipeline.drained();
    expect(await rows(pipeline)).toEqual([]);
    expect(await pipeline.reconcile()).toMatchObject({
      consistent: true,
      rows: 0,
      messages: { tombstones: 2, superseded: 3 },
    });

    await pipeline.produce([
      { key: 'a.png', value: digitPng(2, 2), partition: 1, timestamp: String(now + 5) },
    ]);
    await pipeline.drained();
    expect((await rows(pipeline)).map(({ id }) => id)).toEqual(['a.png']);
    const { rows: deleted } = await pipeline.pool.query<{ revision: number }>(
      `select revision from imagehub.deleted_images where id = 'a.png'`,
    );
    expect((await row(pipeline, 'a.png'))!.revision).toBeGreaterThan(deleted[0]!.revision);
    expect(await pipeline.reconcile()).toMatchObject({ consistent: true, rows: 1 });
  });

  test('an image deleted in SQL stays deleted when its message is replayed', async () => {
    await using pipeline = await testPipeline();
    await pipeline.produce(digits(3));
    await pipeline.startIngest();
    await pipeline.drained();
    await pipeline.pool.query(`delete from ${pipeline.dataset} where id = '1-1.png'`);
    await pipeline.pool.query(
      'update imagehub.consumer_offsets set next_offset = 0, last_offset = null, seen = 0, inserted = 0',
    );
    await pipeline.produce(digits(1, 3));
    await until(async () => (await row(pipeline, '3-3.png')) !== undefined, 'the topic is read again');
    expect((await rows(pipeline)).map(({ id }) => id)).toEqual(['0-0.png', '2-2.png', '3-3.png']);
  });

  test("messages read again, each on its own, overwrite neither a newer one's row nor a person's label, and bring nothing back", async () => {
    await using pipeline = await testPipeline({ labelFrom: 'first-character' });
    const image = (key: string, label: number): TestMessage => ({
      key,
      value: digitPng(label, label),
      headers: { 'known-label': String(label) },
    });
    await pipeline.produce([
      image('replaced.png', 1),
      image('relabelled.png', 2),
      image('cleared.png', 3),
      image('deleted.png', 4),
      image('replaced.png', 5),
      { key: 'deleted.png', value: null },
    ]);
    const first = await pipeline.startIngest();
    await pipeline.drained();
    await first.stop();
    await pipeline.pool.query(`update ${pipeline.dataset} set known_label = 9 where id = 'relabelled.png'`);
    await pipeline.pool.query(`update ${pipeline.dataset} set known_label = null where id = 'cleared.png'`);
    const before = await rows(pipeline);
    expect(before).toMatchObject([
      { id: 'cleared.png', known_label: null },
      { id: 'relabelled.png', known_label: 9 },
      { id: 'replaced.png', known_label: 5, source_offset: 4 },
    ]);

    // As if nothing had been read yet: an offset restored from an old backup.
    await pipeline.pool.query(
      `update imagehub.consumer_offsets set next_offset = 0, last_offset = null,
         seen = 0, inserted = 0, updated = 0, superseded = 0, tombstones = 0`,
    );
    await pipeline.startIngest({ batchImages: 1 });
    await pipeline.drained();
    expect((await pipeline.reconcile()).messages).toMatchObject({ seen: 6, superseded: 6 });
    expect(await rows(pipeline)).toEqual(before);
  });

  test("a person's label stays, whatever messages say", async () => {
    await using pipeline = await testPipeline({ labelFrom: 'first-character' });
    await pipeline.produce(digits(2));
    await pipeline.startIngest();
    await pipeline.drained();
    await pipeline.pool.query(`update ${pipeline.dataset} set known_label = 9 where id = '1-1.png'`);
    await pipeline.produce(digits(2));
    await pipeline.drained();
    expect(await row(pipeline, '1-1.png')).toMatchObject({ known_label: 9, source_offset: 3 });
    const changes = await pipeline.pool.query('select old_label, new_label from imagehub.label_changes');
    expect(changes.rows).toEqual([{ old_label: 1, new_label: 9 }]);
  });
});
