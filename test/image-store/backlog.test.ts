import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from '@jest/globals';
import { classifyBacklog } from '../../ingest/backlog.ts';
import { createMetrics } from '../../metrics.ts';
import { writeShadowModel } from '../../sql/shadow.ts';
import { digitPng } from '../support/digits.ts';
import { until } from '../support/pipeline.ts';
import { type ApplyDataset, applyDataset, digits } from './support/apply-dataset.ts';
import { describeEachStore } from './support/each-store.ts';
import { storeHub } from './support/store-hub.ts';

describeEachStore('the backlog', (store) => {
  const hub = storeHub(store, { classifyAttempts: 2 });

  /** Classifies what waits, as a running ingest does; several at once, where several run. */
  async function classifying<T>(work: () => Promise<T>, processes = 1): Promise<T> {
    const stop = new AbortController();
    const metrics = createMetrics({ processMetrics: false });
    const running = Array.from({ length: processes }, () =>
      classifyBacklog({ ...hub.context, metrics, signal: stop.signal }),
    );
    try {
      return await work();
    } finally {
      stop.abort();
      await Promise.all(running);
    }
  }

  const allHave = (it: ApplyDataset, model: number) =>
    until(async () => (await it.images()).every(({ model_id }) => model_id === model), 'all are classified');

  test('images that came before a model was live get its predictions, and those alone are written', async () => {
    await using it = await applyDataset(hub);
    await it.deliver(digits(40));
    await it.labelByHand('d/3', 8);
    const before = await it.byId();
    const model = await it.model(1);
    await it.goLive(model);
    await it.deliver([{ key: 'e', value: digitPng(1, 300) }]);
    const came = await it.image('e');
    await classifying(() => allHave(it, model), 2);
    expect(await it.wrong(1)).toEqual([]);
    expect(await it.image('e')).toEqual(came);
    for (const { id, ...row } of (await it.images()).filter(({ id }) => id !== 'e')) {
      const { prediction, confidence, scores, model_id, promotion_no, predicted_at, revision, ...same } = row;
      expect(same).toMatchObject(
        Object.fromEntries(Object.keys(same).map((name) => [name, before.get(id)![name]])),
      );
      expect({ model_id, promotion_no }).toEqual({ model_id: model, promotion_no: 1 });
      expect(scores![prediction]).toBe(confidence);
      expect(revision).toBeGreaterThan(before.get(id)!.revision);
      expect(predicted_at).toBeInstanceOf(Date);
    }
    expect(await it.reconcile()).toMatchObject({ consistent: true, unclassified: 0 });
  });

  test('an image that is no image is tried a few times only, by each promotion; its neighbours are classified', async () => {
    await using it = await applyDataset(hub);
    await it.deliver(digits(5));
    await it.change({ id: 'd/2', image_base64: '###' });
    for (const promotion of [1, 2]) {
      const model = await it.model(promotion);
      await it.goLive(model);
      if (promotion === 2) await it.deliver(digits(2));
      await classifying(async () => {
        await until(async () => {
          const row = (await it.image('d/2'))!;
          return row.promotion_no === promotion && row.classify_attempts === 2;
        }, 'it was tried often enough');
        await sleep(1500); // Not once more.
      });
      expect(await it.image('d/2')).toMatchObject({
        prediction: -1,
        classify_attempts: 2,
        promotion_no: promotion,
        classify_error: expect.stringMatching(/empty/),
      });
    }
    expect((await it.images()).filter(({ prediction }) => prediction < 0)).toHaveLength(1);
  });

  test('the shadow predicts them too', async () => {
    await using it = await applyDataset(hub);
    await it.deliver(digits(10));
    const [first, second] = [await it.model(1), await it.model(2)];
    await it.goLive(first);
    await writeShadowModel(hub.pool, it.name, second);
    await classifying(() => allHave(it, first));
    const kept = await it.kept();
    expect(kept).toHaveLength(10);
    expect(kept.every(({ model, source, sound }) => model === second && source === 'shadow' && sound)).toBe(
      true,
    );
  });
});
