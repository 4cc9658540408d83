import { describe, expect, test } from '@jest/globals';
import { promote, registerModel } from '../../classifier/registry.ts';
import { setShadow, showShadow, unsetShadow } from '../../classifier/shadow.ts';
import { loadConfig } from '../../config.ts';
import { openDirectSink } from '../../ingest/direct.ts';
import { createLogger } from '../../log.ts';
import type { HubPool } from '../../sql/database.ts';
import { createDataset, getDataset } from '../../sql/datasets.ts';
import { constantModel } from '../support/constant-model.ts';
import { numberedDigit } from '../support/digit-stream.ts';
import { digitPng } from '../support/digits.ts';
import { imagehub } from '../support/imagehub.ts';
import { LINEAR_MANIFEST } from '../support/linear-model.ts';
import { pickyModel } from '../support/picky-model.ts';
import { CLASSIC_MANIFEST, TEN, testPipeline, type TestPipeline, until } from '../support/pipeline.ts';
import { freshDatabase } from '../support/servers.ts';
import { POSTGRES_STORES } from '../support/stores.ts';

const register = (pool: HubPool, digit: number, dataset = 'digits') =>
  registerModel(pool, {
    dataset,
    onnx: constantModel(digit),
    manifest: CLASSIC_MANIFEST,
    source: `always ${digit}`,
  });

interface Predicted {
  id: string;
  model: number;
  prediction: number;
  /** Whether it is about the bytes that the image has now. */
  current: boolean;
  error: string | null;
}

const predictions = async (pool: HubPool) =>
  (
    await pool.query<Predicted>(
      `select p.id, p.model_id as model, p.prediction, p.error, i.sha256 is not distinct from p.sha256 as current
       from imagehub.predictions p left join digits i on i.id = p.id order by p.id, p.model_id`,
    )
  ).rows;

/** The pipeline, a live model that says 1, and models that say 2 and 3. */
async function scene(options: Parameters<typeof testPipeline>[0] = {}) {
  const pipeline = await testPipeline(options);
  const { pool } = pipeline;
  const live = await register(pool, 1);
  await promote(pool, 'digits', live);
  return { pipeline, pool, live, candidate: await register(pool, 2), other: await register(pool, 3) };
}

const digits = (from: number, to: number, name = 'digit') =>
  Array.from({ length: to - from }, (_, i) => ({
    key: `${name}-${from + i}.png`,
    value: numberedDigit(from + i),
  }));

const rowsAre = (pipeline: TestPipeline, count: number) =>
  until(async () => (await pipeline.pool.query('select from digits')).rowCount === count, `${count} rows`);

