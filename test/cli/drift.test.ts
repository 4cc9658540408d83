import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import type { DriftReport } from '../../classifier/drift/report.ts';
import type { MonitorState } from '../../sql/drift-monitors.ts';
import { insertDriftRows, predictions } from '../support/drift-rows.ts';
import { digitsDataset } from '../support/image-rows.ts';
import { imagehub, type ImagehubOptions, startImagehub } from '../support/imagehub.ts';
import { until } from '../support/pipeline.ts';
import { freshDatabase, type TestDatabase, uniqueName } from '../support/servers.ts';
import { startWebhook } from '../support/webhook.ts';

const HOUR_MS = 3_600_000;
let db: TestDatabase;
let options: ImagehubOptions;
beforeAll(async () => {
  db = await freshDatabase();
  options = {
    env: {
      IMAGEHUB_POSTGRES_URL: db.url,
      IMAGEHUB_GROUP: uniqueName('group'),
      IMAGEHUB_OPERATIONS_PORT: '0',
      IMAGEHUB_LOG_FORMAT: 'json',
    },
  };
  await digitsDataset(db.pool);
  await insertDriftRows(db.pool, 'mnist', new Date(Date.now() - 48 * HOUR_MS), predictions([300, 300]));
  await insertDriftRows(db.pool, 'mnist', new Date(Date.now() - 3 * HOUR_MS), predictions([100, 500]));
});
afterAll(async () => {
  await db?.[Symbol.asyncDispose]();
});

describe('imagehub drift', () => {
  test('compares the last day with all before it, as a table and as JSON', async () => {
    const json = await imagehub(['drift', 'mnist', '--json'], options);
    expect(json).toMatchObject({ status: 0 });
    const [report, ...more] = JSON.parse(json.stdout) as DriftReport[];
    expect(more).toEqual([]);
    expect(report).toMatchObject({ dataset: 'mnist', reference: { images: 600 }, window: { images: 600 } });
    const text = await imagehub(['drift', 'mnist', '--window', '1d'], options);
    expect(text.stdout).toMatch(/prediction\s+│ major\s+│\s+0\.5\d\d/);
    expect(text.stdout).toContain('600 images, compared with images until');
    const several = await imagehub(['drift', 'mnist', '--window', '12h', '--since', '24h'], options);
    expect(several.stdout.match(/^│ 20/gm)).toHaveLength(2);
  });

  test('takes a sample, and so do monitors', async () => {
    const sampling = ['--sample', '0.5', '--seed', '7', '--by-class', '--json'];
    const json = await imagehub(['drift', 'mnist', ...sampling], options);
    const [report] = JSON.parse(json.stdout) as DriftReport[];
    // 1200 images of both sides, none labelled.
    expect(report!.reference.images + report!.window.images).toBe(600);
    const args = ['drift', 'watch', 'add', 'mnist', '--every', '1h', '--reference-until', '1d', ...sampling];
    const { monitor, reference } = JSON.parse((await imagehub(args, options)).stdout) as MonitorState;
    expect(reference).toMatchObject({ kind: 'span', sample: { share: 0.5, seed: 7, byClass: true } });
    const list = await imagehub(['drift', 'watch', 'list'], options);
    expect(list.stdout.replace(/\s+/g, ' ')).toMatch(/a sample of 0\.5 of each class by seed 7/);
    await imagehub(['drift', 'watch', 'remove', String(monitor)], options);
  });

  test.each([
    [['drift', 'mnist', '--seed', '7'], '--seed is for --sample'],
    [['drift', 'mnist', '--window', 'soon'], 'no length of time'],
    [['drift', 'mnist', '--since', '1h', '--until', '2h'], 'begins at'],
    [['drift', 'mnist', '--reference', 'training', '--reference-since', '1d'], 'cannot be used with'],
    [['drift', 'mnist', '--reference-until', '30d'], 'has no image'],
    [['drift', 'watch', 'add', 'mnist', '--every', '1h', '--max', 'psy=1'], 'no measure of drift'],
    [['drift', 'watch', 'add', 'mnist', '--every', '1h', '--max', 'psi'], 'is no limit'],
    [['drift', 'watch', 'remove', '99'], 'no drift monitor 99'],
  ])('%j is refused', async (args, message) => {
    const { status, stderr } = await imagehub(args, options);
    expect(status).not.toBe(0);
    expect(stderr).toContain(message);
  });
});

test('imagehub run checks the monitors that drift watch has added, warns and calls the webhook', async () => {
  await using hook = await startWebhook();
  const args = [
    'drift',
    'watch',
    'add',
    'mnist',
    '--every',
    '1d',
    '--reference-until',
    '24h',
    '--webhook',
    hook.url,
  ];
  const added = await imagehub([...args, '--max', 'psi=0.2,accuracy_drop=0.02', '--json'], options);
  expect(added).toMatchObject({ status: 0, stderr: '' });
  const { monitor, thresholds, webhook } = JSON.parse(added.stdout) as MonitorState;
  expect(thresholds).toMatchObject({ prediction_psi: 0.2, accuracy_drop: 0.02 });
  expect(webhook).not.toContain('secret-path');
  const run = startImagehub(['run', 'ingest'], options);
  try {
    await run.says('mnist: drift: prediction_psi');
    await until(async () => hook.received.length > 0, 'the webhook is called');
  } finally {
    run.interrupt();
  }
  const ended = await run.ended;
  expect(ended.status).toBe(0);
  expect(hook.received).toMatchObject([
    { dataset: 'mnist', monitor, raised: [{ measure: 'prediction_psi' }] },
  ]);
  const list = await imagehub(['drift', 'watch', 'list', 'mnist'], options);
  expect(list.stdout).toMatch(/prediction_psi 0\.5\d\d > 0\.2 since/);
  const removed = await imagehub(['drift', 'watch', 'remove', String(monitor)], options);
  expect(removed.stdout).toBe(`Removed drift monitor ${monitor}.\n`);
  expect((await imagehub(['drift', 'watch', 'list', '--json'], options)).stdout).toBe('[]\n');
});
