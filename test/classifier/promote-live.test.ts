import { expect, test } from '@jest/globals';
import { promote, registerModel, rollback } from '../../classifier/registry.ts';
import { trainDataset } from '../../classifier/train-dataset.ts';
import { constantModel } from '../support/constant-model.ts';
import { digitPng } from '../support/digits.ts';
import { CLASSIC_MANIFEST, testPipeline, until } from '../support/pipeline.ts';
import { POSTGRES_STORES } from '../support/stores.ts';

test('a model trained on what was ingested is taken up by the running pipeline when it is promoted', async () => {
  await using pipeline = await testPipeline({ labelFrom: 'first-character' });
  const { pool, dataset, config } = pipeline;
  const produce = (from: number, count: number) =>
    pipeline.produce(
      Array.from({ length: count }, (_, index) => from + index).map((number) => ({
        key: `${number % 10}-${number}.png`,
        value: digitPng(number % 10, Math.floor(number / 10)),
      })),
    );
  await produce(0, 1500);
  await pipeline.startIngest();
  await pipeline.drained();
  const { model } = await trainDataset(
    { pool, stores: POSTGRES_STORES, maxPixels: config.maxPixels },
    dataset,
    {
      options: { epochs: 5 },
    },
  );
  const { promotionNo } = await promote(pool, dataset, model);

  const classified = async () => {
    const { rows } = await pool.query<{ images: number; waiting: number; right: number }>(
      `select count(*) as images, count(*) filter (where prediction = -1) as waiting,
              count(*) filter (where prediction = known_label and model_id = $1 and promotion_no = $2) as right
       from images where dataset = $3`,
      [model, promotionNo, dataset],
    );
    return rows[0]!;
  };
  await until(async () => (await classified()).waiting === 0, 'the backlog is classified');
  expect(await classified()).toMatchObject({ images: 1500 });
  expect((await classified()).right).toBeGreaterThan(1500 * 0.9);

  const before = await classified();
  await produce(1500, 300);
  await pipeline.drained();
  const after = await classified();
  expect(after).toMatchObject({ images: 1800, waiting: 0 });
  expect(after.right - before.right).toBeGreaterThan(300 * 0.85);

  // Another one goes live, and is rolled back: what comes after that is the first one's again, at once.
  const nine = await registerModel(pool, {
    dataset,
    onnx: constantModel(9),
    manifest: CLASSIC_MANIFEST,
    source: 'always 9',
  });
  await promote(pool, dataset, nine);
  await produce(1800, 100);
  await pipeline.drained();
  await rollback(pool, dataset);
  await produce(1900, 100);
  await pipeline.drained();
  const { rows } = await pool.query(
    `select model_id as model, promotion_no as promotion, count(*) as images from images
     where dataset = $1 group by 1, 2 order by 2`,
    [dataset],
  );
  expect(rows).toEqual([
    { model, promotion: promotionNo, images: 1800 },
    { model: nine, promotion: promotionNo + 1, images: 100 },
    { model, promotion: promotionNo + 2, images: 100 },
  ]);
});
