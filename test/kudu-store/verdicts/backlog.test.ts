import { describe, expect, test } from '@jest/globals';
import { constantModel } from '../../support/constant-model.ts';
import { digitPng } from '../../support/digits.ts';
import { goLive, testPipeline, type TestPipeline, until } from '../../support/pipeline.ts';
import { imagesAt } from '../../image-store/support/stored-images.ts';

const digits = (count: number, from = 0) =>
  Array.from({ length: count }, (_, i) => ({ key: `${from + i}.png`, value: digitPng(i % 10, from + i) }));

const predictions = async (pipeline: TestPipeline) =>
  (await imagesAt(pipeline)).map(({ prediction }) => prediction);

const allAre = (pipeline: TestPipeline, prediction: number) =>
  until(async () => (await predictions(pipeline)).every((it) => it === prediction), `all are ${prediction}`);

/** What of the backlog's state must not change while nothing waits. */
const state = async ({ pool, dataset }: TestPipeline) =>
  (
    await pool.query<Record<'no' | 'looked' | 'promotion' | 'worker', number | null>>(
      `select unclassified_no as no, looked_no as looked, looked_promotion as promotion, backlog_worker as worker
       from imagehub.kudu_stores where dataset = $1`,
      [dataset],
    )
  ).rows[0]!;

describe('the backlog of a dataset in Kudu', () => {
  test('is classified by several processes, one after the other, and looked for only when there may be one', async () => {
    await using pipeline = await testPipeline({ store: 'kudu', partitions: 2 });
    const { pool, dataset } = pipeline;
    await pipeline.produce(digits(300));
    await pipeline.startIngest({ batchImages: 50 });
    await pipeline.startIngest({ batchImages: 50 });
    await pipeline.drained();
    expect(new Set(await predictions(pipeline))).toEqual(new Set([-1]));
    // Nobody looks for what no model could classify.
    expect(await state(pipeline)).toMatchObject({ no: 1, looked: 0 });
    const before = await imagesAt(pipeline);
    await goLive(pool, dataset, constantModel(4));
    await allAre(pipeline, 4);
    await until(async () => (await state(pipeline)).promotion === 1, 'none waits');
    const rows = await imagesAt(pipeline);
    for (const row of rows) {
      expect(row).toMatchObject({
        model_id: 1,
        promotion_no: 1,
        classify_attempts: 0,
        classify_error: null,
      });
      expect(row.scores).toHaveLength(10);
    }
    expect(rows[0]!.revision).toBeGreaterThan(Math.max(...before.map(({ revision }) => revision)));
    // Each was written once: by as many revisions as there were portions.
    expect(await state(pipeline)).toEqual({ no: 1, looked: 1, promotion: 1, worker: null });
    expect(await pipeline.reconcile()).toMatchObject({ consistent: true, rows: 300, unclassified: 0 });
  });
});
