import { expect, test } from '@jest/globals';
import {
  evaluateModel,
  type EvaluationContext,
  type EvaluationOptions,
} from '../../../classifier/evaluate/evaluate-model.ts';
import { denseConfusion } from '../../../classifier/evaluate/figures.ts';
import { classifyStored } from '../../../classifier/stored/classify-stored.ts';
import { loadModelRef } from '../../../classifier/model-ref.ts';
import { confusionMatrix, logLoss, metricsOf } from '../../../classifier/metrics.ts';
import { promote, registerModel } from '../../../classifier/registry.ts';
import { trainDataset } from '../../../classifier/train-dataset.ts';
import type { HubPool } from '../../../sql/database.ts';
import { dropDataset, getDataset } from '../../../sql/datasets.ts';
import { getEvaluation, listEvaluations } from '../../../sql/evaluations.ts';
import { getModel, readModelBytes } from '../../../sql/models.ts';
import { type Selection, selectionSql } from '../../../sql/selection.ts';
import { insertDigits } from '../../support/digit-rows.ts';
import { addLinearModel, storedClassifier } from '../../support/evaluating.ts';
import { digitsDataset, insertImage } from '../../support/image-rows.ts';
import { freshDatabase } from '../../support/servers.ts';
import { POSTGRES_STORES } from '../../support/stores.ts';

async function scene(images = 700) {
  const db = await freshDatabase();
  await digitsDataset(db.pool);
  await insertDigits(db.pool, 'mnist', { folder: 'd', from: 0, count: images });
  return db;
}

async function evaluate(
  pool: HubPool,
  model: number | string,
  selection: Selection = {},
  options: EvaluationOptions & Partial<EvaluationContext> = {},
) {
  await using classifier = storedClassifier();
  return await evaluateModel(
    { pool, stores: POSTGRES_STORES, classifier, ...options },
    'mnist',
    model,
    selection,
    options,
  );
}

const trainOn = (pool: HubPool, where: string, options: object = {}) =>
  trainDataset({ pool, stores: POSTGRES_STORES, maxPixels: 1e6 }, 'mnist', {
    where,
    options: { hidden: [16], epochs: 1, ...options },
  });

test('an evaluation says what the model makes of the images with known labels, and is kept as a run', async () => {
  await using db = await scene();
  await insertDigits(db.pool, 'mnist', { folder: 'unlabelled', from: 700, count: 30, labelled: false });
  await insertImage(db.pool, 'mnist', { id: 'x/broken', image_base64: 'AAAA', known_label: 3 });
  const model = await addLinearModel(db.pool, 'mnist', 1);
  const progress: number[] = [];
  const evaluation = await evaluate(
    db.pool,
    model,
    {},
    { onProgress: (done, total) => progress.push(done / total) },
  );

  await using classifier = storedClassifier();
  const request = { dataset: await getDataset(db.pool, 'mnist'), model: await loadModelRef(db.pool, model) };
  const batches = [];
  for await (const batch of classifyStored({ pool: db.pool, stores: POSTGRES_STORES }, classifier, request))
    batches.push(batch);
  const known = batches.flatMap((batch) =>
    [...batch.knownLabel].map((label, i) => (batch.errors.has(i) ? -1 : label)),
  );
  const predicted = batches.flatMap((batch) => [...batch.prediction]);
  const confusion = confusionMatrix(known, predicted, 10);
  const metrics = metricsOf(confusion);
  expect(evaluation).toMatchObject({
    dataset: 'mnist',
    model,
    selected: 731,
    unlabelled: 30,
    images: 700,
    accuracy: metrics.accuracy,
    macro: metrics.macro,
    weighted: metrics.weighted,
    trained: { known: false, images: 0, included: false },
    failed: { images: 1, examples: [{ id: 'x/broken', reason: expect.stringMatching(/./) }] },
  });
  expect(denseConfusion(evaluation)).toEqual(confusion);
  expect(evaluation.logLoss).toBeCloseTo(
    logLoss(
      batches.flatMap((batch) => [...batch.scores]),
      known,
      10,
    ),
    12,
  );
  expect(evaluation.imagesPerSecond).toBeGreaterThan(0);
  expect(progress.at(-1)).toBe(1);
  const mistaken = evaluation.confusion.find((cell) => cell.known !== cell.predicted)!;
  const ids = batches.flatMap((batch) => batch.ids);
  for (const { id } of mistaken.examples) {
    const at = ids.indexOf(id);
    expect([known[at], predicted[at]]).toEqual([mistaken.known, mistaken.predicted]);
  }

  const { run, ...found } = evaluation;
  expect(await getEvaluation(db.pool, run)).toMatchObject({
    run,
    model,
    state: 'done',
    parameters: { model, includeTrained: false, selection: { where: null } },
    metrics: JSON.parse(JSON.stringify(found)),
  });
});

