import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from '@jest/globals';
import { openStores } from '../../../kudu-store/open-stores.ts';
import { RECLASSIFY } from '../../../classifier/reclassify/reclassify.ts';
import { reclassifyRequest } from '../../../classifier/reclassify/request.ts';
import { startJob } from '../../../jobs/start.ts';
import { workOff } from '../../../jobs/work-off.ts';
import { createMetrics } from '../../../metrics.ts';
import type { JobKind } from '../../../jobs/job.ts';
import { transaction } from '../../../sql/database.ts';
import { type ApplyDataset, applyDataset, digits } from '../../image-store/support/apply-dataset.ts';
import { storeHub } from '../../image-store/support/store-hub.ts';
import { awayProxy } from '../../support/away-proxy.ts';
import { digitPng } from '../../support/digits.ts';
import { startImagehub } from '../../support/imagehub.ts';
import { until } from '../../support/pipeline.ts';

const IMAGES = 300;
/** A second's work: so many parts. */
const THROTTLE = 100;

describe('a reclassification in Kudu', () => {
  const hub = storeHub('kudu');

  /** Images with the predictions of one model, while another is live. */
  async function twoModels(images: number): Promise<ApplyDataset & { first: number; second: number }> {
    const it = await applyDataset(hub);
    const [first, second] = [await it.model(1), await it.model(2)];
    await it.goLive(first);
    await it.deliver(digits(images));
    await it.goLive(second);
    return { ...it, first, second };
  }

  /** Every image has the second model's prediction, the first one's are kept, once each. */
  async function isDone(it: ApplyDataset & { first: number }, images: number): Promise<void> {
    expect(await it.wrong(2)).toEqual([]);
    const kept = await it.kept();
    expect(kept).toHaveLength(images);
    expect(kept.every(({ model, source }) => model === it.first && source === 'superseded')).toBe(true);
    const { rowCount } = await hub.pool.query(
      'select from imagehub.kudu_part_writes w join imagehub.jobs j on j.id = w.job where j.dataset = $1',
      [it.name],
    );
    expect(rowCount).toBe(0);
  }

  for (const onlyOutdated of [false, true]) {
    test(`that dies when Kudu has the verdicts and Postgres does not: done again${onlyOutdated ? ', of outdated ones,' : ''} it counts the same, and no prediction is lost`, async () => {
      await using it = await twoModels(20);
      await it.change({ id: 'd/7', image_base64: '###' });
      const before = await it.byId();
      await using dies = await it.hold({ onlyOutdated });
      await expect(
        transaction(hub.pool, async (client) => {
          await dies.writeIn(client);
          throw new Error('it dies here');
        }),
      ).rejects.toThrow('it dies here');
      // Nobody else has come by: the verdicts are there, and what they replaced.
      const between = await it.byId();
      expect(between.get('d/3')).toMatchObject({ model_id: it.second });
      await it.deliver([{ key: 'd/5', value: digitPng(1, 400) }]);
      await using again = await it.hold({ onlyOutdated, as: dies });
      const counts = await again.write();
      const changed = [...between.values()].filter(
        (row) => row.prediction !== before.get(row.id)!.prediction,
      );
      expect(counts).toMatchObject({
        images: 20,
        // All but the one that came anew meanwhile.
        written: 19,
        failed: 1,
        superseded: 19,
        changed: changed.filter(({ id }) => id !== 'd/5').length,
        overtaken: 0,
      });
      expect(await it.image('d/7')).toMatchObject({ prediction: -1, classify_attempts: 1 });
      const { rows } = await hub.pool.query<{ waits: boolean }>(
        'select unclassified_no > 1 as waits from imagehub.kudu_stores where dataset = $1',
        [it.name],
      );
      expect(rows).toEqual([{ waits: true }]);
      await it.change({ id: 'd/7', image_base64: digits(8)[7]!.value!.toString('base64') });
      await it.reclassify();
      await isDone(it, 20);
    });
  }

  test('a worker that is killed amid a write, and one that is frozen and wakes late: others go on, nothing older is written', async () => {
    await using it = await twoModels(IMAGES);
    const env = { ...hub.env, IMAGEHUB_OPERATIONS_PORT: '0', IMAGEHUB_JOB_PARTS: '1', IMAGEHUB_WORKERS: '1' };
    const wanted = await reclassifyRequest(it.desk, { dataset: it.name });
    const { job } = await startJob(it.desk, RECLASSIFY, { ...wanted, throttle: THROTTLE });
    const marks = async () =>
      (
        await hub.pool.query<{ last: number | null }>(
          'select max(write_no) as last from imagehub.kudu_writes where dataset = $1',
          [it.name],
        )
      ).rows[0]!.last ?? 0;
    const done = async () =>
      (
        await hub.pool.query<{ parts: number }>(
          `select count(*) as parts from imagehub.job_parts where job = $1 and state = 'done'`,
          [job],
        )
      ).rows[0]!.parts;
    /** Freezes a worker that has begun to write. */
    const frozen = async () => {
      const before = await marks();
      const worker = startImagehub(['run', 'worker'], { env });
      for (;;) {
        worker.freeze();
        if ((await marks()) > before) return worker;
        expect(await done()).toBeLessThan(3);
        worker.thaw();
        await sleep(3);
      }
    };
    const victim = await frozen();
    victim.kill();
    await victim.ended;
    const zombie = await frozen();
    // As idle_in_transaction_session_timeout does after half a minute.
    await hub.pool.query(
      `select pg_terminate_backend(pid) from pg_stat_activity
       where datname = current_database() and state = 'idle in transaction' and application_name = 'imagehub'`,
    );
    await it.deliver([{ key: 'd/1', value: digitPng(3, 400) }]);
    const newest = await it.image('d/1');
    const worker = startImagehub(['run', 'worker'], { env });
    await until(async () => (await done()) === 3, 'the job is done');
    zombie.thaw();
    await sleep(1000);
    zombie.interrupt();
    worker.interrupt();
    await Promise.all([zombie.ended, worker.ended]);
    expect(await it.image('d/1')).toEqual(newest);
    expect(await it.wrong(2)).toEqual([]);
    const { counts } = (
      await hub.pool.query<{ counts: object }>('select counts from imagehub.jobs where id = $1', [job])
    ).rows[0]!;
    expect(counts).toMatchObject({ images: IMAGES, failed: 0 });
    expect((await it.kept()).length).toBeGreaterThanOrEqual(IMAGES - 1);
  });

  test('waits while Kudu is away, and goes on', async () => {
    await using it = await twoModels(10);
    await using proxy = await awayProxy(`http://${hub.kudu![0]!}`);
    await proxy.away();
    const { pool, config, log } = hub;
    using stores = openStores({
      masters: [new URL(proxy.url).host],
      pool,
      sidePool: hub.context.sidePool,
      cellBytes: config.kuduMaxCellBytes,
      log,
    });
    const { job } = await startJob(
      it.desk,
      RECLASSIFY,
      await reclassifyRequest(it.desk, { dataset: it.name }),
    );
    const working = workOff(
      {
        ...it.desk,
        stores,
        kinds: () => Promise.resolve(RECLASSIFY as JobKind),
        metrics: createMetrics({ processMetrics: false }),
        devices: ['cpu'],
        signal: new AbortController().signal,
      },
      job,
    );
    const part = async () =>
      (
        await pool.query<{ waits: boolean; attempts: number }>(
          `select state = 'waiting' and not_before > now() as waits, attempts from imagehub.job_parts where job = $1`,
          [job],
        )
      ).rows[0]!;
    await until(async () => (await part()).waits, 'it waits');
    expect((await part()).attempts).toBe(0);
    await proxy.back();
    expect(await working).toMatchObject({ state: 'done', counts: { written: 10 } });
    await isDone(it, 10);
  });
});
