import { expect, test } from '@jest/globals';
import { registerModel } from '../../classifier/registry.ts';
import { setShadow, showShadow, unsetShadow } from '../../classifier/shadow.ts';
import { encodeGreyPng } from '../../images/png.ts';
import { wronglyPredicted } from '../support/apply-jobs.ts';
import { digitPng } from '../support/digits.ts';
import { LINEAR_MANIFEST } from '../support/linear-model.ts';
import { pickyModel } from '../support/picky-model.ts';
import { applyDataset, digits } from './support/apply-dataset.ts';
import { describeEachStore } from './support/each-store.ts';
import { storeHub } from './support/store-hub.ts';

const IMAGES = 30;
const WHITE = encodeGreyPng(new Uint8Array(784).fill(255), 28, 28);

describeEachStore('a shadow', (store) => {
  const hub = storeHub(store);

  test('predicts the images that become rows, as they are now, and is compared with the live model', async () => {
    await using it = await applyDataset(hub);
    const { pool } = hub;
    const [live, candidate] = [await it.model(1), await it.model(2)];
    await it.goLive(live);
    await it.deliver(digits(5));
    expect(await showShadow(hub, it.name)).toMatchObject({ model: null, predicted: 0 });
    expect(await setShadow(pool, it.name, candidate)).toMatchObject({ model: candidate, changed: true });
    await it.deliver([
      // Known images among new ones.
      ...digits(IMAGES),
      { key: 'bad', value: Buffer.from('no image') },
      { key: 'gone', value: digitPng(2, 2) },
      { key: 'gone', value: null },
    ]);
    await it.deliver([{ key: 'd/7', value: digitPng(1, 200) }]);
    // Older than what is there.
    await it.deliver([{ key: 'd/8', value: digitPng(1, 300), partition: 1, timestamp: 1 }]);

    const rows = await it.byId();
    expect([...rows.keys()]).toHaveLength(IMAGES);
    const kept = await it.kept();
    expect(kept).toEqual(
      [...rows.keys()].map((id) => {
        return {
          model: candidate,
          id,
          prediction: expect.any(Number),
          source: 'shadow',
          scores: 10,
          sound: true,
        };
      }),
    );
    const said = kept.map(({ id, prediction }) => {
      return { id, prediction, image_base64: rows.get(id)!.image_base64 };
    });
    expect(await wronglyPredicted(2, said)).toEqual([]);
    const agree = kept.filter(({ id, prediction }) => rows.get(id)!.prediction === prediction).length;
    const state = { model: candidate, liveModel: live, predicted: IMAGES, failed: 0, error: null };
    expect(agree).toBeLessThan(IMAGES);
    expect(await showShadow(hub, it.name)).toMatchObject({ ...state, compared: IMAGES, agree });

    // It has not seen these bytes; the live model has not said this.
    await it.overwrite({ id: 'd/1', sha256: Buffer.alloc(32) });
    await it.overwrite({ id: 'd/2', model_id: candidate });
    expect(await showShadow(hub, it.name)).toMatchObject({ predicted: IMAGES - 1, compared: IMAGES - 2 });
    expect(await unsetShadow(pool, it.name)).toMatchObject({ model: null, before: candidate });
    await it.deliver([{ key: 'after', value: digitPng(3, 400) }]);
    expect((await it.kept()).map(({ id }) => id)).not.toContain('after');
    expect(await it.reconcile()).toMatchObject({ consistent: true });
  });

  test('that is asked for once more says the same when messages come again', async () => {
    await using it = await applyDataset(hub);
    const candidate = await it.model(2);
    await setShadow(hub.pool, it.name, candidate);
    await it.deliver(digits(IMAGES), { atOnce: 7 });
    const kept = await it.kept();
    expect(kept).toHaveLength(IMAGES);
    await it.replay({ atOnce: 4 });
    expect(await it.kept()).toEqual(kept);
    // Nothing is live.
    expect(await showShadow(hub, it.name)).toMatchObject({ predicted: IMAGES, compared: 0, agree: 0 });
  });

  test('that fails on some images disturbs nothing', async () => {
    await using it = await applyDataset(hub);
    const inverted = { ...LINEAR_MANIFEST, input: { ...LINEAR_MANIFEST.input, invert: true } };
    const picky = { dataset: it.name, onnx: pickyModel(), manifest: inverted, source: 'picky' };
    await it.goLive(await it.model(1));
    await setShadow(hub.pool, it.name, await registerModel(hub.pool, picky));
    await it.deliver([...digits(4), { key: 'white', value: WHITE }]);
    expect(await it.wrong(1)).toEqual([]);
    expect(await it.images()).toHaveLength(5);
    expect(await showShadow(hub, it.name)).toMatchObject({
      predicted: 4,
      failed: 1,
      error: expect.any(String),
    });
  });
});
