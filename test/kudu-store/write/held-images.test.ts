import { expect, test } from '@jest/globals';
import { findSimilar } from '../../../classifier/neighbours/similar.ts';
import { digits } from '../../image-store/support/apply-dataset.ts';
import { storeHub } from '../../image-store/support/store-hub.ts';
import { featureJobs } from '../../support/feature-jobs.ts';

const hub = storeHub('kudu', { workers: 2 });

/** As if whoever deletes them died before it told Kudu. @param revision 0: the image was written after it */
const deleted = (dataset: string, id: string, revision = "nextval('imagehub.revision')") =>
  hub.pool.query(
    `insert into imagehub.deleted_images (dataset, id, in_kudu, revision) values ($1, $2, true, ${revision})`,
    [dataset, id],
  );

test('an image whose deletion is still to be carried out in Kudu gets no features, and those it has count for nothing', async () => {
  await using it = await hub.dataset();
  await using jobs = await featureJobs(hub, it.name);
  const { id } = await jobs.backbone('noise', 1);
  await it.deliver(digits(5));
  await jobs.computeAround('noise', async () => {
    await deleted(it.name, 'd/2');
    await deleted(it.name, 'd/3', '0');
  });
  const { rows } = await hub.pool.query(
    'select id from imagehub.features where backbone_id = $1 order by id',
    [id],
  );
  expect(rows.map((row) => row.id as string)).toEqual(['d/0', 'd/1', 'd/3', 'd/4']);
  const ask = () => findSimilar(hub, it.name, { to: { id: 'd/0' }, limit: 5 });
  expect(await ask()).toMatchObject({ compared: 3, missing: 0 });
  await deleted(it.name, 'd/4');
  expect(await ask()).toMatchObject({ compared: 2, missing: 0 });
});
