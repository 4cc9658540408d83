import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { pino } from 'pino';
import { checkNextMonitor } from '../../../classifier/drift/check.ts';
import { thresholds } from '../../../classifier/drift/measures.ts';
import { addMonitor } from '../../../classifier/drift/monitors.ts';
import { watchDrift, type DriftWatchOptions } from '../../../classifier/drift/watch.ts';
import { postWebhook } from '../../../classifier/drift/webhook.ts';
import { createMetrics } from '../../../metrics.ts';
import { openPool } from '../../../sql/database.ts';
import { deleteMonitor, holdDueMonitor, listMonitors } from '../../../sql/drift-monitors.ts';
import type { Sample } from '../../../sql/selection.ts';
import { type DriftRow, insertDriftRows, predictions } from '../../support/drift-rows.ts';
import { digitsDataset } from '../../support/image-rows.ts';
import { until } from '../../support/pipeline.ts';
import { freePort } from '../../../stack/ports.ts';
import { freshDatabase, type TestDatabase } from '../../support/servers.ts';
import { POSTGRES_STORES } from '../../support/stores.ts';
import { startWebhook } from '../../support/webhook.ts';

const HOUR_MS = 3_600_000;
const BALANCED = predictions([300, 300, 300]);
const LOPSIDED = predictions([50, 50, 800]);

let db: TestDatabase;
beforeAll(async () => {
  db = await freshDatabase();
});
afterAll(async () => {
  await db?.[Symbol.asyncDispose]();
});

const ago = (hours: number) => new Date(Date.now() - hours * HOUR_MS);
let datasets = 0;

/** A dataset with a balanced hour in the past, and a monitor that compares the last two hours with it. */
async function monitored(
  options: {
    webhook?: string;
    minImages?: number;
    limits?: Record<string, number>;
    reference?: DriftRow[];
    sample?: Sample;
  } = {},
) {
  const dataset = `watched_${++datasets}`;
  await digitsDataset(db.pool, dataset);
  await insertDriftRows(db.pool, dataset, ago(5), options.reference ?? BALANCED);
  const { monitor } = await addMonitor(
    { pool: db.pool, stores: POSTGRES_STORES },
    {
      dataset,
      by: 'ingested',
      everySeconds: 3600,
      windowSeconds: 2 * 3600,
      reference: { kind: 'span', since: null, until: { at: ago(3).toISOString() } },
      thresholds: thresholds(options.limits ?? { psi: 0.25 }),
      minImages: options.minImages ?? 100,
      webhook: options.webhook ?? null,
      sample: options.sample,
    },
  );
  return {
    dataset,
    monitor,
    /** Now the last two hours hold these images and no others. */
    async lately(rows: readonly DriftRow[]) {
      await db.pool.query(`delete from public.${dataset} where ingested_at > $1`, [ago(2.5)]);
      await insertDriftRows(db.pool, dataset, ago(1.5), rows);
    },
    due: () => db.pool.query('update imagehub.drift_monitors set next_at = now() where id = $1', [monitor]),
    async check() {
      await this.due();
      return (await checkNextMonitor({ pool: db.pool, stores: POSTGRES_STORES }))!;
    },
    state: async () => (await listMonitors(db.pool, dataset))[0]!,
    [Symbol.asyncDispose]: async () => void (await deleteMonitor(db.pool, monitor)),
  };
}

/** What a process does beside its work, with what it logs and counts; `await using` ends it. */
function watching(options: Partial<DriftWatchOptions> = {}) {
  const lines: { level: number; msg: string; dataset?: string; monitor?: number; host?: string }[] = [];
  const log = pino(
    { level: 'debug' },
    { write: (line) => void lines.push(JSON.parse(line) as (typeof lines)[0]) },
  );
  const metrics = createMetrics({ processMetrics: false });
  const stop = new AbortController();
  const webhook = { firstPauseMs: 10, answerWithinMs: 60_000 };
  const done = watchDrift({
    stores: POSTGRES_STORES,
    pool: db.pool,
    log,
    metrics,
    signal: stop.signal,
    everyMs: 20,
    webhook,
    ...options,
  });
  return {
    lines,
    metrics,
    logged: (text: string) => lines.filter(({ msg }) => msg.includes(text)),
    async [Symbol.asyncDispose]() {
      stop.abort();
      await done;
    },
  };
}

