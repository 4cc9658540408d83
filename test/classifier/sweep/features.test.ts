import { expect, test } from '@jest/globals';
import { addBackbone } from '../../../classifier/features/add-backbone.ts';
import { featureRequest, FEATURES } from '../../../classifier/features/features-job.ts';
import { Classifier } from '../../../classifier/inference.ts';
import { parseManifest } from '../../../classifier/manifest.ts';
import { promoteCell } from '../../../classifier/sweep/promote-cell.ts';
import { sweepSpec } from '../../../classifier/sweep/spec.ts';
import { trainDataset } from '../../../classifier/train-dataset.ts';
import { decode } from '../../../images/decode.ts';
import { startJob } from '../../../jobs/start.ts';
import { deleteBackbone } from '../../../sql/backbones.ts';
import { getModel, readModelBytes } from '../../../sql/models.ts';
import { readNetwork } from '../../../sql/sweeps.ts';
import { featureGraph } from '../../support/feature-hub.ts';
import { TEN } from '../../support/pipeline.ts';
import { type SweepHub, sweepHub } from '../../support/sweep-hub.ts';
import { temporaryFolder } from '../../support/temporary-folder.ts';
import { POSTGRES_STORES } from '../../support/stores.ts';

const TEST = `id like 'test/%'`;

/** Adds `featureGraph` of a seed as backbone `noise`. */
async function backbone({ pool }: SweepHub, seed: number): Promise<void> {
  await using folder = await temporaryFolder();
  const file = await folder.write('backbone.onnx', featureGraph(seed));
  const options = { scale: 'unit', colour: 'grey' };
  await addBackbone(pool, { name: 'noise', file, options, precision: 'float32' });
}

async function compute(hub: SweepHub, where: string | null = null): Promise<void> {
  const request = await featureRequest(hub.desk, {
    dataset: 'mnist',
    backbone: 'noise',
    selection: { where },
  });
  await hub.workOff((await startJob(hub.desk, FEATURES, request)).job);
}

/** Share of the test images that a model reads as they are labelled. */
async function accuracyOf({ pool }: SweepHub, model: number): Promise<number> {
  const { manifest } = await getModel(pool, 'mnist', model);
  const classifier = await Classifier.load(
    await readModelBytes(pool, 'mnist', model),
    parseManifest(manifest),
    TEN,
  );
  const { rows } = await pool.query<{ png: string; label: number }>(
    `select image_base64 as png, known_label as label from mnist where ${TEST}`,
  );
  const images = await Promise.all(
    rows.map(async ({ png }) => decode(Buffer.from(png, 'base64'), { maxPixels: 1e6 })),
  );
  const { prediction } = await classifier.classify(images);
  await classifier.release();
  return rows.filter(({ label }, index) => prediction[index] === label).length / rows.length;
}

test('heads of a backbone are swept and kept without it, and the promoted one is a model with it', async () => {
  await using hub = await sweepHub({ train: 300, test: 100 });
  await backbone(hub, 1);
  await compute(hub);
  const asked = {
    backbone: 'noise',
    grid: { hidden: [[], [16]], epochs: [8], rate: [0.05], seed: [1, 2] },
    testWhere: TEST,
    keep: 1,
  };
  expect(await hub.sweep(asked)).toMatchObject({ state: 'done', counts: { trained: 4 } });
  const cells = await hub.cells();
  expect(cells[0]).toMatchObject({
    trainImages: 300,
    testImages: 100,
    settings: { backbone: { name: 'noise' }, options: { l2: 0.03, momentum: 0.9 } },
  });
  const best = cells.find(({ stored }) => stored)!;
  // By chance it would be 0.1.
  expect(best.accuracy).toBeGreaterThan(0.4);
  expect((await readNetwork(hub.pool, best.sweep, best.cell))!.length).toBeLessThan(20_000);

  const promoted = await promoteCell(hub.desk, 'mnist', best.sweep);
  expect(promoted).toMatchObject({ cell: best.cell, rebuilt: false });
  expect(await getModel(hub.pool, 'mnist', promoted.model)).toMatchObject({
    live: true,
    manifest: { backbone: { name: 'noise' }, output: { activation: 'softmax' } },
  });
  expect(await accuracyOf(hub, promoted.model)).toBeCloseTo(best.accuracy!, 2);
  const other = cells.find(({ stored }) => !stored)!;
  const rebuilt = await promoteCell(hub.desk, 'mnist', other.sweep, { cell: other.cell, registerOnly: true });
  expect(rebuilt).toMatchObject({ rebuilt: true });
  expect(rebuilt.accuracy).toBeCloseTo(other.accuracy!, 2);
  expect(await accuracyOf(hub, rebuilt.model)).toBeCloseTo(other.accuracy!, 2);

  // As training by itself with the same settings does.
  const options = { ...(other.settings.options as object) };
  const { shift: _, scale: __, ...rest } = options as Record<string, unknown>;
  for (const name of ['rotate', 'zoom', 'shear', 'elastic', 'elasticSigma']) delete rest[name];
  const trained = await trainDataset({ pool: hub.pool, stores: POSTGRES_STORES, maxPixels: 1e6 }, 'mnist', {
    backbone: 'noise',
    where: `not ${TEST}`,
    options: rest,
  });
  expect(await accuracyOf(hub, trained.model)).toBeCloseTo(other.accuracy!, 2);
  expect(await hub.sweep(asked)).toMatchObject({ counts: { skipped: 4 } });
});

