import { expect, test } from '@jest/globals';
import { wronglyPredicted } from '../support/apply-jobs.ts';
import { digitPng } from '../support/digits.ts';
import { applyDataset, digits } from './support/apply-dataset.ts';
import { describeEachStore } from './support/each-store.ts';
import { storeHub } from './support/store-hub.ts';

const IMAGES = 60;

describeEachStore('reclassify', (store) => {
  const hub = storeHub(store);

  test('gives every image the live model’s prediction and keeps those of the model before; a second time it finds nothing to say', async () => {
    await using it = await applyDataset(hub);
    const [first, second] = [await it.model(1), await it.model(2)];
    await it.goLive(first);
    await it.deliver(digits(IMAGES));
    expect(await it.wrong(1)).toEqual([]);
    const before = await it.byId();
    await it.goLive(second);
    const job = await it.reclassify();
    expect(job).toMatchObject({
      state: 'done',
      units: IMAGES,
      counts: { images: IMAGES, written: IMAGES, superseded: IMAGES, failed: 0, overtaken: 0 },
    });
    expect(await it.wrong(2)).toEqual([]);
    const after = await it.images();
    expect(job.counts.changed).toBe(
      after.filter((row) => row.prediction !== before.get(row.id)!.prediction).length,
    );
    expect(job.counts.changed).toBeGreaterThan(IMAGES / 6);
    for (const row of after) {
      const {
        prediction: _,
        confidence,
        scores,
        predicted_at,
        model_id,
        promotion_no,
        revision,
        ...same
      } = row;
      expect(row).toMatchObject(
        Object.fromEntries(Object.keys(same).map((name) => [name, before.get(row.id)![name]])),
      );
      expect({ model_id, promotion_no }).toEqual({ model_id: second, promotion_no: 2 });
      expect(revision).toBeGreaterThan(before.get(row.id)!.revision);
      expect(predicted_at!.getTime()).toBeGreaterThan(before.get(row.id)!.predicted_at!.getTime());
      expect(Math.max(...scores!)).toBe(confidence);
    }
    expect(await it.kept()).toEqual(
      [...before.values()].map(({ id, prediction }) => ({
        model: first,
        id,
        prediction,
        source: 'superseded',
        scores: 10,
        sound: true,
      })),
    );
    expect((await it.reclassify()).counts).toMatchObject({
      images: IMAGES,
      written: 0,
      changed: 0,
      superseded: 0,
    });
    expect(await it.images()).toEqual(after);
    expect(await it.reconcile()).toMatchObject({ consistent: true });
  });

  test('of outdated images alone, of those that a condition names; the newest prediction of each model is kept', async () => {
    await using it = await applyDataset(hub);
    const [first, second] = [await it.model(1), await it.model(2)];
    await it.goLive(first);
    await it.deliver(digits(30));
    await it.goLive(second);
    await it.reclassify({ selection: { where: "id < 'd/2'" } });
    const outdated = (await it.images()).filter((row) => row.model_id === first).map(({ id }) => id);
    expect(outdated.length).toBeGreaterThan(5);
    expect(outdated.length).toBeLessThan(25);
    const before = await it.byId();
    expect(await it.reclassify({ onlyOutdated: true })).toMatchObject({
      units: outdated.length,
      counts: { images: outdated.length, written: outdated.length },
    });
    const after = await it.images();
    expect(after.filter((row) => row.revision !== before.get(row.id)!.revision).map(({ id }) => id)).toEqual(
      outdated,
    );
    expect(await it.reclassify({ onlyOutdated: true })).toMatchObject({ state: 'done', units: 0, parts: 0 });
    for (const model of [first, second]) {
      await it.goLive(model);
      await it.reclassify();
    }
    expect(await it.wrong(2)).toEqual([]);
    const kept = await it.kept();
    expect(kept.map(({ model }) => model)).toEqual([...Array(30).fill(first), ...Array(30).fill(second)]);
    expect(
      await wronglyPredicted(
        1,
        kept.slice(0, 30).map((row) => ({ ...row, image_base64: before.get(row.id)!.image_base64 })),
      ),
    ).toEqual([]);
  });

  test('images that cannot be classified lose their prediction, keep the reason, and are tried a few times only', async () => {
    await using it = await applyDataset(hub);
    const [first, second] = [await it.model(1), await it.model(2)];
    await it.goLive(first);
    await it.deliver(digits(5));
    await it.change({ id: 'd/2', image_base64: '###' });
    await it.goLive(second);
    expect((await it.reclassify()).counts).toMatchObject({ images: 5, written: 5, failed: 1, superseded: 5 });
    expect(await it.image('d/2')).toMatchObject({
      prediction: -1,
      confidence: null,
      scores: null,
      model_id: null,
      promotion_no: 2,
      predicted_at: null,
      classify_attempts: 1,
      classify_error: expect.stringMatching(/empty/),
    });
    const { classifyAttempts } = hub.config;
    for (let tried = 2; tried <= classifyAttempts; tried++) {
      expect(await it.reclassify({ onlyOutdated: true })).toMatchObject({ units: 1, counts: { failed: 1 } });
    }
    expect(await it.reclassify({ onlyOutdated: true })).toMatchObject({ units: 0 });
    expect(await it.image('d/2')).toMatchObject({ classify_attempts: classifyAttempts });
    // Another model may do better.
    await it.goLive(first);
    expect(await it.reclassify({ onlyOutdated: true })).toMatchObject({ units: 5, counts: { failed: 1 } });
  });

  for (const columns of ['all', 'classic'] as const) {
    test(`a prediction never lands on other bytes than it is about (${columns} columns)`, async () => {
      await using it = await applyDataset(hub, { columns });
      const [first, second] = [await it.model(1), await it.model(2)];
      await it.goLive(first);
      await it.deliver(digits(10));
      await it.goLive(second);
      await using part = await it.hold();
      // Meanwhile: a newer message, a deletion, other bytes that nobody has classified, a relabelling.
      await it.deliver([
        { key: 'd/1', value: digitPng(8, 99) },
        { key: 'd/2', value: null },
      ]);
      for (const n of [3, 4]) {
        const image_base64 = digitPng(n, 77).toString('base64');
        await it.overwrite({ id: `d/${n}`, image_base64, prediction: 5 });
      }
      await it.labelByHand('d/5', 7);
      const before = await it.byId();
      const counts = await part.write();
      expect(counts).toMatchObject({ images: 10, written: 8, failed: 0, overtaken: 2, superseded: 8 });
      const after = await it.images();
      expect(after).toHaveLength(9);
      expect(counts.changed).toBe(
        after.filter(({ id, prediction }) => prediction !== before.get(id)!.prediction).length,
      );
      expect(await it.wrong(2)).toEqual([]);
      expect(await it.image('d/1')).toEqual(before.get('d/1'));
      expect(await it.image('d/5')).toMatchObject({
        known_label: 7,
        labelled_by: expect.any(String),
        model_id: second,
      });
      expect(new Set(after.map(({ model_id }) => model_id))).toEqual(new Set([second]));
    });
  }

  test('a promotion in the middle ends the job and says which model it was; a roll-back and forth is no hindrance', async () => {
    await using it = await applyDataset(hub);
    await it.deliver(digits(10));
    const [first, second] = [await it.model(1), await it.model(2)];
    await it.goLive(first);
    {
      await using part = await it.hold();
      await it.goLive(second);
      await expect(part.write()).rejects.toMatchObject({
        code: 'MODEL_CHANGED',
        message: `Model ${second} went live in ${it.name} while its images were reclassified with model ${first}.`,
        retryable: false,
      });
      expect((await it.images()).every(({ prediction }) => prediction === -1)).toBe(true);
    }
    await using part = await it.hold();
    await it.goLive(first);
    await it.goLive(second);
    expect(await part.write()).toMatchObject({ written: 10, changed: 10, superseded: 0 });
    expect((await it.images()).every((row) => row.promotion_no === 4)).toBe(true);
    expect(await it.wrong(2)).toEqual([]);
  });
});

