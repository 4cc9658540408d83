import { expect, test } from '@jest/globals';
import { setTimeout as sleep } from 'node:timers/promises';
import { PREDICT } from '../../../classifier/reclassify/predict.ts';
import { predictRequest } from '../../../classifier/reclassify/request.ts';
import type { Job } from '../../../jobs/job.ts';
import { transaction } from '../../../sql/database.ts';
import { ensurePredictions } from '../../../sql/predictions.ts';
import { type ApplyHub, applyHub } from '../../support/apply-hub.ts';
import { digitPng } from '../../support/digits.ts';

interface Predicted {
  id: string;
  image_base64: string;
  prediction: number;
  source: string;
  error: string | null;
  current: boolean;
}

const JOINED = (model: number) =>
  `select i.id, i.image_base64, p.prediction, p.source, p.error, p.sha256 is not distinct from i.sha256 as current
     from digits i join imagehub.predictions p on p.model_id = ${model} and p.id = i.id order by i.id`;

const predicted = async ({ pool }: ApplyHub, model: number) =>
  (await pool.query<Predicted>(JOINED(model))).rows;

test('predict keeps what another model says apart, again and again, and leaves the images as they are', async () => {
  await using hub = await applyHub(40);
  const [live, other] = [await hub.model(1), await hub.model(2)];
  await hub.goLive(live);
  await hub.reclassify();
  await hub.pool.query(`update digits set image_base64 = '###' where id = 'd/7'`);
  const before = (await hub.pool.query('select * from digits order by id')).rows;
  const job = await hub.predict(other);
  expect(job).toMatchObject({ state: 'done', units: 40, counts: { images: 40, failed: 1 } });
  expect((await hub.pool.query('select * from digits order by id')).rows).toEqual(before);
  const found = await predicted(hub, other);
  expect(found).toHaveLength(40);
  expect(found.every(({ source }) => source === 'predict')).toBe(true);
  expect(found.find(({ id }) => id === 'd/7')).toMatchObject({
    prediction: -1,
    error: expect.stringMatching(/empty/),
  });
  expect(await hub.wrong(2, `select * from (${JOINED(other)}) p where id <> 'd/7'`)).toEqual([]);
  const different = found.filter(
    ({ id, prediction }) => before.find((row) => row.id === id).prediction !== prediction,
  );
  expect(job.counts.different).toBe(different.length);

  await hub.pool.query(`update digits set image_base64 = $1, sha256 = sha256($2) where id = 'd/7'`, [
    digitPng(7, 7).toString('base64'),
    digitPng(7, 7),
  ]);
  expect(await hub.predict(other, { onlyOutdated: true })).toMatchObject({ units: 1, counts: { images: 1 } });
  expect(await hub.wrong(2, JOINED(other))).toEqual([]);
  await expect(hub.predict(live)).rejects.toMatchObject({
    code: 'USAGE',
    message: expect.stringMatching(/is live/),
  });
});

test('an image that changes while a model predicts it is predicted as it is now', async () => {
  for (const columns of ['all', 'classic'] as const) {
    await using hub = await applyHub(6, { columns });
    const [live, other] = [await hub.model(1), await hub.model(2)];
    await hub.goLive(live);
    await hub.reclassify();
    const wanted = await predictRequest(hub.desk, { dataset: 'digits' }, other);
    const job = { ...wanted, job: 1 } as Job<typeof wanted.parameters>;
    await using workshop = await PREDICT.open(hub.desk, job);
    const [part] = await PREDICT.cut(hub.desk, wanted);
    const { signal } = new AbortController();
    const write = await workshop.work({ job, ...part!, part: 0, attempt: 1, signal, stopping: signal });
    await hub.pool.query('update digits set image_base64 = $1 where id = $2', [
      digitPng(8, 88).toString('base64'),
      'd/2',
    ]);
    // The ingest with a shadow model: the image and its prediction in one transaction, open while the part is written.
    const ingest = await hub.pool.connect();
    await ingest.query('begin');
    await ingest.query(`update digits set image_base64 = $1 where id = 'd/3'`, [
      digitPng(9, 99).toString('base64'),
    ]);
    await ingest.query(
      `insert into imagehub.predictions (model_id, id, prediction, source) values ($1, 'd/3', 9, 'shadow')`,
      [other],
    );
    const writing = transaction(hub.pool, write);
    await sleep(500);
    await ingest.query('commit');
    ingest.release();
    await writing;
    expect(await predicted(hub, other)).toHaveLength(6);
    expect(await hub.wrong(2, JOINED(other))).toEqual([]);
  }
});

test('a model that is deleted while it predicts: the job fails, says so, and leaves nothing', async () => {
  await using hub = await applyHub(12_000);
  const [live, other] = [await hub.model(1), await hub.model(2)];
  await hub.goLive(live);
  const deleteIt = async () => {
    for (;;) {
      const { rows } = await hub.pool.query<{ done: number }>('select parts_done as done from imagehub.jobs');
      if (rows[0] && rows[0].done > 0) break;
      await sleep(20);
    }
    await transaction(hub.pool, async (client) => {
      await client.query(
        `update imagehub.models set onnx = null, deleted_at = now(), deleted_by = 'me' where id = $1`,
        [other],
      );
      await client.query('select imagehub.drop_predictions($1)', [other]);
    });
  };
  const [job] = await Promise.all([hub.predict(other, { throttle: 5000 }), deleteIt()]);
  expect(job).toMatchObject({
    state: 'failed',
    error: expect.stringMatching(
      new RegExp(`Model ${other} of digits was deleted|Model ${other} was deleted`),
    ),
  });
  expect((await hub.pool.query('select from imagehub.predictions')).rowCount).toBe(0);
});

test('the partition of a model’s predictions is made once, however many ask for it at once', async () => {
  await using hub = await applyHub(0);
  for (const seed of [1, 2, 3]) {
    const model = await hub.model(seed);
    // Each connection has looked for it before.
    const asked = await Promise.all(Array.from({ length: 8 }, () => ensurePredictions(hub.pool, [model])));
    expect(asked).toEqual(Array.from({ length: 8 }, () => [model]));
  }
});