test('a monitor with a sample looks at a part of both sides, and at the same images again', async () => {
  await using watched = await monitored({ sample: { share: 0.5, seed: 7, byClass: true } });
  await watched.lately(LOPSIDED);
  const { report, raised } = await watched.check();
  // None is labelled: all are of one class.
  expect(report!.reference.images + report!.window.images).toBe(900);
  expect(report!.comparedWith).toMatch(/, a sample of 0\.5 of each class by seed 7$/);
  expect(raised).toMatchObject([{ measure: 'prediction_psi' }]);
  expect((await watched.check()).report!.window.images).toBe(report!.window.images);
});

describe('an alert', () => {
  test('is raised once per crossing, and its end is told once', async () => {
    await using watched = await monitored();
    await watched.lately(LOPSIDED);
    const first = await watched.check();
    expect(first).toMatchObject({
      problem: null,
      ended: [],
      raised: [{ measure: 'prediction_psi', threshold: 0.25 }],
    });
    expect(await watched.check()).toMatchObject({ raised: [], ended: [] });
    expect((await watched.state()).alerts).toMatchObject([
      { measure: 'prediction_psi', raisedValue: first.raised[0]!.value },
    ]);
    await watched.lately(BALANCED);
    expect(await watched.check()).toMatchObject({ raised: [], ended: [{ measure: 'prediction_psi' }] });
    expect(await watched.check()).toMatchObject({ raised: [], ended: [] });
    expect((await watched.state()).alerts).toEqual([]);
    await watched.lately(LOPSIDED);
    expect((await watched.check()).raised).toHaveLength(1);
    const { rows } = await db.pool.query(
      'select measure, ended_at is null as open, images from drift_alerts where dataset = $1 order by alert',
      [watched.dataset],
    );
    expect(rows).toEqual([
      { measure: 'prediction_psi', open: false, images: 900 },
      { measure: 'prediction_psi', open: true, images: 900 },
    ]);
  });

  test('is neither raised nor ended by a window with too few images, which is said', async () => {
    await using watched = await monitored({ minImages: 100 });
    await watched.lately(predictions([0, 0, 99]));
    expect(await watched.check()).toMatchObject({
      raised: [],
      problem: 'The window has 99 images; below 100 nothing is raised or ended.',
    });
    await watched.lately(predictions([0, 0, 100]));
    expect((await watched.check()).raised).toHaveLength(1);
    await watched.lately([]);
    expect(await watched.check()).toMatchObject({ ended: [], problem: expect.stringContaining('0 images') });
    expect(await watched.state()).toMatchObject({
      alerts: [{ measure: 'prediction_psi' }],
      problem: expect.any(String),
    });
  });

  test('ends, and says why, when its measure could not be had in three checks, but not before', async () => {
    const bright = (by: number) => BALANCED.map((row, n) => ({ ...row, pixel_mean: by + (n % 10) }));
    await using watched = await monitored({ reference: bright(100) });
    await watched.lately(bright(200));
    expect((await watched.check()).raised).toMatchObject([{ measure: 'pixel_mean_psi' }]);
    const unknown = async () => {
      await watched.lately(BALANCED);
      return (await watched.check()).ended;
    };
    expect([await unknown(), await unknown()]).toEqual([[], []]);
    // Known again: what counts are checks in a row.
    await watched.lately(bright(200));
    expect(await watched.check()).toMatchObject({ raised: [], ended: [] });
    expect([await unknown(), await unknown()]).toEqual([[], []]);
    const reason =
      'not measurable in 3 checks: no image with this statistic in the reference or in the window';
    expect(await unknown()).toMatchObject([
      { measure: 'pixel_mean_psi', value: null, threshold: 0.25, reason },
    ]);
    expect((await watched.state()).alerts).toEqual([]);
    const { rows } = await db.pool.query(
      'select ended_at is null as open, ended_value, ended_reason from drift_alerts where dataset = $1',
      [watched.dataset],
    );
    expect(rows).toEqual([{ open: false, ended_value: null, ended_reason: reason }]);
    expect(await unknown()).toEqual([]);
  });

  test('is not raised by what chance does in a small window', async () => {
    await using watched = await monitored({ minImages: 10, limits: { psi: 0.05 } });
    await watched.lately(predictions([10, 3, 8]));
    const { report, raised } = await watched.check();
    expect(report!.measures.find(({ measure }) => measure === 'prediction_psi')!.value).toBeGreaterThan(0.05);
    expect(raised).toEqual([]);
  });
});

