import { expect, test } from '@jest/globals';
import { migrate } from '../../sql/migrate.ts';
import { digitsDataset, insertImage } from '../support/image-rows.ts';
import { freshDatabase } from '../support/servers.ts';

test('datasets that were there before get the columns of metadata, and the change feed has them', async () => {
  await using db = await freshDatabase();
  await digitsDataset(db.pool);
  await insertImage(db.pool, 'mnist', { id: 'before' });
  // As it was before the migration.
  await db.pool.query(`
    alter publication imagehub_changes set table public.images (dataset, id, revision),
      imagehub.deleted_images (dataset, id, deleted_at, restored_at, revision), imagehub.classes;
    alter table public.images drop column colour_space cascade, drop column brightness cascade, drop column blank cascade,
      drop column over_exposed cascade, drop column dominant_colours cascade, drop column captured_offset cascade,
      drop column altitude cascade, drop column lens cascade, drop column aperture cascade,
      drop column exposure_time cascade, drop column iso cascade, drop column focal_length cascade;
    delete from imagehub.migrations where name in ('0019_metadata.sql') or name like 'views %'`);
  const file = () =>
    db.pool
      .query<{ node: number }>("select pg_relation_filenode('public.mnist') as node")
      .then(({ rows }) => rows[0]);
  const before = await file();

  expect(await migrate(db.pool)).toEqual(['0019_metadata.sql', 'views']);
  expect(await file()).toEqual(before); // no row was written again
  await insertImage(db.pool, 'mnist', { id: 'after', lens: 'EF 50mm', dominant_colours: ['#ffffff'] });
  const { rows } = await db.pool.query(
    "select id, lens, dominant_colours, blank from public.image_predictions where dataset = 'mnist' order by id",
  );
  expect(rows).toEqual([
    { id: 'after', lens: 'EF 50mm', dominant_colours: ['#ffffff'], blank: null },
    { id: 'before', lens: null, dominant_colours: null, blank: null },
  ]);
  const published = await db.pool.query<{ table: string; columns: number }>(
    `select tablename as table, cardinality(attnames) as columns from pg_publication_tables
     where pubname = 'imagehub_changes' order by tablename`,
  );
  expect(published.rows).toEqual([
    { table: 'classes', columns: 3 },
    { table: 'deleted_images', columns: 5 },
    { table: 'images', columns: expect.any(Number) },
  ]);
});
