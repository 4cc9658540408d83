import { describe, expect, test } from '@jest/globals';
import { existsSync } from 'node:fs';
import { deleteModel } from '../../../classifier/delete-model.ts';
import { Classifier } from '../../../classifier/inference.ts';
import { parseManifest } from '../../../classifier/manifest.ts';
import { constantAnswer } from '../../../classifier/sweep/cell-thread.ts';
import { promoteCell } from '../../../classifier/sweep/promote-cell.ts';
import { summarise } from '../../../classifier/sweep/summary.ts';
import { resumeJob } from '../../../jobs/control.ts';
import { decode, type Pixels } from '../../../images/decode.ts';
import { getDataset } from '../../../sql/datasets.ts';
import { getJob } from '../../../sql/jobs.ts';
import { listModels, readModelBytes } from '../../../sql/models.ts';
import { getRun, listRuns } from '../../../sql/runs.ts';
import { beginCell, listSweeps } from '../../../sql/sweeps.ts';
import { waitFor } from '../../support/processes.ts';
import { QUICK, type SweepHub, sweepHub } from '../../support/sweep-hub.ts';

const checkpoints = async ({ pool }: SweepHub) =>
  (await pool.query('select from imagehub.checkpoints')).rowCount;

/** Share of the labelled images that a model reads as they are labelled. */
async function accuracyOf({ pool }: SweepHub, model: number, where: string): Promise<number> {
  const { classes } = await getDataset(pool, 'mnist');
  const stored = (await listModels(pool, 'mnist')).find((each) => each.model === model)!;
  const onnx = await readModelBytes(pool, 'mnist', model);
  const classifier = await Classifier.load(onnx, parseManifest(stored.manifest), classes);
  const { rows } = await pool.query<{ png: string; label: number }>(
    `select image_base64 as png, known_label as label from mnist where ${where} order by id`,
  );
  const images: Pixels[] = [];
  for (const { png } of rows) images.push(await decode(Buffer.from(png, 'base64'), { maxPixels: 1e6 }));
  const { prediction } = await classifier.classify(images);
  await classifier.release();
  return rows.filter(({ label }, index) => prediction[index] === label).length / rows.length;
}