describe('a check', () => {
  test('that cannot be made says why, and holds up no other', async () => {
    await using watched = await monitored();
    await db.pool.query(
      `update imagehub.drift_monitors set reference = '{"kind": "training"}' where id = $1`,
      [watched.monitor],
    );
    expect(await watched.check()).toMatchObject({
      report: null,
      problem: expect.stringContaining('no live model'),
    });
    const { nextAt, checkedAt } = await watched.state();
    expect(nextAt.getTime()).toBeGreaterThan(checkedAt!.getTime());
    expect(await checkNextMonitor({ pool: db.pool, stores: POSTGRES_STORES })).toBeUndefined();
  });

  test('is made by one process; if that is killed, by another', async () => {
    await using watched = await monitored();
    await watched.lately(LOPSIDED);
    await watched.due();
    await using other = openPool(db.url);
    const client = await other.connect();
    client.on('error', () => undefined);
    await client.query('begin');
    expect(await holdDueMonitor(client)).toMatchObject({ monitor: watched.monitor });
    expect(await checkNextMonitor({ pool: db.pool, stores: POSTGRES_STORES })).toBeUndefined();
    const { rows } = await client.query<{ pid: number }>('select pg_backend_pid() as pid');
    await db.pool.query('select pg_terminate_backend($1, 10000)', [rows[0]!.pid]);
    client.release(true);
    expect((await checkNextMonitor({ pool: db.pool, stores: POSTGRES_STORES }))!.raised).toHaveLength(1);
    expect(await checkNextMonitor({ pool: db.pool, stores: POSTGRES_STORES })).toBeUndefined();
  });

  test('of several processes side by side is made once, and all export what it found', async () => {
    await using watched = await monitored();
    await watched.lately(LOPSIDED);
    await using first = watching();
    await using second = watching();
    const labels = `{dataset="${watched.dataset}",monitor="${watched.monitor}",measure="prediction_psi"}`;
    for (const { metrics } of [first, second]) {
      await until(
        async () => (await metrics.registry.metrics()).includes(`imagehub_drift_alert${labels} 1`),
        'the gauge',
      );
      expect(await metrics.registry.metrics()).toMatch(
        new RegExp(`^imagehub_drift${labels.replace(/[{}]/g, '\\$&')} \\d\\.\\d+$`, 'm'),
      );
    }
    const raised = [...first.logged('prediction_psi'), ...second.logged('prediction_psi')];
    expect(raised).toEqual([
      expect.objectContaining({
        level: 40,
        dataset: watched.dataset,
        msg: expect.stringMatching(/prediction_psi \d\.\d+ \(limit 0\.25\)/),
      }),
    ]);
    const counted = await Promise.all(
      [first, second].map(async ({ metrics }) =>
        (await metrics.driftAlerts.get()).values.map(({ value }) => value),
      ),
    );
    expect(counted.flat()).toEqual([1]);
    const { rows } = await db.pool.query(
      'select count(*) as reports from imagehub.drift_reports where dataset = $1',
      [watched.dataset],
    );
    expect(rows).toEqual([{ reports: 1 }]);
    await watched.lately(BALANCED);
    await watched.due();
    await until(
      async () => [...first.lines, ...second.lines].some(({ msg }) => msg.includes('no longer so')),
      'its end',
    );
    await until(
      async () => (await second.metrics.registry.metrics()).includes(`imagehub_drift_alert${labels} 0`),
      'the gauge falls',
    );
  });
});

