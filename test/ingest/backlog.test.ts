import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from '@jest/globals';
import { createDataset } from '../../sql/datasets.ts';
import { takeUnclassified } from '../../sql/backlog.ts';
import { transaction } from '../../sql/database.ts';
import { constantModel } from '../support/constant-model.ts';
import { digitPng } from '../support/digits.ts';
import { goLive, testPipeline, TEN, until } from '../support/pipeline.ts';
import { freshDatabase } from '../support/servers.ts';
import { slowImage } from '../support/slow-image.ts';

interface Stored {
  id: string;
  prediction: number;
  classify_error: string | null;
  classify_attempts: number;
}

const insert = `insert into digits (id, image_base64, image_pgm) values ($1, $2, '')`;
const stored = `select id, prediction, classify_error, classify_attempts from digits order by id`;

describe('the backlog', () => {
  test('holds images that somebody inserted by hand; those that are no image are tried a few times only', async () => {
    await using pipeline = await testPipeline();
    await pipeline.pool.query(insert, ['good', digitPng(4, 4).toString('base64')]);
    await pipeline.pool.query(insert, ['senseless', '###']);
    await goLive(pipeline.pool, pipeline.dataset, constantModel(7));
    await pipeline.startIngest({ classifyAttempts: 2 });
    const rows = async () => (await pipeline.pool.query<Stored>(stored)).rows;
    await until(
      async () => (await rows()).every((row) => row.prediction >= 0 || row.classify_attempts >= 2),
      'all were tried',
    );
    const [good, senseless] = await rows();
    expect(good).toMatchObject({ prediction: 7, classify_error: null });
    expect(senseless).toMatchObject({ prediction: -1, classify_attempts: 2 });
    expect(senseless!.classify_error).toMatch(/empty/);
  });

  test('is classified by a model that was promoted while the pipeline runs without Kafka', async () => {
    await using pipeline = await testPipeline();
    await pipeline.pool.query(insert, ['waiting', digitPng(4, 4).toString('base64')]);
    await pipeline.startIngest({}, null);
    await sleep(1500); // it has looked, and knows the dataset as one without a model
    await goLive(pipeline.pool, pipeline.dataset, constantModel(3));
    const waiting = async () => (await pipeline.pool.query<Stored>(stored)).rows[0]!.prediction;
    await until(async () => (await waiting()) === 3, 'the model is taken up');
  });

  test('is taken in portions that fit into memory', async () => {
    await using database = await freshDatabase();
    await createDataset(database.pool, { name: 'digits', classes: TEN });
    for (let i = 0; i < 6; i++) {
      await database.pool.query(insert, [`${i}`, Buffer.alloc(i === 3 ? 9000 : 750).toString('base64')]);
    }
    const take = (bytes: number, images = 100) =>
      transaction(database.pool, async (client) =>
        (await takeUnclassified(client, 'digits', 1, 3, { images, bytes })).map(({ id }) => id),
      );
    expect(await take(1e6)).toEqual(['0', '1', '2', '3', '4', '5']);
    expect(await take(1e6, 4)).toEqual(['0', '1', '2', '3']);
    expect(await take(2500)).toEqual(['0', '1']);
    expect(await take(10)).toEqual(['0']);
  });

  test('an image over which the classifier hangs costs its neighbours nothing', async () => {
    await using pipeline = await testPipeline();
    const slow = await slowImage();
    await goLive(pipeline.pool, pipeline.dataset, constantModel(7));
    const ingest = await pipeline.startIngest({ classifyAttempts: 1, decodeTimeoutMs: 100, maxPixels: 1e9 });
    // The threads have loaded the model, which takes longer than an image.
    await until(() => Promise.resolve(ingest.health().state === 'ok'), 'it is ready');
    const images = ['a', 'b', 'c', 'd', 'e'].map((id) =>
      (id === 'c' ? slow : digitPng(4, 4)).toString('base64'),
    );
    await pipeline.pool.query(
      `insert into digits (id, image_base64, image_pgm) select id, image, '' from unnest($1::text[], $2::text[]) as t (id, image)`,
      [['a', 'b', 'c', 'd', 'e'], images],
    );
    const rows = async () => (await pipeline.pool.query<Stored>(stored)).rows;
    await until(
      async () => (await rows()).every((row) => row.prediction >= 0 || row.classify_attempts > 0),
      'all were tried',
      200_000,
    );
    const found = await rows();
    expect(found.map(({ id, prediction }) => `${id}:${prediction}`)).toEqual([
      'a:7',
      'b:7',
      'c:-1',
      'd:7',
      'e:7',
    ]);
  });
});
