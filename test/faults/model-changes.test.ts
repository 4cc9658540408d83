import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from '@jest/globals';
import { promote, registerModel, rollback } from '../../classifier/registry.ts';
import { getDataset } from '../../sql/datasets.ts';
import { rounds, withSeed } from '../support/fault-mode.ts';
import { watchHealth } from '../support/health-watch.ts';
import { runProcess, timesJoined } from '../support/ingest-process.ts';
import type { LiveModel } from '../support/judge.ts';
import { judgedStream } from '../support/judged-stream.ts';
import { LINEAR_MANIFEST, linearModel } from '../support/linear-model.ts';
import { TEN, testPipeline, type TestPipeline, until } from '../support/pipeline.ts';

const CHANGES = rounds(6, 20);
/** One change in so many goes back to the model before. */
const ROLLBACK_EVERY = 3;
/** Before one change in so many, a broken model is tried. */
const BROKEN_EVERY = 2;
/** Messages that come before any model is live, and with each change: more than a moment's work. */
const PORTION = 600;
const FEW = 30;
/** Small, so that batches are always on their way: being made, waiting, being written. */
const SETTINGS = { IMAGEHUB_BATCH_IMAGES: '40' };
/** So long a row takes at least, so that models change while batches are being written, too. */
const SECONDS_PER_ROW = 0.001;
const LONGEST_PAUSE_MS = 300;
const LOOK_EVERY_MS = 20;

/**
 * Makes the database itself note, of every prediction that is written, which promotion was the latest in the moment before
 * the commit; and makes every row take its time.
 */
async function watchWrites({ pool, dataset }: TestPipeline): Promise<void> {
  await pool.query(`
create table prediction_writes (id text not null, promotion_no bigint not null, live_promotion_no bigint not null);
create function take_time() returns trigger language plpgsql as $$
begin
  perform pg_sleep(${SECONDS_PER_ROW});
  return new;
end $$;
create trigger take_time before insert or update on ${dataset} for each row execute function take_time();
create function note_write() returns trigger language plpgsql as $$
begin
  insert into prediction_writes
    select new.id, new.promotion_no, promotion_no from imagehub.datasets where name = new.dataset;
  return null;
end $$;
create constraint trigger note_write after insert or update on ${dataset} deferrable initially deferred
  for each row when (new.prediction >= 0) execute function note_write();`);
}

/** How many predictions were written by each promotion, and those that were written by one that was over. */
async function writes({ pool }: TestPipeline): Promise<{ byPromotion: number[]; late: object[] }> {
  const { rows: counted } = await pool.query<{ promotion: number; count: number }>(
    'select promotion_no as promotion, count(*) from prediction_writes group by 1 order by 1',
  );
  const { rows: late } = await pool.query<object>(
    'select * from prediction_writes where promotion_no <> live_promotion_no limit 5',
  );
  const byPromotion: number[] = [];
  for (const { promotion, count } of counted) byPromotion[promotion - 1] = count;
  return { byPromotion, late };
}

/** Registered with all checks, as models are; then broken behind the registry's back: its bytes, or its classes. */
async function brokenModel({ pool, dataset }: TestPipeline, broken: 'bytes' | 'classes'): Promise<number> {
  const onnx = linearModel(CHANGES + 1);
  const model = await registerModel(pool, { dataset, onnx, manifest: LINEAR_MANIFEST, source: 'test' });
  if (broken === 'bytes') {
    await pool.query('update imagehub.models set onnx = substring(onnx for length(onnx) / 2) where id = $1', [
      model,
    ]);
  } else {
    const classes = JSON.stringify(TEN.map((name) => `not ${name}`));
    await pool.query(
      `update imagehub.models set manifest = jsonb_set(manifest, '{classes}', $2) where id = $1`,
      [model, classes],
    );
  }
  return model;
}

test(
  `${CHANGES} changes of the live model during a stream: every prediction is its own model's, and none was written by a model that was no longer live`,
  () =>
    withSeed(async (random) => {
      await using pipeline = await testPipeline({ partitions: 3 });
      const { pool, dataset } = pipeline;
      await watchWrites(pipeline);
      const live: LiveModel[] = [];
      const stream = await judgedStream(pipeline, { models: live });
      await stream.send(PORTION);
      const run = await runProcess(pipeline, SETTINGS);
      await run.says('"consuming"');
      const health = watchHealth(run.operationsUrl);

      /** Waits until the live model has made more predictions than that; a few messages come, lest nothing be left to do. */
      const predicts = async (before: number) => {
        await stream.send(FEW);
        await until(
          async () => {
            const { byPromotion, late } = await writes(pipeline);
            expect(late).toEqual([]);
            return (byPromotion[live.length - 1] ?? 0) > before;
          },
          `promotion ${live.length} predicts`,
          120_000,
          LOOK_EVERY_MS,
        );
      };

      let tried = 0;
      for (let change = 0; change < CHANGES; change++) {
        await stream.send(PORTION);
        if (change % BROKEN_EVERY === 1) {
          const before = await getDataset(pool, dataset);
          const broken = await brokenModel(pipeline, tried++ % 2 === 0 ? 'bytes' : 'classes');
          await expect(promote(pool, dataset, broken)).rejects.toMatchObject({
            code: 'BAD_MODEL',
            message: expect.stringContaining(`model ${live.at(-1)!.id} stays live`),
          });
          expect(await getDataset(pool, dataset)).toEqual(before);
          const { byPromotion } = await writes(pipeline);
          await predicts(byPromotion[live.length - 1]!);
        }
        if (change % ROLLBACK_EVERY === ROLLBACK_EVERY - 1) {
          expect((await rollback(pool, dataset)).promotionNo).toBe(live.push(live.at(-2)!));
        } else {
          const onnx = linearModel(change + 1);
          const registration = { dataset, onnx, manifest: LINEAR_MANIFEST, source: 'test' };
          const id = await registerModel(pool, registration);
          expect((await promote(pool, dataset, id)).promotionNo).toBe(live.push({ id, onnx }));
        }
        await predicts(0);
        await sleep(random() * LONGEST_PAUSE_MS);
      }
      await pipeline.drained();
      // Those that came before any model was live.
      await until(async () => (await pipeline.reconcile()).unclassified === 0, 'all are classified');
      await health.isWell();
      await health.stop();
      const metrics = await (await fetch(`${run.operationsUrl}/metrics`)).text();
      expect(timesJoined(run)).toBe(1);
      expect(await run.kill('SIGTERM')).toBe(0);

      const { byPromotion, late } = await writes(pipeline);
      expect(late).toEqual([]);
      expect(Object.keys(byPromotion)).toHaveLength(CHANGES);
      await stream.judge();
      // It was not easy: models changed while batches were on their way.
      expect(metrics).toMatch(/^imagehub_write_retries_total\{reason="dataset-changed"\} [1-9]/m);
    }),
  rounds(600_000, 1_800_000),
);
