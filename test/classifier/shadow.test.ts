import { describe, expect, test } from '@jest/globals';
import { Classifier } from '../../classifier/inference.ts';
import { promote, registerModel, rollback } from '../../classifier/registry.ts';
import { setShadow, showShadow, unsetShadow } from '../../classifier/shadow.ts';
import type { HubPool } from '../../sql/database.ts';
import { createDataset, dropDataset, getDataset, readDatasetVersion } from '../../sql/datasets.ts';
import { insertModel } from '../../sql/models.ts';
import { constantModel } from '../support/constant-model.ts';
import { digitPixels } from '../support/digits.ts';
import { digitsDataset } from '../support/image-rows.ts';
import { LINEAR_MANIFEST, linearModel } from '../support/linear-model.ts';
import { CLASSIC_MANIFEST, TEN } from '../support/pipeline.ts';
import { freshDatabase } from '../support/servers.ts';
import { POSTGRES_STORES } from '../support/stores.ts';

const register = (pool: HubPool, digit: number, dataset = 'mnist') =>
  registerModel(pool, {
    dataset,
    onnx: constantModel(digit),
    manifest: CLASSIC_MANIFEST,
    source: `always ${digit}`,
  });

const shadowOf = async (pool: HubPool) => (await getDataset(pool, 'mnist')).shadowModelId;

const history = async (pool: HubPool) =>
  (
    await pool.query<{ model: number; ended: boolean }>(
      'select model_id as model, ended_at is not null as ended from imagehub.shadows order by shadow_no',
    )
  ).rows;

/** A dataset with three models, the first of them live. */
async function scene() {
  const db = await freshDatabase();
  await digitsDataset(db.pool);
  const models = [
    await register(db.pool, 1),
    await register(db.pool, 2),
    await register(db.pool, 3),
  ] as const;
  await promote(db.pool, 'mnist', models[0]);
  return {
    pool: db.pool,
    live: models[0],
    candidate: models[1],
    other: models[2],
    [Symbol.asyncDispose]: () => db[Symbol.asyncDispose](),
  };
}