describeEachStore('predict', (store) => {
  const hub = storeHub(store);

  test('stores what another model says; the images stay as they are', async () => {
    await using it = await applyDataset(hub);
    const [first, second] = [await it.model(1), await it.model(2)];
    await it.goLive(first);
    await it.deliver(digits(30));
    const before = await it.images();
    expect(await it.predict(second)).toMatchObject({ state: 'done', counts: { images: 30, failed: 0 } });
    expect(await it.images()).toEqual(before);
    const kept = await it.kept();
    expect(kept.every(({ source, sound, model }) => source === 'predict' && sound && model === second)).toBe(
      true,
    );
    const bytes = new Map(before.map((row) => [row.id, row.image_base64]));
    expect(
      await wronglyPredicted(
        2,
        kept.map((row) => ({ ...row, image_base64: bytes.get(row.id)! })),
      ),
    ).toEqual([]);
    expect(kept).toHaveLength(30);
    // Images that came since, or have other bytes.
    await it.deliver([
      { key: 'd/3', value: digitPng(4, 500) },
      { key: 'e', value: digitPng(5, 501) },
    ]);
    expect(await it.predict(second, { onlyOutdated: true })).toMatchObject({
      units: 2,
      counts: { images: 2 },
    });
    expect((await it.kept()).filter(({ sound }) => sound)).toHaveLength(31);
  });
});