test('rows that the model was trained on are left out; those held out for validation and those replaced since are not', async () => {
  await using db = await scene(300);
  const { model, metrics } = await trainOn(db.pool, "id < 'd/2'", { validationSplit: 0.25 });
  const total = metrics.trainingImages + metrics.validationImages;
  expect(await evaluate(db.pool, model)).toMatchObject({
    selected: 300,
    images: 300 - metrics.trainingImages,
    trained: { known: true, images: metrics.trainingImages, included: false, correct: null },
  });

  // Another image under an id that was trained on; one row with its hash stored, one without.
  const { rows } = await db.pool.query<{ id: string }>(
    'select id from run_images where not held_out order by id limit 2',
  );
  await db.pool.query(
    `update mnist set image_base64 = (select image_base64 from mnist where id = 'd/7') where id = any($1)`,
    [rows.map(({ id }) => id)],
  );
  await db.pool.query(
    `update mnist set sha256 = sha256(decode(image_base64, 'base64')) where id = $1 or id > 'd/15'`,
    [rows[0]!.id],
  );
  const replaced = await evaluate(db.pool, model);
  expect(replaced.trained.images).toBe(metrics.trainingImages - 2);
  expect(replaced.images).toBe(300 - metrics.trainingImages + 2);

  // A label changes nothing about what was seen.
  await db.pool.query('update mnist set known_label = (known_label + 1) % 10');
  const relabelled = await evaluate(db.pool, model, { where: "id < 'd/2'" });
  expect(relabelled).toMatchObject({ selected: total, images: metrics.validationImages + 2 });
});

test('with what it was trained on included, an evaluation says how many and how the model did on them', async () => {
  await using db = await scene(300);
  const { model, metrics } = await trainOn(db.pool, "id < 'd/2'");
  const all = await evaluate(db.pool, model, {}, { includeTrained: true });
  const unseen = await evaluate(db.pool, model);
  expect(all.images).toBe(300);
  expect(all.trained).toMatchObject({ known: true, images: metrics.trainingImages, included: true });
  expect(all.correct - all.trained.correct!).toBe(unseen.correct);
  const { rows } = await db.pool.query<{ id: string }>('select id from run_images where not held_out');
  const seen = new Set(rows.map(({ id }) => id));
  expect(all.trained.mistakes.length).toBeGreaterThan(0);
  expect(all.trained.mistakes.every((id) => seen.has(id))).toBe(true);
});

test('what other models were trained on can be left out too, so that all are judged on the same images', async () => {
  await using db = await scene(300);
  const one = await trainOn(db.pool, "id < 'd/15'");
  const other = await trainOn(db.pool, "id >= 'd/15' and id < 'd/2'");
  const a = await evaluate(db.pool, one.model, {}, { alsoUnseenBy: [other.model] });
  const b = await evaluate(db.pool, other.model, {}, { alsoUnseenBy: [one.model] });
  const seen = one.metrics.trainingImages + other.metrics.trainingImages;
  expect([a.images, b.images]).toEqual([300 - seen, 300 - seen]);
  const sets = await db.pool.query('select from imagehub.evaluation_sets');
  expect(sets.rowCount).toBe(1);
});

