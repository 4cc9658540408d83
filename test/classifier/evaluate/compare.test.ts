import { expect, test } from '@jest/globals';
import { compareEvaluations } from '../../../classifier/evaluate/compare.ts';
import { evaluateModel } from '../../../classifier/evaluate/evaluate-model.ts';
import { mcnemarExact } from '../../../classifier/evaluate/mcnemar.ts';
import { loadModelRef } from '../../../classifier/model-ref.ts';
import { promote } from '../../../classifier/registry.ts';
import { classifyStored } from '../../../classifier/stored/classify-stored.ts';
import type { HubPool } from '../../../sql/database.ts';
import { getDataset } from '../../../sql/datasets.ts';
import { startRun } from '../../../sql/runs.ts';
import type { Selection } from '../../../sql/selection.ts';
import { insertDigits } from '../../support/digit-rows.ts';
import { addLinearModel, storedClassifier } from '../../support/evaluating.ts';
import { digitsDataset } from '../../support/image-rows.ts';
import { freshDatabase } from '../../support/servers.ts';
import { POSTGRES_STORES } from '../../support/stores.ts';

async function scene() {
  const db = await freshDatabase();
  await digitsDataset(db.pool);
  await insertDigits(db.pool, 'mnist', { folder: 'd', from: 0, count: 800 });
  const models = [
    await addLinearModel(db.pool, 'mnist', 1),
    await addLinearModel(db.pool, 'mnist', 2),
  ] as const;
  return { pool: db.pool, models, [Symbol.asyncDispose]: () => db[Symbol.asyncDispose]() };
}

async function evaluate(pool: HubPool, model: number, selection: Selection = {}, dataset = 'mnist') {
  await using classifier = storedClassifier();
  return await evaluateModel({ pool, stores: POSTGRES_STORES, classifier }, dataset, model, selection);
}

/** Ids that a model gets right. */
async function right(pool: HubPool, model: number): Promise<Set<string>> {
  await using classifier = storedClassifier();
  const ids = new Set<string>();
  const request = { dataset: await getDataset(pool, 'mnist'), model: await loadModelRef(pool, model) };
  for await (const batch of classifyStored({ pool, stores: POSTGRES_STORES }, classifier, request)) {
    batch.ids.forEach((id, i) => batch.prediction[i] === batch.knownLabel[i] && ids.add(id));
  }
  return ids;
}

test('two evaluations are compared figure by figure, and image by image on what both judged', async () => {
  await using hub = await scene();
  const [first, second] = hub.models;
  const a = await evaluate(hub.pool, first, { where: "id < 'd/6'" });
  const b = await evaluate(hub.pool, second, { where: "id >= 'd/3'" });
  const comparison = await compareEvaluations(hub.pool, `${a.run}`, `${b.run}`);
  expect(comparison).toMatchObject({
    a: { run: a.run, model: first, images: a.images, includesTrained: null },
    b: { run: b.run, model: second, selection: { where: "id >= 'd/3'" } },
    metrics: {
      accuracy: { a: a.accuracy, b: b.accuracy, difference: b.accuracy - a.accuracy },
      macroF1: { a: a.macro.f1, b: b.macro.f1 },
      weightedPrecision: { a: a.weighted.precision },
      logLoss: { difference: b.logLoss! - a.logLoss! },
      calibrationError: { a: a.calibration.error },
    },
  });
  expect(comparison.classes[3]).toMatchObject({
    index: 3,
    name: '3',
    recall: { a: a.classes[3]!.recall, b: b.classes[3]!.recall },
  });

  const [one, other] = [await right(hub.pool, first), await right(hub.pool, second)];
  const common = Array.from({ length: 800 }, (_, n) => `d/${n}`).filter((id) => id >= 'd/3' && id < 'd/6');
  const onlyFirst = common.filter((id) => one.has(id) && !other.has(id)).length;
  const onlySecond = common.filter((id) => !one.has(id) && other.has(id)).length;
  expect(onlyFirst + onlySecond).toBeGreaterThan(10);
  expect(comparison.common).toMatchObject({
    images: common.length,
    onlyFirst,
    onlySecond,
    bothRight: common.filter((id) => one.has(id) && other.has(id)).length,
    pValue: mcnemarExact(onlyFirst, onlySecond),
  });
  expect(comparison.common.accuracy.a).toBeCloseTo(
    common.filter((id) => one.has(id)).length / common.length,
    12,
  );
});

test('a model stands for its newest evaluation that was finished', async () => {
  await using hub = await scene();
  const [first, second] = hub.models;
  await promote(hub.pool, 'mnist', second);
  await evaluate(hub.pool, first);
  const a = await evaluate(hub.pool, first, { where: 'known_label = 3' });
  const b = await evaluate(hub.pool, second);
  const comparison = await compareEvaluations(hub.pool, `mnist/${first}`, 'mnist/live');
  expect([comparison.a.run, comparison.b.run]).toEqual([a.run, b.run]);
  expect(comparison.common.images).toBe(80);
});

test('what cannot be compared is refused in words', async () => {
  await using hub = await scene();
  const { run } = await evaluate(hub.pool, hub.models[0]);
  await digitsDataset(hub.pool, 'other');
  await insertDigits(hub.pool, 'other', { folder: 'd', from: 0, count: 20 });
  const elsewhere = await evaluate(hub.pool, await addLinearModel(hub.pool, 'other', 1), {}, 'other');
  await using training = await startRun(hub.pool, { dataset: 'mnist', kind: 'train', parameters: {} });
  await using unfinished = await startRun(hub.pool, { dataset: 'mnist', kind: 'evaluate', parameters: {} });
  for (const [named, code, message] of [
    ['3.5', 'USAGE', /“3\.5” is no evaluation/],
    ['mnist', 'USAGE', /“mnist” is no evaluation/],
    ['9999', 'NOT_FOUND', /There is no run 9999/],
    [`${training.run}`, 'NOT_FOUND', /is no evaluation but of kind train/],
    [`${unfinished.run}`, 'NOT_FOUND', /has no result, it is running/],
    [`mnist/${hub.models[1]}`, 'NOT_FOUND', /was never evaluated/],
    ['mnist/live', 'NOT_FOUND', /mnist has no live model/],
    ['nothing/1', 'NOT_FOUND', /There is no dataset nothing/],
    [`${elsewhere.run}`, 'USAGE', /is of mnist, \d+ of other: there is nothing to compare/],
  ] as const) {
    await expect(compareEvaluations(hub.pool, `${run}`, named)).rejects.toMatchObject({
      code,
      message: expect.stringMatching(message),
      hint: expect.stringMatching(/./),
    });
  }
});