test('a sweep over features that are missing is refused with what to run; with a limit its cells say it', async () => {
  await using hub = await sweepHub({ train: 60 });
  const asked = { backbone: 'noise', grid: { epochs: [1] } };
  await expect(hub.sweep(asked)).rejects.toMatchObject({ code: 'NOT_FOUND' });
  await backbone(hub, 1);
  await compute(hub, `id <> 'train/5'`);
  const missing = {
    code: 'USAGE',
    message: '1 of the labelled images in mnist have no features by noise.',
    hint: expect.stringMatching(/imagehub features mnist --backbone noise/) as unknown,
  };
  await expect(hub.sweep(asked)).rejects.toMatchObject(missing);
  await expect(hub.sweep({ ...asked, testWhere: `id = 'train/5'` })).rejects.toMatchObject({
    message: expect.stringMatching(/\(id = 'train\/5'\) have no features/) as unknown,
  });
  expect(await hub.sweep({ ...asked, limit: 60 })).toMatchObject({ counts: { failed: 1 } });
  expect((await hub.cells())[0]).toMatchObject({
    state: 'failed',
    error: expect.stringMatching(/have no features by noise.*imagehub features/) as unknown,
  });
  expect(await hub.sweep({ ...asked, where: [`id <> 'train/5'`] })).toMatchObject({ counts: { trained: 1 } });
});

test('another backbone of the same name is another: cells are trained anew, and a head gets no other body', async () => {
  await using hub = await sweepHub({ train: 60 });
  await backbone(hub, 1);
  await compute(hub);
  const asked = { backbone: 'noise', grid: { epochs: [1] } };
  await hub.sweep(asked);
  const [first] = await hub.cells();
  await deleteBackbone(hub.pool, 'noise');
  await backbone(hub, 2);
  await expect(promoteCell(hub.desk, 'mnist', first!.sweep)).rejects.toMatchObject({
    code: 'CONFLICT',
    message: 'Backbone noise is another network now than when the sweep began.',
  });
  await compute(hub);
  expect(await hub.sweep(asked)).toMatchObject({ counts: { trained: 1 } });
});

test('settings about pixels do not go with a backbone', () => {
  for (const asked of [
    { grid: { shift: [1] } },
    { grid: { scale: ['unit'] } },
    { size: '8x8' },
    { threshold: 3 },
  ]) {
    expect(() => sweepSpec({ backbone: 'noise', ...asked })).toThrow(/for training on pixels/);
  }
});

test('a sample is a part of what is trained on, drawn by the seed; what is measured on stays whole', async () => {
  await using hub = await sweepHub({ train: 200, test: 40 });
  const sample = { share: 0.25, byClass: true };
  const grid = { hidden: [[8]], epochs: [1], batch: [16], seed: [1, 2] };
  expect(await hub.sweep({ grid, sample, testWhere: TEST })).toMatchObject({ counts: { trained: 2 } });
  const cells = await hub.cells();
  for (const cell of cells)
    expect(cell).toMatchObject({ trainImages: 50, testImages: 40, settings: { sample } });
  const { rows } = await hub.pool.query<{ run_id: number; id: string; known: number }>(
    `select r.id as run_id, t.id, t.label as known from imagehub.runs r
       join imagehub.training_set_images t using (training_set_id) where r.kind = 'sweep'`,
  );
  const [one, two] = cells.map(({ run }) => rows.filter(({ run_id }) => run_id === run));
  expect(new Set(one!.map(({ id }) => id))).not.toEqual(new Set(two!.map(({ id }) => id)));
  for (const label of TEN.keys()) {
    for (const drawn of [one!, two!]) expect(drawn.filter(({ known }) => known === label)).toHaveLength(5);
  }
  // More of them is another sweep, and all of them another still.
  expect(await hub.sweep({ grid, sample: { ...sample, share: 0.5 }, testWhere: TEST })).toMatchObject({
    counts: { trained: 2 },
  });
});
