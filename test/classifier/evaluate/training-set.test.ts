import { expect, test } from '@jest/globals';
import { trainDataset, type TrainingRequest } from '../../../classifier/train-dataset.ts';
import type { HubPool } from '../../../sql/database.ts';
import { dropDataset } from '../../../sql/datasets.ts';
import { listRuns } from '../../../sql/runs.ts';
import { insertDigits } from '../../support/digit-rows.ts';
import { digitsDataset, insertImage } from '../../support/image-rows.ts';
import { freshDatabase } from '../../support/servers.ts';
import { POSTGRES_STORES } from '../../support/stores.ts';
import { QUICK as SWEPT, sweepHub } from '../../support/sweep-hub.ts';

const QUICK = { hidden: [16], epochs: 1 };

const train = (pool: HubPool, request: TrainingRequest = {}) =>
  trainDataset({ pool, stores: POSTGRES_STORES, maxPixels: 1e6 }, 'mnist', {
    ...request,
    options: { ...QUICK, ...request.options },
  });

interface RunImage {
  id: string;
  label: number;
  class: string;
  held_out: boolean;
  same: boolean;
}

async function runImages(pool: HubPool, run: number): Promise<RunImage[]> {
  const { rows } = await pool.query<RunImage>(
    `select r.id, r.label, r.class, r.held_out, r.image_sha256 = sha256(decode(i.image_base64, 'base64')) as same
     from run_images r join mnist i using (id) where r.run = $1 order by r.id`,
    [run],
  );
  return rows;
}

const counted = async (pool: HubPool, table: string): Promise<number> =>
  (await pool.query<{ n: number }>(`select count(*) as n from imagehub.${table}`)).rows[0]!.n;

test('a training records every row it read with the label it had, and which were held out for validation', async () => {
  await using db = await freshDatabase();
  await digitsDataset(db.pool);
  await insertDigits(db.pool, 'mnist', { folder: 'd', from: 0, count: 200 });
  await insertDigits(db.pool, 'mnist', { folder: 'unlabelled', from: 0, count: 5, labelled: false });
  await insertImage(db.pool, 'mnist', { id: 'broken', image_base64: 'AAAA', known_label: 3 });
  const { run, metrics } = await train(db.pool, { options: { validationSplit: 0.2 } });
  await db.pool.query('update mnist set known_label = 9');

  const images = await runImages(db.pool, run);
  expect(images).toHaveLength(200);
  expect(images.every(({ id, label, same }) => same && label === Number(id.slice(2)) % 10)).toBe(true);
  expect(images.every(({ label, class: name }) => name === `${label}`)).toBe(true);
  expect(images.filter(({ held_out }) => held_out)).toHaveLength(metrics.validationImages);
  expect(metrics.validationImages).toBe(40);
});

test('rows held out are those that the validation figures are about', async () => {
  await using db = await freshDatabase();
  await digitsDataset(db.pool);
  await insertDigits(db.pool, 'mnist', { folder: 'd', from: 0, count: 100 });
  const { run, metrics } = await train(db.pool, { options: { validationSplit: 0.3, seed: 4 } });
  const held = (await runImages(db.pool, run)).filter(({ held_out }) => held_out);
  const support = metrics.validation!.perClass.map((each) => each.support);
  expect(support).toEqual(support.map((_, digit) => held.filter(({ label }) => label === digit).length));
  expect(new Set(support).size).toBeGreaterThan(1);
});

test('runs that read the same rows share them, also when they come at the same time', async () => {
  await using db = await freshDatabase();
  await digitsDataset(db.pool);
  await insertDigits(db.pool, 'mnist', { folder: 'd', from: 0, count: 100 });
  const seeds = [1, 2, 3, 4];
  const runs = await Promise.all(seeds.map((seed) => train(db.pool, { options: { seed } })));
  expect([await counted(db.pool, 'training_sets'), await counted(db.pool, 'training_set_images')]).toEqual([
    1, 100,
  ]);
  const [first, second] = await Promise.all(runs.map(({ run }) => runImages(db.pool, run)));
  expect(first!.map(({ held_out }) => held_out)).not.toEqual(second!.map(({ held_out }) => held_out));

  await db.pool.query("update mnist set known_label = 5 where id = 'd/0'");
  const { run } = await train(db.pool);
  expect((await runImages(db.pool, run))[0]).toMatchObject({ id: 'd/0', label: 5 });
  expect((await runImages(db.pool, runs[0]!.run))[0]).toMatchObject({ id: 'd/0', label: 0 });
  expect(await counted(db.pool, 'training_set_images')).toBe(200);
});

test('a training that fails later has its rows on record', async () => {
  await using db = await freshDatabase();
  await digitsDataset(db.pool);
  await insertDigits(db.pool, 'mnist', { folder: 'd', from: 0, count: 200 });
  await expect(train(db.pool, { options: { rate: 1e30, epochs: 3 } })).rejects.toThrow(/diverged/);
  const [latest] = await listRuns(db.pool, 'mnist');
  const { run, state } = latest!;
  expect(state).toBe('failed');
  const images = await runImages(db.pool, run);
  expect(images).toHaveLength(200);
  expect(images.filter(({ held_out }) => held_out)).toHaveLength(10);
});

test('the trainings of a sweep share the rows that they read; those that measure them are not among them', async () => {
  await using hub = await sweepHub({ train: 200, test: 50 });
  await hub.sweep({ grid: { ...SWEPT, seed: [1, 2] }, testWhere: "id like 'test/%'" });
  await hub.sweep({ grid: { ...SWEPT, seed: [3] } });
  const [first, second, validated] = await Promise.all(
    (await listRuns(hub.pool, 'mnist')).reverse().map(({ run }) => runImages(hub.pool, run)),
  );
  expect(first).toHaveLength(200);
  expect(first!.every(({ id, held_out }) => id.startsWith('train/') && !held_out)).toBe(true);
  expect(second).toEqual(first);
  expect(validated).toHaveLength(250);
  expect(validated!.filter(({ held_out }) => held_out).length).toBeGreaterThan(0);
  expect(await counted(hub.pool, 'training_sets')).toBe(2);
});

test('a dataset is dropped with its training sets', async () => {
  await using db = await freshDatabase();
  await digitsDataset(db.pool);
  await insertDigits(db.pool, 'mnist', { folder: 'd', from: 0, count: 100 });
  await train(db.pool);
  await dropDataset(db.pool, 'mnist');
  expect([await counted(db.pool, 'training_sets'), await counted(db.pool, 'training_set_images')]).toEqual([
    0, 0,
  ]);
});