test('a grid is trained, measured on the images named for it, and the best network promoted', async () => {
  await using hub = await sweepHub({ train: 600, test: 100 });
  const testWhere = "id like 'test/%'";
  const job = await hub.sweep({
    grid: { ...QUICK, hidden: [[16], []], epochs: [3], seed: [1, 2, 3] },
    testWhere,
    keep: 2,
  });
  expect(job).toMatchObject({ state: 'done', parts: 6, counts: { trained: 6 } });
  const cells = await hub.cells();
  expect(cells.map(({ cell, state }) => [cell, state])).toEqual(cells.map((_, index) => [index, 'done']));
  for (const cell of cells) {
    expect(cell).toMatchObject({ trainImages: 600, testImages: 100, error: null, label: null, model: null });
    const run = (await getRun(hub.pool, cell.run!))!;
    expect(run).toMatchObject({
      kind: 'sweep',
      state: 'done',
      parameters: { sweep: 1, cell: cell.cell, images: 600, testImages: 100, dataSha256: cell.dataSha256 },
      metrics: { test: { accuracy: cell.accuracy, macro: { f1: cell.f1 } }, seconds: cell.seconds },
    });
  }
  expect(new Set(cells.map(({ accuracy }) => accuracy)).size).toBeGreaterThan(1);
  expect(await checkpoints(hub)).toBe(0);
  // Which rows they saw is recorded, once for all of them.
  const seen = await hub.pool.query(
    `select images, count(*) as runs
     from imagehub.runs r join imagehub.training_sets s on s.id = r.training_set_id
     where r.kind = 'sweep' group by s.id`,
  );
  expect(seen.rows).toMatchObject([{ images: 600, runs: 6 }]);

  const { rows, best, stability } = summarise(cells);
  expect(rows.map(({ settings, window, states }) => [settings, window, states.done])).toEqual([
    [{ hidden: [16] }, null, 3],
    [{ hidden: [] }, null, 3],
  ]);
  expect(rows[0]!.accuracy!.mean).toBeCloseTo(
    (cells[0]!.accuracy! + cells[1]!.accuracy! + cells[2]!.accuracy!) / 3,
    12,
  );
  expect(stability).toEqual([]);

  // Two networks are kept: the best and the next.
  const byAccuracy = cells.toSorted((a, b) => b.accuracy! - a.accuracy! || a.cell - b.cell);
  expect(
    cells
      .filter(({ stored }) => stored)
      .map(({ cell }) => cell)
      .sort(),
  ).toEqual(
    byAccuracy
      .slice(0, 2)
      .map(({ cell }) => cell)
      .sort(),
  );
  const promoted = await promoteCell(hub.desk, 'mnist', 1);
  expect(promoted).toMatchObject({
    cell: best!.cell,
    accuracy: best!.accuracy,
    rebuilt: false,
    promotion: { changed: true, reason: `best of sweep 1 by accuracy (cell ${best!.cell})` },
  });
  expect(await accuracyOf(hub, promoted.model, testWhere)).toBe(best!.accuracy);

  // One that was not kept is trained again, and is the one that was measured.
  const last = byAccuracy.at(-1)!;
  const rebuilt = await promoteCell(hub.desk, 'mnist', 1, { cell: last.cell, registerOnly: true });
  expect(rebuilt).toMatchObject({ cell: last.cell, rebuilt: true, promotion: null });
  expect(await accuracyOf(hub, rebuilt.model, testWhere)).toBe(last.accuracy);
  // Registered once, however often it is asked for.
  expect((await promoteCell(hub.desk, 'mnist', 1, { cell: last.cell })).model).toBe(rebuilt.model);

  // One that was deleted is registered anew, with what its network reaches when it is trained again.
  await deleteModel(hub.pool, 'mnist', promoted.model);
  await hub.pool.query(
    'update imagehub.sweep_cells set onnx = null, accuracy = 2, log_loss = 2 where cell = $1',
    [best!.cell],
  );
  const anew = await promoteCell(hub.desk, 'mnist', 1, { cell: best!.cell, registerOnly: true });
  expect(anew).toMatchObject({ rebuilt: true, accuracy: best!.accuracy });
  expect(anew.model).toBeGreaterThan(rebuilt.model);
  expect((await listModels(hub.pool, 'mnist')).find(({ model }) => model === anew.model)).toMatchObject({
    deletedAt: null,
    metrics: { validationAccuracy: best!.accuracy, validationLoss: best!.logLoss },
  });

  await hub.pool.query(
    "update mnist set known_label = 1 - known_label where known_label < 2 and id like 'train/%'",
  );
  const other = byAccuracy.at(-2)!;
  await expect(promoteCell(hub.desk, 'mnist', 1, { cell: other.cell })).rejects.toMatchObject({
    code: 'CONFLICT',
    message: expect.stringContaining('have changed, and its network was not kept'),
  });
});