test('a model that was exported and registered again is known by its bytes', async () => {
  await using db = await scene(200);
  const { model, metrics } = await trainOn(db.pool, "id < 'd/15'");
  const onnx = await readModelBytes(db.pool, 'mnist', model);
  const { manifest } = await getModel(db.pool, 'mnist', model);
  const again = await registerModel(db.pool, { dataset: 'mnist', onnx, manifest, source: 'file' });
  expect((await evaluate(db.pool, again)).trained).toMatchObject({
    known: true,
    images: metrics.trainingImages,
  });
});

test('stored predictions are taken where they are of the model and the bytes; all others are made', async () => {
  await using db = await scene(400);
  await db.pool.query("update mnist set sha256 = sha256(decode(image_base64, 'base64'))");
  const [live, other] = [
    await addLinearModel(db.pool, 'mnist', 1),
    await addLinearModel(db.pool, 'mnist', 2),
  ];
  const truth = await evaluate(db.pool, live);
  const request = { dataset: await getDataset(db.pool, 'mnist'), model: await loadModelRef(db.pool, live) };
  await db.pool.query('select imagehub.ensure_predictions($1)', [live]);
  await using classifier = storedClassifier();
  for await (const batch of classifyStored({ pool: db.pool, stores: POSTGRES_STORES }, classifier, request)) {
    for (const [i, id] of batch.ids.entries()) {
      const values = [
        id,
        batch.prediction[i],
        batch.confidence[i],
        [...batch.scores.subarray(i * 10, i * 10 + 10)],
      ];
      const n = Number(id.slice(2));
      if (n < 100) {
        await db.pool.query(
          'update mnist set prediction = $2, confidence = $3, scores = $4, model_id = $5 where id = $1',
          [...values, live],
        );
      } else if (n < 250) {
        await db.pool.query(
          `insert into imagehub.predictions (model_id, id, sha256, prediction, confidence, scores, source)
           select $5, $1, sha256, $2, $3, $4, 'predict' from mnist where id = $1`,
          [...values, live],
        );
      }
    }
  }
  // Another model's; of other bytes; without scores.
  await db.pool.query("update mnist set model_id = $1 where id in ('d/1', 'd/2')", [other]);
  await db.pool.query("update imagehub.predictions set sha256 = 'x' where id in ('d/101', 'd/102', 'd/103')");
  await db.pool.query("update mnist set scores = null where id = 'd/5'");
  const reused = await evaluate(db.pool, live, {}, { reuse: true });
  expect(reused.reused).toBe(250 - 6);
  expect(reused.imagesPerSecond).toBeGreaterThan(0);
  const { images, correct, classes, macro, weighted, logLoss, calibration } = truth;
  expect(reused).toMatchObject({ images, correct, classes, macro, weighted });
  expect(denseConfusion(reused)).toEqual(denseConfusion(truth));
  expect(reused.logLoss).toBeCloseTo(logLoss!, 12);
  expect(reused.calibration.error).toBeCloseTo(calibration.error, 12);
  const stored = await evaluate(db.pool, live, { where: "id in ('d/10', 'd/110')" }, { reuse: true });
  expect(stored).toMatchObject({ images: 2, reused: 2, imagesPerSecond: null });
});

test('a model is named by what it is, and images by a condition and a time', async () => {
  await using db = await scene(100);
  await db.pool.query("update mnist set ingested_at = '2026-01-01' where id < 'd/5'");
  const [first, second] = [
    await addLinearModel(db.pool, 'mnist', 1),
    await addLinearModel(db.pool, 'mnist', 2),
  ];
  await promote(db.pool, 'mnist', first);
  await promote(db.pool, 'mnist', second);
  const until = new Date('2026-02-01');
  expect(await evaluate(db.pool, 'live', { until })).toMatchObject({ model: second, selected: 44 + 1 });
  expect(await evaluate(db.pool, 'previous', { where: 'known_label < 3' })).toMatchObject({
    model: first,
    images: 30,
    selection: { where: 'known_label < 3', since: null, until: null },
  });
  expect((await listEvaluations(db.pool, 'mnist')).map(({ model }) => model)).toEqual([first, second]);
  expect(await listEvaluations(db.pool, 'mnist', { model: second })).toHaveLength(1);
});

