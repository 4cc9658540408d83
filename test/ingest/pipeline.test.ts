import { describe, expect, test } from '@jest/globals';
import { describeEachStore } from '../image-store/support/each-store.ts';
import { type ImageRow, imagesAt } from '../image-store/support/stored-images.ts';
import { constantModel } from '../support/constant-model.ts';
import { digitPng } from '../support/digits.ts';
import { goLive, testPipeline, type TestMessage, until } from '../support/pipeline.ts';

const digits = (count: number, from = 0): TestMessage[] =>
  Array.from({ length: count }, (_, i) => ({
    key: `${(from + i) % 10}-${from + i}.png`,
    value: digitPng((from + i) % 10, from + i),
  }));

const isComplete = ({ id, known_label, image_base64, image_pgm, ...rest }: ImageRow) =>
  known_label === Number(id[0]) &&
  Buffer.from(image_base64, 'base64').equals(digitPng(known_label, Number(/-(\d+)/.exec(id)![1]))) &&
  image_pgm.length === 2 * (13 + 784) &&
  ['pixel_mean', 'pixel_stddev', 'entropy', 'sharpness', 'object_count'].every(
    (name) => (rest[name] as number) > 0,
  ) &&
  rest.phash !== null &&
  rest.prediction === -1 &&
  rest.model_id === null &&
  rest.predicted_at === null;

// What messages do to rows, wherever they come from: test/image-store/ingest.test.ts.
describeEachStore('the pipeline from topic to table', (store) => {
  test('makes one complete row of every image and proves it', async () => {
    await using pipeline = await testPipeline({ store, partitions: 3, labelFrom: 'first-character' });
    await pipeline.produce(digits(500));
    await pipeline.startIngest({ batchImages: 64 });
    await pipeline.drained();
    const images = await imagesAt(pipeline);
    expect(images).toHaveLength(500);
    expect(images.filter((image) => !isComplete(image))).toEqual([]);
    const books = await pipeline.reconcile();
    expect(books).toMatchObject({ consistent: true, complete: true, lag: 0, rows: 500, deadLetters: 0 });
    expect(books.messages).toMatchObject({ seen: 500, inserted: 500, updated: 0 });
  });

  test('a replay of the whole topic changes nothing', async () => {
    await using pipeline = await testPipeline({ store, partitions: 2 });
    await pipeline.produce(digits(100));
    const ingest = await pipeline.startIngest();
    await pipeline.drained();
    await ingest.stop();
    const before = await imagesAt(pipeline);

    // A group without offsets starts at the beginning; the database's offset says that all is done.
    await pipeline.startIngest({ group: `${pipeline.config.group}-again` });
    await pipeline.produce(digits(1, 100));
    await pipeline.drained();
    const after = await imagesAt(pipeline);
    expect(after).toHaveLength(101);
    expect(after.filter(({ id }) => before.some((known) => known.id === id))).toEqual(before);
    expect(await pipeline.reconcile()).toMatchObject({ consistent: true, rows: 101 });
  });
});

describe('the pipeline from topic to table', () => {
  test('classifies on arrival with the live model, and what came before it in the background', async () => {
    await using pipeline = await testPipeline();
    await pipeline.produce(digits(30));
    await pipeline.startIngest();
    await pipeline.drained();
    const first = await goLive(pipeline.pool, pipeline.dataset, constantModel(7));
    await until(
      async () =>
        (await imagesAt(pipeline)).every(
          ({ prediction, model_id }) => prediction === 7 && model_id === first,
        ),
      'the backlog is classified',
    );

    await pipeline.produce(digits(10, 30));
    await pipeline.drained();
    const second = await goLive(pipeline.pool, pipeline.dataset, constantModel(2));
    await pipeline.produce(digits(10, 40));
    await pipeline.drained();
    const byModel = (await imagesAt(pipeline)).map(({ prediction, model_id }) => `${model_id}:${prediction}`);
    expect(byModel.filter((text) => text === `${first}:7`)).toHaveLength(40);
    expect(byModel.filter((text) => text === `${second}:2`)).toHaveLength(10);
  });
});