test('what was computed is skipped, in other sweeps too, until images or labels change', async () => {
  await using hub = await sweepHub();
  const grid = { ...QUICK, rate: [0.1, 0.05], seed: [1, 2] };
  expect((await hub.sweep({ grid })).counts).toEqual({ trained: 4 });
  const first = await hub.cells();
  expect((await hub.sweep({ grid })).counts).toEqual({ skipped: 4 });
  expect(await listSweeps(hub.pool, 'mnist')).toHaveLength(1);
  expect(await listRuns(hub.pool, 'mnist')).toHaveLength(4);

  expect((await hub.sweep({ grid: { ...grid, rate: [0.05, 0.02] } })).counts).toEqual({
    skipped: 2,
    trained: 2,
  });
  const second = await hub.cells();
  expect(second.slice(0, 2).map(({ run, accuracy }) => [run, accuracy])).toEqual(
    first.slice(2).map(({ run, accuracy }) => [run, accuracy]),
  );
  expect(second[0]!.stored).toBe(true);
  expect(await listRuns(hub.pool, 'mnist')).toHaveLength(6);

  await hub.pool.query("update mnist set known_label = (known_label + 1) % 10 where id = 'train/0'");
  expect((await hub.sweep({ grid })).counts).toEqual({ trained: 4 });
  const again = await hub.cells(1);
  expect(again.map(({ cell, state }) => [cell, state])).toEqual(first.map(({ cell }) => [cell, 'done']));
  expect(again[0]!.dataSha256).not.toBe(first[0]!.dataSha256);
  // Nobody else who meant to train it takes its result away.
  const { run, dataSha256 } = again[0]!;
  expect(await beginCell(hub.pool, again[0]!, run!, dataSha256!)).toBe(false);
  expect((await hub.cells(1))[0]).toEqual(again[0]);

  // What cannot be trained any more says nothing of what it reached before.
  await hub.pool.query('delete from mnist where known_label <> 3');
  expect((await hub.sweep({ grid })).counts).toEqual({ failed: 4 });
  expect(await hub.cells(1)).toMatchObject(
    first.map(() => ({ state: 'failed', run: null, accuracy: null, stored: false })),
  );
  expect((await listSweeps(hub.pool, 'mnist')).at(-1)).toMatchObject({ sweep: 1, bestAccuracy: null });
});

test('a diverged training is a result, and is skipped the next time', async () => {
  await using hub = await sweepHub();
  const asked = { grid: { ...QUICK, rate: [0.1, 1e6], epochs: [5], seed: [1, 2] } };
  expect(await hub.sweep(asked)).toMatchObject({ state: 'done', counts: { trained: 4, diverged: 2 } });
  const cells = await hub.cells();
  expect(cells.map(({ state }) => state)).toEqual(['done', 'done', 'diverged', 'diverged']);
  expect(cells[2]).toMatchObject({ stored: false, error: expect.stringMatching(/diverged|for every image/) });
  const { rows, best } = summarise(cells);
  expect(rows[1]).toMatchObject({ accuracy: null, best: null, states: { diverged: 2, done: 0 } });
  expect(best!.cell).toBeLessThan(2);
  expect((await hub.sweep(asked)).counts).toEqual({ skipped: 4 });
  await expect(promoteCell(hub.desk, 'mnist', 1, { cell: 2 })).rejects.toThrow(
    'is diverged; it has no network',
  );
});

test('a network that says one class for every image counts as diverged', () => {
  expect(
    constantAnswer([
      [0, 5, 0],
      [0, 7, 0],
      [0, 1, 0],
    ]),
  ).toBe(1);
  expect(
    constantAnswer([
      [1, 4, 0],
      [0, 7, 0],
      [0, 0, 0],
    ]),
  ).toBeNull();
  // Of images of one class it may rightly say that class.
  expect(
    constantAnswer([
      [0, 0, 0],
      [0, 7, 0],
      [0, 0, 0],
    ]),
  ).toBeNull();
});

