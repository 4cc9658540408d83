import { expect, test } from '@jest/globals';
import { imageParts, partRows } from '../../../classifier/stored/image-parts.ts';
import { RowReader } from '../../../sql/binary-rows.ts';
import { keepSelection, selectionSql } from '../../../sql/selection.ts';
import { postgresImages } from '../../../sql/postgres-images.ts';
import { insertDigits } from '../../support/digit-rows.ts';
import { digitsDataset } from '../../support/image-rows.ts';
import { freshDatabase } from '../../support/servers.ts';
import { POSTGRES_STORES } from '../../support/stores.ts';

test('the parts of a job are of one sample by class, though what it was drawn from changes on the way', async () => {
  await using db = await freshDatabase();
  const { pool } = db;
  await digitsDataset(pool);
  await insertDigits(pool, 'mnist', { folder: 'd', from: 0, count: 200 });
  await pool.query(`update mnist set known_label = null where id in ('d/3', 'd/13')`);
  const selection = { where: 'prediction = -1', sample: { share: 0.5, seed: 7, byClass: true } };
  const { rows: drawn } = await pool.query<{ id: string }>(
    `select i.id from ${selectionSql('mnist', selection)} order by i.id`,
  );
  const parameters = keepSelection(selection);
  const parts = await imageParts(
    { pool, stores: POSTGRES_STORES },
    { dataset: 'mnist', kind: 'any', parameters },
    { most: 20 },
  );
  expect(parts.map(({ units }) => units)).toEqual([20, 20, 20, 20, 20]);
  const read: string[] = [];
  for (const { what } of parts) {
    const rows = postgresImages.rows(
      pool,
      { dataset: 'mnist', columns: ['id'], ...partRows(parameters, what) },
      { rows: 1000, bytes: 1e6 },
    );
    const ids: string[] = [];
    for await (const { bytes } of rows) {
      const reader = new RowReader(bytes);
      while (reader.next()) ids.push(reader.text()!);
    }
    // As a job does with them, and others come meanwhile.
    await pool.query('update mnist set prediction = 1 where id = any($1)', [ids]);
    read.push(...ids);
  }
  expect(read.sort()).toEqual(drawn.map(({ id }) => id).sort());

  await pool.query('delete from mnist');
  expect(
    await imageParts({ pool, stores: POSTGRES_STORES }, { dataset: 'mnist', kind: 'any', parameters }, {}),
  ).toEqual([]);
});
