import { expect, test } from '@jest/globals';
import { promote, registerModel } from '../../classifier/registry.ts';
import { readModelBytes, resolveModel } from '../../sql/models.ts';
import { digitsDataset } from '../support/image-rows.ts';
import { LINEAR_MANIFEST, linearModel } from '../support/linear-model.ts';
import { freshDatabase } from '../support/servers.ts';

test('a model is named by its number or by what it is: live, previous, shadow', async () => {
  await using db = await freshDatabase();
  await digitsDataset(db.pool);
  const add = (seed: number) =>
    registerModel(db.pool, {
      dataset: 'mnist',
      onnx: linearModel(seed),
      manifest: LINEAR_MANIFEST,
      source: 'test',
    });
  const [first, second, third] = [await add(1), await add(2), await add(3)];
  const named = async (name: string | number) => (await resolveModel(db.pool, 'mnist', name)).model;
  for (const alias of ['live', 'previous', 'shadow'])
    await expect(named(alias)).rejects.toMatchObject({ code: 'NOT_FOUND' });
  await promote(db.pool, 'mnist', first);
  await promote(db.pool, 'mnist', second);
  await db.pool.query('update imagehub.datasets set shadow_model_id = $1', [third]);
  expect([await named('live'), await named('previous'), await named('shadow')]).toEqual([
    second,
    first,
    third,
  ]);
  expect([await named(String(first)), await named(third)]).toEqual([first, third]);
  for (const wrong of ['best', '', '0', '-1'])
    await expect(named(wrong)).rejects.toMatchObject({ code: 'USAGE' });

  await db.pool.query('update imagehub.models set onnx = null, deleted_at = now() where id = $1', [first]);
  for (const gone of ['previous', first])
    await expect(named(gone)).rejects.toMatchObject({ code: 'NOT_FOUND' });
  await expect(readModelBytes(db.pool, 'mnist', first)).rejects.toMatchObject({ code: 'NOT_FOUND' });
});