test('windows of time are trained on one by one, and a window with too few images fails alone', async () => {
  await using hub = await sweepHub({ train: 300, test: 50 });
  await hub.pool.query(
    `update mnist set ingested_at = timestamptz '2026-03-01 12:00Z' + split_part(id, '/', 2)::int / 100 * interval '1 day'`,
  );
  // The third day has one class only.
  await hub.pool.query(
    "delete from mnist where ingested_at >= '2026-03-03' and ingested_at < '2026-03-04' and known_label <> 3",
  );
  await hub.pool.query("update mnist set ingested_at = '2026-03-09 00:00Z' where id like 'test/%'");
  const asked = {
    grid: { ...QUICK, seed: [1, 2] },
    testWhere: "id like 'test/%'",
    windows: 'day' as const,
    until: '2026-03-08T00:00:00.000Z',
  };
  const job = await hub.sweep(asked);
  expect(job).toMatchObject({ state: 'done', counts: { trained: 4, failed: 2 } });
  const cells = await hub.cells();
  expect(
    cells.map(({ label, state, trainImages, testImages }) => [label, state, trainImages, testImages]),
  ).toEqual([
    ['2026-03-01', 'done', 100, 50],
    ['2026-03-01', 'done', 100, 50],
    ['2026-03-02', 'done', 100, 50],
    ['2026-03-02', 'done', 100, 50],
    ['2026-03-03', 'failed', null, null],
    ['2026-03-03', 'failed', null, null],
  ]);
  expect(cells[4]!.error).toMatch(/are of class 3; training needs at least two classes/);
  const { rows, stability } = summarise(cells);
  expect(rows.map(({ window, accuracy }) => [window, accuracy?.n ?? 0])).toEqual([
    ['2026-03-01', 2],
    ['2026-03-02', 2],
    ['2026-03-03', 0],
  ]);
  expect(stability).toMatchObject([{ settings: {}, windows: 2, accuracy: { n: 2 } }]);

  // A new day: the same sweep grows by it, and the days before are not trained on again.
  await hub.pool.query(
    `update mnist set ingested_at = '2026-03-05 10:00Z' where id like 'train/%' and split_part(id, '/', 2)::int < 50`,
  );
  expect((await hub.sweep(asked)).counts).toEqual({ trained: 4, skipped: 2, failed: 2 });
  expect((await hub.cells()).slice(6).map(({ label, trainImages }) => [label, trainImages])).toEqual([
    ['2026-03-05', 50],
    ['2026-03-05', 50],
  ]);

  const growing = { ...asked, cumulative: true, where: ['known_label < 5', 'known_label >= 5'] };
  await hub.sweep({ ...growing, grid: QUICK });
  expect((await hub.cells()).map(({ label, trainImages }) => [label, trainImages])).toEqual([
    ['known_label < 5, up to 2026-03-01', 25],
    ['known_label < 5, up to 2026-03-02', 75],
    ['known_label < 5, up to 2026-03-03', 85],
    ['known_label < 5, up to 2026-03-05', 110],
    ['known_label >= 5, up to 2026-03-01', 25],
    ['known_label >= 5, up to 2026-03-02', 75],
    ['known_label >= 5, up to 2026-03-05', 100],
  ]);
});

test('an interrupted sweep keeps where its trainings stand, goes on there, and ends as if nothing had been', async () => {
  const grid = { ...QUICK, hidden: [[32]], epochs: [400], rotate: [10], seed: [1, 2] };
  await using hub = await sweepHub();
  const controller = new AbortController();
  const going = hub.sweep({ grid }, { signal: controller.signal });
  const steps = async () =>
    (
      await hub.pool.query<{ step: number }>(
        "select (position ->> 'step')::int as step from imagehub.checkpoints",
      )
    ).rows.map(({ step }) => step);
  const stand = async () => (await steps()).filter((step) => step > 0).length === 2;
  await Promise.race([going, waitFor('both have checkpoints', stand)]);
  controller.abort();
  await expect(going).rejects.toMatchObject({
    code: 'INTERRUPTED',
    hint: expect.stringContaining('job resume'),
  });
  expect((await hub.cells()).map(({ state }) => state)).toEqual(['waiting', 'waiting']);
  expect((await listRuns(hub.pool, 'mnist')).map(({ state }) => state)).toEqual(['cancelled', 'cancelled']);
  expect(await steps()).toHaveLength(2);

  expect((await hub.sweep({ grid })).counts).toEqual({ trained: 2 });
  expect(await listRuns(hub.pool, 'mnist')).toHaveLength(2);
  expect(await checkpoints(hub)).toBe(0);
  await using whole = await sweepHub();
  await whole.sweep({ grid });
  const networks = async ({ pool }: SweepHub) =>
    (
      await pool.query<{ sha: string }>(
        "select encode(sha256(onnx), 'hex') as sha from imagehub.sweep_cells order by cell",
      )
    ).rows;
  expect(await networks(hub)).toEqual(await networks(whole));
});