describe('a webhook', () => {
  test('is told of a crossing and of its end, once each', async () => {
    await using hook = await startWebhook();
    await using watched = await monitored({ webhook: hook.url });
    await watched.lately(LOPSIDED);
    await using process = watching();
    await until(async () => hook.received.length === 1, 'the webhook is called');
    expect(hook.received[0]).toMatchObject({
      event: 'drift',
      dataset: watched.dataset,
      monitor: watched.monitor,
      text: expect.stringContaining('prediction_psi'),
      raised: [
        { measure: 'prediction_psi', threshold: 0.25, value: expect.any(Number), noise: expect.any(Number) },
      ],
      ended: [],
      window: { images: 900 },
    });
    await watched.due();
    await until(async () => process.logged('drift was checked').length > 1, 'another check');
    await watched.lately(BALANCED);
    await watched.due();
    await until(async () => hook.received.length === 2, 'its end is told');
    expect(hook.received[1]).toMatchObject({ raised: [], ended: [{ measure: 'prediction_psi' }] });
    await until(async () => (await watched.state()).pendingNotices === 0, 'it is recorded');
    expect(await watched.state()).toMatchObject({ failedNotice: null });
    expect(await process.metrics.registry.metrics()).toContain(
      `imagehub_drift_webhooks_total{dataset="${watched.dataset}",outcome="delivered"} 2`,
    );
  });

  test('that is away for a moment is called again', async () => {
    await using hook = await startWebhook((call) => (call < 3 ? 503 : 204));
    await using watched = await monitored({ webhook: hook.url });
    await watched.lately(LOPSIDED);
    await using _process = watching();
    await until(
      async () => hook.received.length === 3 && (await watched.state()).pendingNotices === 0,
      'it is delivered',
    );
    const { rows } = await db.pool.query(
      'select attempts, delivered_at is not null as delivered from imagehub.drift_notices where monitor_id = $1',
      [watched.monitor],
    );
    expect(rows).toEqual([{ attempts: 3, delivered: true }]);
  });

  test.each([
    ['refuses', () => 404, 1, 'answered 404'],
    ['redirects', () => 302, 1, 'answered 302'],
    ['fails', () => 500, 5, 'answered 500'],
  ])('that %s is given up, which is logged and recorded', async (_, answer, attempts, error) => {
    await using hook = await startWebhook(answer);
    await using watched = await monitored({ webhook: hook.url });
    await watched.lately(LOPSIDED);
    await using process = watching();
    await until(async () => (await watched.state()).failedNotice !== null, 'it is given up');
    expect(await watched.state()).toMatchObject({ failedNotice: { error }, pendingNotices: 0 });
    expect(hook.received).toHaveLength(attempts);
    const [line] = process.logged('given up');
    expect(line).toMatchObject({
      level: 40,
      monitor: watched.monitor,
      attempts,
      host: new URL(hook.url).host,
    });
    expect(JSON.stringify(process.lines)).not.toContain('secret-path');
  });

  test('that never answers holds up no check', async () => {
    await using hook = await startWebhook(() => null);
    await using hanging = await monitored({ webhook: hook.url });
    await hanging.lately(LOPSIDED);
    await using process = watching({ webhook: { firstPauseMs: 10, answerWithinMs: 60_000 } });
    await until(async () => hook.received.length === 1, 'the webhook is called');
    await using other = await monitored();
    await other.lately(LOPSIDED);
    await other.due();
    await until(async () => (await other.state()).alerts.length === 1, 'the other monitor is checked');
    expect((await hanging.state()).pendingNotices).toBe(1);
    await process[Symbol.asyncDispose]();
    // Another process makes the call at once.
    const { rows } = await db.pool.query(
      'select claimed_until from imagehub.drift_notices where monitor_id = $1',
      [hanging.monitor],
    );
    expect(rows).toEqual([{ claimed_until: null }]);
  });

  test('without anybody there, or that is too slow, fails with the reason', async () => {
    const signal = new AbortController().signal;
    const nobody = await postWebhook(
      `http://127.0.0.1:${await freePort()}/`,
      {},
      { signal, firstPauseMs: 1 },
    );
    expect(nobody).toMatchObject({ attempts: 5, error: expect.stringContaining('ECONNREFUSED') });
    await using silent = await startWebhook(() => null);
    const slow = await postWebhook(silent.url, {}, { signal, firstPauseMs: 1, answerWithinMs: 50 });
    expect(slow).toEqual({ attempts: 5, error: 'no answer within 0.05 s' });
  });
});

describe('a monitor', () => {
  const wanted = {
    by: 'ingested' as const,
    everySeconds: 60,
    windowSeconds: 60,
    reference: null,
    thresholds: {},
    minImages: 100,
  };

  test('without a reference compares with the images until now, if there are enough', async () => {
    const dataset = `watched_${++datasets}`;
    await digitsDataset(db.pool, dataset);
    await expect(
      addMonitor({ pool: db.pool, stores: POSTGRES_STORES }, { ...wanted, dataset, webhook: null }),
    ).rejects.toMatchObject({
      code: 'USAGE',
      hint: expect.stringContaining('--reference-since'),
    });
    await insertDriftRows(db.pool, dataset, ago(2), BALANCED);
    const { monitor, reference } = await addMonitor(
      { pool: db.pool, stores: POSTGRES_STORES },
      { ...wanted, dataset, webhook: null },
    );
    expect(reference).toEqual({ kind: 'span', since: null, until: { at: expect.any(String) } });
    await deleteMonitor(db.pool, monitor);
    await expect(deleteMonitor(db.pool, monitor)).rejects.toMatchObject({ code: 'NOT_FOUND' });
  });

  test.each(['ftp://somewhere', 'nonsense', 'http://user:word@host/'])(
    'refuses the webhook %s',
    async (webhook) => {
      await expect(
        addMonitor({ pool: db.pool, stores: POSTGRES_STORES }, { ...wanted, dataset: 'any', webhook }),
      ).rejects.toMatchObject({
        code: 'USAGE',
      });
    },
  );
});
