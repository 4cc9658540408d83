import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from '@jest/globals';
import { setShadow } from '../../classifier/shadow.ts';
import { createDataset } from '../../sql/datasets.ts';
import { takeUnclassified } from '../../sql/backlog.ts';
import { transaction } from '../../sql/database.ts';
import { constantModel } from '../support/constant-model.ts';
import { numberedDigit } from '../support/digit-stream.ts';
import { digitPng } from '../support/digits.ts';
import { LINEAR_MANIFEST } from '../support/linear-model.ts';
import { goLive, testPipeline, TEN, until } from '../support/pipeline.ts';
import { freshDatabase } from '../support/servers.ts';
import { slowModel } from '../support/slow-model.ts';

/** Far longer than a digit takes, on any machine. */
const LIMIT_MS = 2000;

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

  test('an image over which the model hangs, or the shadow, costs its neighbours nothing', async () => {
    await using pipeline = await testPipeline();
    const { pool, dataset } = pipeline;
    // It never comes back where the first pixel is white: that of an odd number.
    const slow = await goLive(pool, dataset, slowModel(), LINEAR_MANIFEST);
    await pipeline.startIngest({ classifyAttempts: 2, decodeTimeoutMs: LIMIT_MS }, null);
    const add = (...numbers: number[]) =>
      pool.query(
        `insert into digits (id, image_base64, image_pgm) select id, image, '' from unnest($1::text[], $2::text[]) as t (id, image)`,
        [numbers.map(String), numbers.map((n) => numberedDigit(n).toString('base64'))],
      );
    const rows = async () => (await pool.query<Stored>(stored)).rows;
    const tried = async () =>
      (await rows()).every((row) => row.prediction >= 0 || row.classify_attempts >= 2);
    const predictions = async () => (await rows()).map(({ id, prediction }) => `${id}:${prediction}`);
    await add(0, 1, 2, 4, 6);
    await until(tried, 'all were tried');
    expect(await predictions()).toEqual(['0:0', '1:-1', '2:0', '4:0', '6:0']);
    expect((await rows())[1]!.classify_error).toBe('It took longer than 2 s (IMAGEHUB_DECODE_TIMEOUT_MS).');

    await goLive(pool, dataset, constantModel(7));
    await setShadow(pool, dataset, slow);
    await add(3, 8);
    await until(
      async () => (await predictions()).filter((text) => text.endsWith(':7')).length === 3,
      'tried',
    );
    expect(await predictions()).toEqual(['0:0', '1:7', '2:0', '3:7', '4:0', '6:0', '8:7']);
    const { rows: said } = await pool.query<{ id: string; error: string | null }>(
      'select id, error from imagehub.predictions where model_id = $1 and prediction = -1 order by id',
      [slow],
    );
    expect(said.map(({ id }) => id)).toEqual(expect.arrayContaining(['1', '3']));
    for (const { error } of said) expect(error).toMatch(/longer than 2 s/);
  });
});
