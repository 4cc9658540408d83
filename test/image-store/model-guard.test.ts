import { expect, test } from '@jest/globals';
import { promote } from '../../classifier/registry.ts';
import { wronglyPredicted } from '../support/apply-jobs.ts';
import { digitPng } from '../support/digits.ts';
import { applyDataset, digits } from './support/apply-dataset.ts';
import { describeEachStore } from './support/each-store.ts';
import { storeHub } from './support/store-hub.ts';

describeEachStore('the model guard', (store) => {
  const hub = storeHub(store);

  test('a batch that was classified while another model went live is classified again', async () => {
    await using it = await applyDataset(hub);
    const [first, second] = [await it.model(1), await it.model(2)];
    await it.goLive(first);
    await it.deliver(digits(5));
    // The pipeline still has the first one in memory when this is over.
    const { live } = hub.context;
    const known = await live.get(it.name);
    await promote(hub.pool, it.name, second);
    expect((await live.get(it.name)).model!.id).toBe(known.model!.id);
    await it.deliver(digits(20, 3));
    for (const row of await it.images()) expect(row).toMatchObject({ model_id: second, promotion_no: 2 });
    expect(await it.wrong(2)).toEqual([]);
  });

  test('ingest and reclassification at once, while models change: every prediction is its own model’s, about the bytes that are there', async () => {
    await using it = await applyDataset(hub);
    const models = [await it.model(1), await it.model(2), await it.model(3)];
    await it.goLive(models[0]!);
    await it.deliver(digits(100));
    const ingest = (async () => {
      for (let version = 1; version <= 6; version++) await it.deliver(digits(100, version), { atOnce: 20 });
    })();
    const jobs: string[] = [];
    for (const model of [models[1]!, models[2]!, models[1]!]) {
      await it.goLive(model);
      jobs.push((await it.reclassify()).state);
    }
    await ingest;
    expect(jobs).toEqual(['done', 'done', 'done']);
    await it.reclassify({ onlyOutdated: true });
    const rows = await it.images();
    expect(rows.map(({ id, image_base64 }) => [id, image_base64])).toEqual(
      digits(100, 6)
        .map(({ key, value }) => [key, value!.toString('base64')])
        .sort(([a], [b]) => (a! < b! ? -1 : 1)),
    );
    expect(new Set(rows.map(({ model_id }) => model_id))).toEqual(new Set([models[1]]));
    expect(await it.wrong(2)).toEqual([]);
    // What is kept of the others was said by them, whatever bytes it was about: where these are still there, it is right.
    const bytes = await it.byId();
    for (const seed of [1, 3]) {
      const said = (await it.kept())
        .filter(({ model, sound }) => model === models[seed - 1] && sound)
        .map((row) => ({ ...row, image_base64: bytes.get(row.id)!.image_base64 }));
      expect(await wronglyPredicted(seed, said)).toEqual([]);
    }
    expect(await it.reconcile()).toMatchObject({ consistent: true });
  });

  test('a verdict that comes too late changes nothing of what a newer model said', async () => {
    await using it = await applyDataset(hub);
    const [first, second] = [await it.model(1), await it.model(2)];
    await it.goLive(first);
    await it.deliver([{ key: 'a', value: digitPng(1, 1) }]);
    await using late = await it.hold();
    await it.goLive(second);
    await it.reclassify();
    const now = await it.images();
    await expect(late.write()).rejects.toMatchObject({ code: 'MODEL_CHANGED' });
    expect(await it.images()).toEqual(now);
  });
});
