import { expect, test } from '@jest/globals';
import pino from 'pino';
import { measureImpact } from '../../../classifier/impact/impact.ts';
import { promote, registerModel } from '../../../classifier/registry.ts';
import { trainDataset } from '../../../classifier/train-dataset.ts';
import { constantModel } from '../../support/constant-model.ts';
import { digitPng } from '../../support/digits.ts';
import { insertDigits } from '../../support/digit-rows.ts';
import { digitsDataset } from '../../support/image-rows.ts';
import { CLASSIC_MANIFEST } from '../../support/pipeline.ts';
import { freshDatabase } from '../../support/servers.ts';
import { POSTGRES_STORES } from '../../support/stores.ts';

test('images that the candidate was trained on are counted apart, unless they were held out or replaced since', async () => {
  await using db = await freshDatabase();
  const { pool } = db;
  await digitsDataset(pool);
  await insertDigits(pool, 'mnist', { folder: 'train', from: 0, count: 100 });
  await insertDigits(pool, 'mnist', { folder: 'test', from: 100, count: 50 });
  const hash = "update mnist set sha256 = sha256(decode(image_base64, 'base64'))";
  // Half of them have no hash, as rows that somebody inserted.
  await pool.query(`${hash} where right(id, 1) in ('0', '2', '4', '6', '8')`);
  const { model: candidate } = await trainDataset(
    { pool, stores: POSTGRES_STORES, maxPixels: 1e6 },
    'mnist',
    {
      where: "id like 'train/%'",
      options: { hidden: [16], epochs: 5, validationSplit: 0.2 },
    },
  );
  const onnx = constantModel(1);
  const source = 'always 1';
  await promote(
    pool,
    'mnist',
    await registerModel(pool, { dataset: 'mnist', onnx, manifest: CLASSIC_MANIFEST, source }),
  );
  const { rows } = await pool.query<{ id: string }>(
    'select id from run_images where not held_out order by id limit 3',
  );
  for (const { id } of rows) {
    await pool.query(`update mnist set image_base64 = $2, known_label = 4, sha256 = null where id = $1`, [
      id,
      digitPng(4, 999).toString('base64'),
    ]);
  }
  await pool.query(`${hash} where id = $1`, [rows[0]!.id]);

  const context = {
    pool,
    stores: POSTGRES_STORES,
    workers: 2,
    maxPixels: 1e6,
    decodeTimeoutMs: 30_000,
    log: pino({ level: 'silent' }),
  };
  const report = await measureImpact(context, 'mnist', { candidate, keepAll: true });
  expect(report).toMatchObject({ images: 150, trainingKnown: true, inTraining: { images: 80 - 3 } });
  expect(report.accuracy.images).toBe(150);
  expect(report.accuracyOutsideTraining.images).toBe(150 - 77);
  const { rows: marked } = await pool.query<{ id: string }>(
    'select id from impact_changes where in_training order by id',
  );
  const { rows: trained } = await pool.query<{ id: string }>(
    'select id from run_images where not held_out and not id = any($1) order by id',
    [rows.map(({ id }) => id)],
  );
  expect(marked).toEqual(trained);
});
