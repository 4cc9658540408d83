import { expect, test } from '@jest/globals';
import { sweepFeatures } from '../../sql/features.ts';
import { featureHub } from '../support/feature-hub.ts';
import { untilSomebodyWaits, withSessions } from '../support/sessions.ts';

test('where images are elsewhere, features of deleted ones go, but not those of one that comes back meanwhile', async () => {
  await using hub = await featureHub(0);
  const { pool } = hub;
  const backbone = (await hub.backbone('noise', 1)).id;
  const far = { name: 'far', store: 'kudu' } as const;
  await pool.query(
    `insert into imagehub.features (backbone_id, dataset, id, vector)
     select $1, 'far', unnest(array['a', 'b', 'c', 'd']), '\\x00'`,
    [backbone],
  );
  await pool.query(
    `insert into imagehub.deleted_images (dataset, id, restored_at)
     values ('far', 'a', null), ('far', 'b', null), ('far', 'c', now()), ('near', 'd', null)`,
  );
  await withSessions(pool, 1, async (ingest) => {
    await ingest!.query(`begin; update imagehub.deleted_images set restored_at = now() where id = 'b'`);
    const sweeping = sweepFeatures(pool, backbone, far);
    await untilSomebodyWaits(pool);
    await ingest!.query(`update imagehub.features set vector = '\\x01' where id = 'b'; commit`);
    expect(await sweeping).toBe(1);
  });
  const { rows } = await pool.query('select id from imagehub.features order by id');
  expect(rows.map((row) => row.id as string)).toEqual(['b', 'c', 'd']);
});