test('a sweep that goes on is not started twice; started anew it ends the job that was left, and with another class it is another sweep', async () => {
  await using hub = await sweepHub();
  // Far longer than the test.
  const asked = { grid: { ...QUICK, epochs: [100_000] } };
  const interrupted = { code: 'INTERRUPTED' };
  const begin = async () => {
    const controller = new AbortController();
    const going = hub.sweep(asked, { signal: controller.signal });
    const trains = async () =>
      (
        await hub.pool.query(
          `select from imagehub.sweep_cells join imagehub.checkpoints using (run_id)
            where sweep_id = (select max(id) from imagehub.sweeps) and state = 'running'
              and position ->> 'step' <> '0'`,
        )
      ).rowCount === 1;
    await Promise.race([going, waitFor('it trains', trains)]);
    return { going, controller };
  };
  const first = await begin();
  await expect(hub.sweep(asked)).rejects.toMatchObject({
    code: 'CONFLICT',
    message: 'Sweep 1 is being worked on already.',
    hint: 'Look on: imagehub job watch 1',
  });
  first.controller.abort();
  await expect(first.going).rejects.toMatchObject(interrupted);

  const second = await begin();
  expect(await getJob(hub.pool, 1)).toMatchObject({
    state: 'cancelled',
    error: 'Its sweep was started anew.',
  });
  second.controller.abort();
  await expect(second.going).rejects.toMatchObject(interrupted);
  expect(await listRuns(hub.pool, 'mnist')).toHaveLength(1);

  await hub.pool.query("insert into imagehub.classes (dataset, index, name) values ('mnist', 10, 'smudge')");
  await resumeJob(hub.desk, 2);
  expect(await hub.workOff(2)).toMatchObject({
    state: 'failed',
    error: expect.stringContaining('Classes were added to mnist since sweep 1 was started. Start it again'),
  });
  const third = await begin();
  expect(await hub.cells()).toMatchObject([{ state: 'running', run: 2, settings: { classes: 11 } }]);
  third.controller.abort();
  await expect(third.going).rejects.toMatchObject(interrupted);
});

test('a sweep for a GPU fails with the reason where onnxruntime cannot use one', async () => {
  await using hub = await sweepHub();
  const job = await hub.sweep({ grid: QUICK }, { device: 'cuda' });
  if (existsSync('/dev/nvidia0')) {
    expect(job).toMatchObject({ state: 'done', counts: { trained: 1 } });
    return;
  }
  expect(job).toMatchObject({
    state: 'failed',
    error: expect.stringContaining('onnxruntime cannot use a GPU here'),
  });
  expect((await hub.cells()).map(({ state }) => state)).toEqual(['waiting']);
});

describe('what cannot be done is refused before anything is trained', () => {
  test.each([
    ['a condition that is none', { where: ['id'] }, /--where id cannot be used/],
    ['a condition that writes', { testWhere: "nextval('imagehub.revision') > 0" }, /read-only transaction/],
    [
      'windows without images',
      { since: '2030-01-01T00:00:00.000Z', windows: 'day' as const },
      /no labelled images in mnist to train on/,
    ],
    ['no labelled image', { where: ['known_label is null'] }, /no labelled images in mnist to train on/],
  ])('%s', async (_, asked, message) => {
    await using hub = await sweepHub({ train: 20 });
    const attempt = hub.sweep({ grid: QUICK, ...asked });
    await expect(attempt).rejects.toThrow(message);
    await expect(attempt).rejects.toMatchObject({ code: 'USAGE' });
    expect(await listSweeps(hub.pool, 'mnist')).toEqual([]);
    expect((await hub.pool.query('select from mnist')).rowCount).toBe(20);
  });
});