describe('a shadow', () => {
  test('is set, replaced by another one and unset, with a record; batches in flight notice each time', async () => {
    await using hub = await scene();
    const { pool, candidate, other } = hub;
    const versions = new Set([await readDatasetVersion(pool, 'mnist')]);
    expect(await setShadow(pool, 'mnist', candidate)).toEqual({
      dataset: 'mnist',
      model: candidate,
      before: null,
      changed: true,
    });
    versions.add(await readDatasetVersion(pool, 'mnist'));
    expect(await setShadow(pool, 'mnist', candidate)).toMatchObject({ changed: false });
    expect(await setShadow(pool, 'mnist', String(other))).toMatchObject({ model: other, before: candidate });
    versions.add(await readDatasetVersion(pool, 'mnist'));
    expect(versions.size).toBe(3);
    expect(await unsetShadow(pool, 'mnist')).toEqual({
      dataset: 'mnist',
      model: null,
      before: other,
      changed: true,
    });
    expect(await unsetShadow(pool, 'mnist')).toMatchObject({ changed: false });
    expect(versions).toContain(await readDatasetVersion(pool, 'mnist'));
    expect(await history(pool)).toEqual([
      { model: candidate, ended: true },
      { model: other, ended: true },
    ]);
    expect(await showShadow({ pool, stores: POSTGRES_STORES }, 'mnist')).toMatchObject({
      model: null,
      predicted: 0,
    });
  });

  test('that goes live is none any more, and what was live may become one', async () => {
    await using hub = await scene();
    const { pool, live, candidate } = hub;
    await setShadow(pool, 'mnist', candidate);
    await promote(pool, 'mnist', candidate);
    expect(await shadowOf(pool)).toBeNull();
    expect(await setShadow(pool, 'mnist', 'previous')).toMatchObject({ model: live });
    await rollback(pool, 'mnist');
    expect(await shadowOf(pool)).toBeNull();
    expect(await history(pool)).toEqual([
      { model: candidate, ended: true },
      { model: live, ended: true },
    ]);
  });

  test('stays when another model goes live', async () => {
    await using hub = await scene();
    await setShadow(hub.pool, 'mnist', hub.candidate);
    await promote(hub.pool, 'mnist', hub.other);
    expect(await shadowOf(hub.pool)).toBe(hub.candidate);
  });

  test('cannot be the live model, by SQL neither', async () => {
    await using hub = await scene();
    const { pool, live } = hub;
    await expect(setShadow(pool, 'mnist', live)).rejects.toMatchObject({
      code: 'USAGE',
      message: `Model ${live} is live in mnist: it cannot be its own shadow.`,
    });
    await expect(pool.query('update imagehub.datasets set shadow_model_id = $1', [live])).rejects.toThrow(
      'cannot be its own shadow',
    );
    expect(await shadowOf(pool)).toBeNull();
  });

  test('is loaded, checked and run first; one that fails, was deleted or is another dataset’s is refused, and the old one stays', async () => {
    await using hub = await scene();
    const { pool, live, candidate, other } = hub;
    await createDataset(pool, { name: 'digits', classes: TEN });
    const foreign = await register(pool, 5, 'digits');
    await setShadow(pool, 'mnist', candidate);
    const damaged = await insertModel(pool, {
      dataset: 'mnist',
      onnx: Buffer.from('not ONNX'),
      manifest: CLASSIC_MANIFEST,
      source: 'by hand',
    });
    await expect(setShadow(pool, 'mnist', damaged)).rejects.toMatchObject({
      code: 'BAD_MODEL',
      message: expect.stringContaining(
        `Model ${damaged} cannot be the shadow of mnist; model ${live} stays live, model ${candidate} stays its shadow.`,
      ),
    });
    const strange = await insertModel(pool, {
      dataset: 'mnist',
      onnx: constantModel(1),
      manifest: { ...CLASSIC_MANIFEST, classes: [...'abcdefghij'] },
      source: 'by hand',
    });
    await expect(setShadow(pool, 'mnist', strange)).rejects.toThrow('classes that the dataset does not have');
    await expect(setShadow(pool, 'mnist', foreign)).rejects.toThrow(`belongs to dataset digits`);
    await expect(setShadow(pool, 'mnist', 'newest')).rejects.toMatchObject({ code: 'USAGE' });
    await pool.query(
      `update imagehub.models set onnx = null, deleted_at = now(), deleted_by = 'me' where id = $1`,
      [other],
    );
    await expect(setShadow(pool, 'mnist', other)).rejects.toMatchObject({ code: 'NOT_FOUND' });
    await expect(
      pool.query('update imagehub.datasets set shadow_model_id = $1 where name = $2', [other, 'mnist']),
    ).rejects.toThrow('was deleted');
    expect(await shadowOf(pool)).toBe(candidate);
  });

  test('that is deleted is none any more', async () => {
    await using hub = await scene();
    await setShadow(hub.pool, 'mnist', hub.candidate);
    await hub.pool.query(
      `update imagehub.models set onnx = null, deleted_at = now(), deleted_by = 'me' where id = $1`,
      [hub.candidate],
    );
    expect(await shadowOf(hub.pool)).toBeNull();
  });

  test('leaves nothing behind when its dataset is dropped', async () => {
    await using hub = await scene();
    await setShadow(hub.pool, 'mnist', hub.candidate);
    const partitions = async () =>
      (await hub.pool.query(`select from pg_class where relname = 'predictions_${hub.candidate}'`)).rowCount;
    expect(await partitions()).toBe(1);
    await dropDataset(hub.pool, 'mnist');
    expect(await partitions()).toBe(0);
    expect(await history(hub.pool)).toEqual([]);
  });
});

test('two models that share their input say what each says alone, whatever the batch size', async () => {
  const load = (seed: number, scaling: 'none' | 'unit') =>
    Classifier.load(
      linearModel(seed),
      { ...LINEAR_MANIFEST, input: { ...LINEAR_MANIFEST.input, scaling: { kind: scaling } } },
      TEN,
    );
  const live = await load(1, 'none');
  const images = Array.from({ length: 700 }, (_, n) => ({
    width: 28,
    height: 28,
    channels: 1,
    data: digitPixels(n % 10, n),
  }));
  // One that cannot be preprocessed fails for both.
  images[600] = { width: 28, height: 28, channels: 1, data: new Uint8Array(3) };
  for (const scaling of ['none', 'unit'] as const) {
    const candidate = await load(2, scaling);
    const [first, second] = await live.classifyEachWith(candidate, images);
    expect(first.prediction).toEqual((await live.classifyEach(images)).prediction);
    const alone = await candidate.classifyEach(images);
    expect(second.prediction).toEqual(alone.prediction);
    expect(second.scores).toEqual(alone.scores);
    expect([...first.errors.keys()]).toEqual([600]);
    expect([...second.errors.keys()]).toEqual([600]);
    await candidate.release();
  }
  await live.release();
});