describe('beside the live model, a shadow', () => {
  test('predicts every image that becomes a row, in the same transaction, and none that does not', async () => {
    const { pipeline, pool, live, candidate } = await scene();
    await using _ = pipeline;
    await setShadow(pool, 'digits', candidate);
    await pipeline.produce([
      { key: 'twice.png', value: digitPng(1, 1) },
      { key: 'bad.png', value: Buffer.from('no image') },
      { key: 'gone.png', value: digitPng(2, 2) },
      { key: 'gone.png', value: null },
      { key: 'twice.png', value: digitPng(1, 2) },
      { key: 'once.png', value: digitPng(3, 3) },
    ]);
    const ingest = await pipeline.startIngest();
    await pipeline.drained();
    const { rows } = await pool.query(
      `select i.id, i.prediction, i.model_id as live, p.prediction as candidate, p.source, p.error,
         p.sha256 = i.sha256 as same, p.confidence::float8 > 0.99 as sure, array_length(p.scores, 1) as scores,
         p.predicted_at is not null as dated
       from digits i join imagehub.predictions p on p.id = i.id and p.model_id = ${candidate} order by id`,
    );
    const row = {
      prediction: 1,
      live,
      candidate: 2,
      source: 'shadow',
      error: null,
      same: true,
      sure: true,
      scores: 10,
      dated: true,
    };
    expect(rows).toEqual([
      { id: 'once.png', ...row },
      { id: 'twice.png', ...row },
    ]);
    expect(await predictions(pool)).toHaveLength(2);
    expect(await showShadow({ pool, stores: POSTGRES_STORES }, 'digits')).toMatchObject({
      model: candidate,
      liveModel: live,
      predicted: 2,
      failed: 0,
      compared: 2,
      agree: 0,
    });
    expect(await ingest.metrics.registry.metrics()).toContain(
      `imagehub_shadow_predictions_total{dataset="digits",model="${candidate}",outcome="predicted"} 2`,
    );
    expect(await pipeline.reconcile()).toMatchObject({ consistent: true, rows: 2, deadLetters: 1 });
  });

  test('predicts a newer image anew, and an older one that comes late not at all', async () => {
    const { pipeline, pool, candidate } = await scene({ partitions: 2 });
    await using _ = pipeline;
    await setShadow(pool, 'digits', candidate);
    await pipeline.startIngest();
    const send = async (image: Buffer, timestamp: number, partition = 0) => {
      await pipeline.produce([{ key: 'a.png', value: image, timestamp: String(timestamp), partition }]);
      await pipeline.drained();
    };
    const sha = async () =>
      (
        await pool.query<{ sha: Buffer; image: Buffer }>(
          'select p.sha256 as sha, i.sha256 as image from imagehub.predictions p join digits i using (id)',
        )
      ).rows;
    await send(numberedDigit(1), 1000);
    const [first] = await sha();
    await send(numberedDigit(2), 3000);
    const [second] = await sha();
    expect(second!.sha).toEqual(second!.image);
    expect(second!.sha).not.toEqual(first!.sha);
    await send(numberedDigit(3), 2000, 1);
    expect(await sha()).toEqual([second]);
  });

  test('switched in mid-stream, each image has the word of exactly one of them, and none after it is switched off', async () => {
    const { pipeline, pool, candidate, other } = await scene({ partitions: 2 });
    await using _ = pipeline;
    await setShadow(pool, 'digits', candidate);
    await pipeline.startIngest({ batchImages: 20 });
    await pipeline.produce(digits(0, 400));
    await rowsAre(pipeline, 400);
    await pipeline.produce(digits(400, 1000));
    await setShadow(pool, 'digits', other);
    await pipeline.produce(digits(1000, 1600));
    await pipeline.drained();
    const found = await predictions(pool);
    expect(found).toHaveLength(1600);
    expect(new Set(found.map(({ id }) => id)).size).toBe(1600);
    expect(found.every(({ current, error }) => current && error === null)).toBe(true);
    expect(found.every(({ model, prediction }) => prediction === (model === candidate ? 2 : 3))).toBe(true);
    const byOther = found.filter(({ model }) => model === other).length;
    expect(byOther).toBeGreaterThanOrEqual(600);
    expect(byOther).toBeLessThanOrEqual(1200);
    await unsetShadow(pool, 'digits');
    await pipeline.produce(digits(1600, 1700));
    await pipeline.drained();
    expect(await predictions(pool)).toHaveLength(1600);
  });

  test('that is promoted in mid-stream ceases to be one, and its predictions stay', async () => {
    const { pipeline, pool, candidate } = await scene();
    await using _ = pipeline;
    await setShadow(pool, 'digits', candidate);
    await pipeline.startIngest({ batchImages: 20 });
    await pipeline.produce(digits(0, 200));
    await rowsAre(pipeline, 200);
    await pipeline.produce(digits(200, 500));
    await promote(pool, 'digits', candidate);
    await pipeline.produce(digits(500, 800));
    await pipeline.drained();
    const { rows } = await pool.query<{ live: boolean; shadow: boolean; images: number }>(
      `select i.model_id = ${candidate} as live, p.id is not null as shadow, count(*) as images
       from digits i left join imagehub.predictions p on p.id = i.id group by 1, 2 order by 1`,
    );
    // Either it was the shadow of an image, or its live model.
    expect(rows.map(({ live, shadow }) => [live, shadow])).toEqual([
      [false, true],
      [true, false],
    ]);
    expect(rows.reduce((sum, { images }) => sum + images, 0)).toBe(800);
    expect(rows[0]!.images).toBeGreaterThanOrEqual(200);
    expect(rows[1]!.images).toBeGreaterThanOrEqual(300);
  });

  test('that fails on some images disturbs nothing: the reason is stored with each, and logged once', async () => {
    const { pipeline, pool, live } = await scene();
    await using _ = pipeline;
    const picky = await registerModel(pool, {
      dataset: 'digits',
      onnx: pickyModel(),
      manifest: { ...LINEAR_MANIFEST, input: { ...LINEAR_MANIFEST.input, invert: true } },
      source: 'picky',
    });
    await setShadow(pool, 'digits', picky);
    const ingest = await pipeline.startIngest({ batchImages: 10 });
    await pipeline.produce(digits(0, 100));
    await pipeline.drained();
    const { rows } = await pool.query(
      `select count(*) as rows, count(*) filter (where i.model_id = ${live} and i.prediction = 1) as classified,
         count(*) filter (where p.prediction >= 0 and p.error is null) as predicted,
         count(*) filter (where p.prediction = -1 and p.error like '%not finite%' and p.confidence is null) as failed
       from digits i join imagehub.predictions p using (id)`,
    );
    // Inverted, the first pixel is black where the number is odd.
    expect(rows).toEqual([{ rows: 100, classified: 100, predicted: 50, failed: 50 }]);
    expect(await ingest.metrics.registry.metrics()).toContain(
      `imagehub_shadow_predictions_total{dataset="digits",model="${picky}",outcome="failed"} 50`,
    );
    expect(await showShadow({ pool, stores: POSTGRES_STORES }, 'digits')).toMatchObject({
      predicted: 50,
      failed: 50,
      error: expect.stringContaining('not finite'),
    });
  });

  test('that cannot be loaded any more, or has nowhere to write, disturbs nothing', async () => {
    const { pipeline, pool, live, candidate, other } = await scene();
    await using _ = pipeline;
    await setShadow(pool, 'digits', candidate);
    await pool.query(`update imagehub.models set onnx = 'damaged' where id = $1`, [candidate]);
    const ingest = await pipeline.startIngest({ batchImages: 10 });
    await pipeline.produce(digits(0, 50));
    await pipeline.drained();
    const found = await predictions(pool);
    expect(found).toHaveLength(50);
    expect(found.every(({ prediction, error }) => prediction === -1 && /load/.test(error!))).toBe(true);

    await setShadow(pool, 'digits', other);
    await pool.query(`drop table imagehub.predictions_${other}`);
    await pipeline.produce(digits(50, 100));
    await pipeline.drained();
    expect(await predictions(pool)).toHaveLength(50);
    const { rows } = await pool.query(
      `select count(*) as classified from digits where model_id = ${live} and prediction = 1`,
    );
    expect(rows).toEqual([{ classified: 100 }]);
    expect(await ingest.metrics.registry.metrics()).toMatch(
      new RegExp(`shadow_predictions_total{dataset="digits",model="${other}",outcome="refused"} [1-9]`),
    );
  });

  test('predicts images while nothing is live', async () => {
    await using pipeline = await testPipeline();
    const { pool } = pipeline;
    const candidate = await register(pool, 2);
    await setShadow(pool, 'digits', candidate);
    await pipeline.produce(digits(0, 10));
    await pipeline.startIngest();
    await pipeline.drained();
    const found = await predictions(pool);
    expect(found.map(({ prediction, current }) => [prediction, current])).toEqual(
      Array.from({ length: 10 }, () => [2, true]),
    );
  });

  test('keeps no hash and no scores where the dataset keeps none', async () => {
    const { pipeline, pool, candidate } = await scene({ columns: 'classic' });
    await using _ = pipeline;
    await setShadow(pool, 'digits', candidate);
    await pipeline.produce(digits(0, 10));
    await pipeline.startIngest();
    await pipeline.drained();
    const { rows } = await pool.query(
      'select sha256, scores, prediction, count(*) from imagehub.predictions group by 1, 2, 3',
    );
    expect(rows).toEqual([{ sha256: null, scores: null, prediction: 2, count: 10 }]);
  });

  test('predicts images that somebody inserted in SQL, and whose classification had to wait', async () => {
    const { pipeline, pool, candidate } = await scene();
    await using _ = pipeline;
    await setShadow(pool, 'digits', candidate);
    await pool.query(`insert into digits (id, image_base64, image_pgm) values ('by hand', $1, '')`, [
      digitPng(4, 4).toString('base64'),
    ]);
    await pipeline.startIngest({}, null);
    await until(async () => (await predictions(pool)).length > 0, 'it is predicted');
    expect(await predictions(pool)).toMatchObject([{ id: 'by hand', prediction: 2, current: true }]);
    const { rows } = await pool.query('select prediction from digits');
    expect(rows).toEqual([{ prediction: 1 }]);
  });

  test('predicts a dead letter that is retried', async () => {
    const { pipeline, pool, candidate } = await scene();
    await using _ = pipeline;
    await setShadow(pool, 'digits', candidate);
    await pipeline.produce(digits(0, 1));
    const strict = await pipeline.startIngest({ maxPixels: 700 });
    await pipeline.drained();
    await strict.stop();
    expect(await predictions(pool)).toEqual([]);
    const env = { IMAGEHUB_POSTGRES_URL: pipeline.postgres, IMAGEHUB_WORKERS: '1' };
    expect(await imagehub(['dead-letters', 'retry', 'digits'], { env })).toMatchObject({ status: 0 });
    expect(await predictions(pool)).toMatchObject([{ prediction: 2, current: true }]);
  });

  test('predicts what a sender brings without Kafka, also one by one after it died', async () => {
    await using database = await freshDatabase();
    const { pool, url } = database;
    await createDataset(pool, { name: 'digits', classes: TEN });
    await promote(pool, 'digits', await register(pool, 1));
    await setShadow(pool, 'digits', await register(pool, 2));
    const servers = { postgres: url, kafka: null, elasticsearch: null, kudu: null };
    const config = { ...loadConfig({}), workers: 1, batchImages: 20 };
    const log = createLogger({ logLevel: 'silent', logFormat: 'json' });
    const send = async (from: number, to: number) => {
      const sink = await openDirectSink(config, servers, await getDataset(pool, 'digits'), log);
      await sink.send(
        Array.from({ length: to - from }, (_, i) => ({ id: `${from + i}`, bytes: numberedDigit(from + i) })),
      );
      await sink.close();
    };
    await send(0, 50);
    // As a sender leaves it that is killed in the middle of its next images.
    await pool.query('update imagehub.consumer_offsets set in_flight_to = 55');
    await send(50, 55);
    await send(0, 10); // the same again: they are written anew
    const found = await predictions(pool);
    expect(found).toHaveLength(55);
    expect(found.every(({ prediction, current }) => prediction === 2 && current)).toBe(true);
  });
});