test.each<[string, Selection, RegExp]>([
  ['no image is selected', { where: 'false' }, /There are no images in mnist \(false\)/],
  ['none has a label', { where: "id like 'u%'" }, /None of the 10 images .* has a known label/],
  ['all were trained on', { where: "id < 'd/15'" }, /was trained on all \d+ labelled images/],
  [
    'the condition is none',
    { where: 'known_label' },
    /--where known_label cannot be used: .* must be type boolean/,
  ],
  ['the condition writes', { where: "nextval('imagehub.revision') > 0" }, /read-only transaction/],
])('an evaluation is refused in words when %s', async (_, selection, message) => {
  await using db = await scene(200);
  await insertDigits(db.pool, 'mnist', { folder: 'u', from: 0, count: 10, labelled: false });
  const { model } = await trainOn(db.pool, "id < 'd/15'", { validationSplit: 0 });
  await expect(evaluate(db.pool, model, selection)).rejects.toMatchObject({
    code: 'USAGE',
    message: expect.stringMatching(message),
    hint: expect.stringMatching(/./),
  });
  expect(await listEvaluations(db.pool, 'mnist')).toEqual([]);
});

test('an evaluation that is interrupted, or fails on every image, is on record as that', async () => {
  await using db = await scene(100);
  const model = await addLinearModel(db.pool, 'mnist', 1);
  await expect(evaluate(db.pool, model, {}, { signal: AbortSignal.abort() })).rejects.toMatchObject({
    code: 'INTERRUPTED',
  });
  await db.pool.query("update mnist set image_base64 = 'AAAA'");
  await expect(evaluate(db.pool, model)).rejects.toThrow(
    /^None of the 100 images could be classified; d\/0: /,
  );
  const runs = await listEvaluations(db.pool, 'mnist');
  expect(runs.map(({ state }) => state)).toEqual(['failed', 'cancelled']);
  await dropDataset(db.pool, 'mnist');
  expect((await db.pool.query('select from imagehub.evaluation_sets')).rowCount).toBe(0);
});

test('of a sample by class that is judged which the model has not seen: nothing else is drawn in its place', async () => {
  await using db = await scene(300);
  const { pool } = db;
  const { model } = await trainOn(pool, `id < 'd/2'`, { validationSplit: 0 });
  const sample = { share: 0.5, seed: 3, byClass: true };
  for (const reuse of [false, true]) {
    const progress: number[] = [];
    const onProgress = (done: number, total: number) => progress.push(done / total);
    const evaluation = await evaluate(pool, model, { sample }, { reuse, onProgress });
    const { rows } = await pool.query<{ id: string }>(
      `select i.id from ${selectionSql('mnist', { sample })} and i.id >= 'd/2' order by i.id`,
    );
    expect(evaluation).toMatchObject({
      selected: 150,
      images: rows.length,
      trained: { images: 150 - rows.length },
    });
    expect(progress.at(-1)).toBe(1);
    // Half of them are stored now, as reused ones are looked up by themselves.
    await pool.query(`select imagehub.ensure_predictions($1)`, [model]);
    await pool.query(
      `insert into imagehub.predictions (model_id, id, sha256, prediction, confidence, scores, source)
       select $1, i.id, i.sha256, 1, 1, array_fill(0.1::real, array[10]), 'predict' from mnist i
        where hashtext(i.id) % 2 = 0 on conflict do nothing`,
      [model],
    );
  }
});
