import { expect, test } from '@jest/globals';
import { reconcile } from '../../console/reconcile.ts';
import { loadConfig } from '../../config.ts';
import { createLogger } from '../../log.ts';
import { pruneDeletedImages } from '../../sql/deleted-images.ts';
import { digitsDataset, insertImage } from '../support/image-rows.ts';
import { freshDatabase } from '../support/servers.ts';

test('old deletions are forgotten, but stay counted: the books add up before and after', async () => {
  await using db = await freshDatabase();
  await digitsDataset(db.pool);
  const servers = { postgres: db.url, kafka: null, elasticsearch: null, kudu: null };
  const log = createLogger({ logLevel: 'silent', logFormat: 'json' });
  const books = () => reconcile({ pool: db.pool, servers, config: loadConfig({}), log }, 'mnist');
  for (const id of ['old', 'restored', 'young', 'stays']) await insertImage(db.pool, 'mnist', { id });
  await db.pool.query("delete from mnist where id <> 'stays'");
  await insertImage(db.pool, 'mnist', { id: 'restored' });
  await db.pool.query(
    "update imagehub.deleted_images set deleted_at = now() - interval '31 days' where id <> 'young'",
  );
  expect(await books()).toMatchObject({ consistent: true, rows: 2, deletions: 3 });

  expect(await pruneDeletedImages(db.pool, 30)).toBe(2);
  const { rows } = await db.pool.query('select id from imagehub.deleted_images');
  expect(rows).toEqual([{ id: 'young' }]);
  expect(await books()).toMatchObject({ consistent: true, rows: 2, deletions: 3 });
  expect(await pruneDeletedImages(db.pool, 30)).toBe(0);
});
