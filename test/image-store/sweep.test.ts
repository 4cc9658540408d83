import { expect, test } from '@jest/globals';
import { findKind } from '../../cli/job-kinds.ts';
import { promoteCell } from '../../classifier/sweep/promote-cell.ts';
import { sweepSpec, type SweepSpec } from '../../classifier/sweep/spec.ts';
import { SWEEP_JOB } from '../../classifier/sweep/sweep-job.ts';
import { loadConfig } from '../../config.ts';
import { openSender } from '../../jobs/dispatcher.ts';
import { startJob } from '../../jobs/start.ts';
import { workOff } from '../../jobs/work-off.ts';
import { createLogger } from '../../log.ts';
import { createMetrics } from '../../metrics.ts';
import { readModelBytes } from '../../sql/models.ts';
import { listCells, listSweeps } from '../../sql/sweeps.ts';
import { QUICK } from '../support/sweep-hub.ts';
import { insertOddRows } from './support/odd-rows.ts';
import { twins } from './support/twins.ts';

test('a sweep trains the same networks in every store, and trains one again that was not kept', async () => {
  await using at = await twins((pool, dataset) => insertOddRows(pool, dataset, 240));
  const { pool, stores, datasets } = at;
  const config = { ...loadConfig({}), logLevel: 'silent' as const };
  const log = createLogger(config);
  await using dispatcher = await openSender(pool);
  const desk = { pool, stores, config, log, dispatcher };
  const sweep = async (dataset: string, asked: Partial<SweepSpec>) => {
    const request = { dataset, kind: 'sweep', parameters: sweepSpec(asked), device: 'cpu' as const };
    const { job } = await startJob(desk, SWEEP_JOB, request);
    const metrics = createMetrics({ processMetrics: false });
    const { signal } = new AbortController();
    const ended = await workOff({ ...desk, devices: ['cpu'], kinds: findKind, metrics, signal }, job);
    const [{ sweep: number } = { sweep: 0 }] = await listSweeps(pool, dataset);
    const cells = await listCells(pool, number);
    const weakest = cells.findIndex(({ stored }) => !stored);
    const { model, rebuilt } = await promoteCell(desk, dataset, number, {
      metric: 'accuracy',
      cell: weakest,
      registerOnly: true,
    });
    return {
      counts: ended.counts,
      cells: cells.map(
        ({ label, since, until, state, dataSha256, trainImages, testImages, accuracy, stored }) => {
          return { label, since, until, state, dataSha256, trainImages, testImages, accuracy, stored };
        },
      ),
      rebuilt,
      onnx: (await readModelBytes(pool, dataset, model)).toString('base64'),
    };
  };
  const asked: Partial<SweepSpec> = {
    grid: { ...QUICK, seed: [4] },
    // Images are of one minute each.
    since: '2026-03-01T01:00:00.000Z',
    until: '2026-03-01T03:30:00.000Z',
    windows: 'hour',
    testWhere: `id like 'test/%'`,
    limit: 30,
    keep: 1,
  };
  const [inPostgres, inKudu] = [await sweep(datasets.postgres, asked), await sweep(datasets.kudu, asked)];
  expect(inPostgres).toMatchObject({ counts: { trained: 3 }, rebuilt: true });
  expect(inPostgres.cells[0]).toMatchObject({ state: 'done', trainImages: 30 });
  expect(inKudu).toEqual(inPostgres);
  await expect(sweep(datasets.kudu, { grid: QUICK, where: ['id'] })).rejects.toMatchObject({ code: 'USAGE' });
});
