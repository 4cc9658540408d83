import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { createDataset } from '../../sql/datasets.ts';
import { datasetReport } from '../../classifier/dataset-report.ts';
import { digitsDataset, insertOutcomes, type Outcome } from '../support/image-rows.ts';
import { freshDatabase, type TestDatabase } from '../support/servers.ts';
import { POSTGRES_STORES } from '../support/stores.ts';

const [CAT, DOG, EEL] = [0, 1, 2];
const UNCLASSIFIED = -1;
/** 13 images count for the accuracy, 8 of them right; no eel is ever predicted. */
const PETS: Outcome[] = [
  [CAT, CAT, 5],
  [CAT, DOG, 2],
  [DOG, DOG, 3],
  [DOG, CAT, 1],
  [EEL, DOG, 2],
  [null, CAT, 4],
  [CAT, UNCLASSIFIED, 2],
  [null, UNCLASSIFIED, 1],
];

let db: TestDatabase;
beforeAll(async () => {
  db = await freshDatabase();
  await createDataset(db.pool, { name: 'pets', classes: ['cat', 'dog', 'eel'] });
  await insertOutcomes(db.pool, 'pets', PETS);
  // Neighbours that must not leak in: other images, and none at all.
  await digitsDataset(db.pool, 'digits');
  await insertOutcomes(db.pool, 'digits', [[CAT, DOG, 50]]);
  await createDataset(db.pool, { name: 'empty', classes: ['one', 'two'] });
});
afterAll(async () => {
  await db[Symbol.asyncDispose]();
});

const query = async (sql: string) => (await db.pool.query<Record<string, unknown>>(sql)).rows;

describe('the classic queries', () => {
  beforeAll(async () => {
    await digitsDataset(db.pool, 'mnist');
    await insertOutcomes(db.pool, 'mnist', [
      [0, 0, 3],
      [1, 0, 1],
      [7, 7, 2],
      [null, 7, 1],
      [2, UNCLASSIFIED, 2],
    ]);
  });

  test('count the predictions of each class', async () => {
    expect(
      await query(
        'select count(prediction), prediction as all_prediction from mnist group by prediction order by prediction;',
      ),
    ).toEqual([
      { count: 2, all_prediction: -1 },
      { count: 4, all_prediction: 0 },
      { count: 3, all_prediction: 7 },
    ]);
  });

  test('count the correct predictions of each class', async () => {
    expect(
      await query(
        'select count(prediction), prediction as correct_prediction from mnist where prediction = known_label group by prediction order by prediction;',
      ),
    ).toEqual([
      { count: 3, correct_prediction: 0 },
      { count: 2, correct_prediction: 7 },
    ]);
  });
});

describe('the views', () => {
  test('dataset_summary counts images and gives the accuracy of those that can be judged', async () => {
    expect(
      await query(
        `select dataset, images, classified, unclassified, labelled, labelled_by_people, evaluated, correct, accuracy
         from dataset_summary where dataset in ('pets', 'empty') order by dataset desc`,
      ),
    ).toEqual([
      {
        dataset: 'pets',
        images: 20,
        classified: 17,
        unclassified: 3,
        labelled: 15,
        labelled_by_people: 0,
        evaluated: 13,
        correct: 8,
        accuracy: 8 / 13,
      },
      {
        dataset: 'empty',
        images: 0,
        classified: 0,
        unclassified: 0,
        labelled: 0,
        labelled_by_people: 0,
        evaluated: 0,
        correct: 0,
        accuracy: null,
      },
    ]);
  });

  test('class_metrics gives precision, recall and F1, null where nothing was predicted or known', async () => {
    expect(
      await query(
        `select class, support, predicted, correct, precision, recall, f1
         from class_metrics where dataset = 'pets' order by class_index`,
      ),
    ).toEqual([
      { class: 'cat', support: 7, predicted: 6, correct: 5, precision: 5 / 6, recall: 5 / 7, f1: 10 / 13 },
      { class: 'dog', support: 4, predicted: 7, correct: 3, precision: 3 / 7, recall: 3 / 4, f1: 6 / 11 },
      { class: 'eel', support: 2, predicted: 0, correct: 0, precision: null, recall: 0, f1: 0 },
    ]);
    expect(await query("select precision, recall, f1 from class_metrics where dataset = 'empty'")).toEqual([
      { precision: null, recall: null, f1: null },
      { precision: null, recall: null, f1: null },
    ]);
  });

  test('confusion_matrix has a row for every pair of classes', async () => {
    expect(
      await query(
        `select known_class, predicted_class, images from confusion_matrix where dataset = 'pets'
         order by known_label, prediction`,
      ),
    ).toEqual([
      { known_class: 'cat', predicted_class: 'cat', images: 5 },
      { known_class: 'cat', predicted_class: 'dog', images: 2 },
      { known_class: 'cat', predicted_class: 'eel', images: 0 },
      { known_class: 'dog', predicted_class: 'cat', images: 1 },
      { known_class: 'dog', predicted_class: 'dog', images: 3 },
      { known_class: 'dog', predicted_class: 'eel', images: 0 },
      { known_class: 'eel', predicted_class: 'cat', images: 0 },
      { known_class: 'eel', predicted_class: 'dog', images: 2 },
      { known_class: 'eel', predicted_class: 'eel', images: 0 },
    ]);
  });

  test('class_counts counts every image, judged or not', async () => {
    expect(
      await query(
        `select class, predicted, correct, known from class_counts where dataset = 'pets' order by class_index`,
      ),
    ).toEqual([
      { class: 'cat', predicted: 10, correct: 5, known: 9 },
      { class: 'dog', predicted: 7, correct: 3, known: 4 },
      { class: 'eel', predicted: 0, correct: 0, known: 2 },
    ]);
  });

  test('image_predictions puts class names beside the indexes and leaves unknowns null', async () => {
    expect(
      await query(
        `select known_class, predicted_class, correct, count(*) as images from image_predictions
         where dataset = 'pets' group by 1, 2, 3 order by 1, 2`,
      ),
    ).toEqual([
      { known_class: 'cat', predicted_class: 'cat', correct: true, images: 5 },
      { known_class: 'cat', predicted_class: 'dog', correct: false, images: 2 },
      { known_class: 'cat', predicted_class: null, correct: null, images: 2 },
      { known_class: 'dog', predicted_class: 'cat', correct: false, images: 1 },
      { known_class: 'dog', predicted_class: 'dog', correct: true, images: 3 },
      { known_class: 'eel', predicted_class: 'dog', correct: false, images: 2 },
      { known_class: null, predicted_class: 'cat', correct: null, images: 4 },
      { known_class: null, predicted_class: null, correct: null, images: 1 },
    ]);
  });

  test('accuracy_by_hour and accuracy_by_day put images where they were ingested', async () => {
    await createDataset(db.pool, { name: 'hours', classes: ['a', 'b'] });
    await insertOutcomes(db.pool, 'hours', [
      [0, 0, 3],
      [0, 1, 1],
      [null, 0, 1],
    ]);
    await db.pool.query(
      `update hours set ingested_at = case when prediction = 1 then timestamptz '2026-03-01 11:59:59Z'
         else timestamptz '2026-03-01 10:20Z' end`,
    );
    const client = await db.pool.connect();
    await client.query("set time zone 'UTC'");
    const hours = await client.query(
      "select hour, images, evaluated, correct, accuracy from accuracy_by_hour where dataset = 'hours' order by hour",
    );
    const days = await client.query(
      "select day, images, evaluated, correct, accuracy from accuracy_by_day where dataset = 'hours'",
    );
    client.release(true);
    expect(hours.rows).toEqual([
      { hour: new Date('2026-03-01T10:00Z'), images: 4, evaluated: 3, correct: 3, accuracy: 1 },
      { hour: new Date('2026-03-01T11:00Z'), images: 1, evaluated: 1, correct: 0, accuracy: 0 },
    ]);
    expect(days.rows).toEqual([
      { day: new Date('2026-03-01T00:00Z'), images: 5, evaluated: 4, correct: 3, accuracy: 0.75 },
    ]);
  });

  test('newest_mistakes lists the newest first; a label given now makes an old image a new mistake', async () => {
    await createDataset(db.pool, { name: 'mistakes', classes: ['a', 'b'] });
    await insertOutcomes(db.pool, 'mistakes', [
      [0, 1, 3],
      [0, 0, 2],
      [null, 1, 1],
    ]);
    await db.pool.query(
      `update mistakes set predicted_at = ingested_at, ingested_at = now() - interval '1 day'`,
    );
    await db.pool.query(
      `update mistakes set predicted_at = now() - interval '1 hour' * (10 - right(id, 1)::int)`,
    );
    await db.pool.query("update mistakes set known_label = 1 where id = '2/2'");
    const listed = await query(
      "select id, known_class, predicted_class from newest_mistakes where dataset = 'mistakes' limit 3",
    );
    expect(listed).toEqual([
      { id: '2/2', known_class: 'b', predicted_class: 'a' },
      { id: '1/3', known_class: 'a', predicted_class: 'b' },
      { id: '1/2', known_class: 'a', predicted_class: 'b' },
    ]);
  });

  test('confidence_histogram has all bins, and a confidence of 1 falls in the last', async () => {
    await createDataset(db.pool, { name: 'bins', classes: ['a', 'b'] });
    await insertOutcomes(db.pool, 'bins', [[0, 0, 4]]);
    await db.pool.query(
      `update bins set confidence = (array[0, 0.5, 0.52, 1])[right(id, 1)::int],
         prediction = case when id = '1/2' then 1 else 0 end`,
    );
    const bins = await query("select * from confidence_histogram where dataset = 'bins' order by bin");
    expect(bins).toHaveLength(20);
    expect(bins[0]).toMatchObject({ confidence_from: 0, confidence_to: 0.05, images: 1, accuracy: 1 });
    expect(bins[10]).toMatchObject({ confidence_from: 0.5, images: 2, evaluated: 2, accuracy: 0.5 });
    expect(bins[10]!.mean_confidence).toBeCloseTo(0.51);
    expect(bins[19]).toMatchObject({ confidence_to: 1, images: 1 });
    expect(bins.reduce((sum, bin) => sum + (bin.images as number), 0)).toBe(4);
  });

  test('model_accuracy tells the live model’s predictions from those that an earlier one left', async () => {
    await createDataset(db.pool, { name: 'promoted', classes: ['a', 'b'] });
    await insertOutcomes(db.pool, 'promoted', [
      [0, 0, 3],
      [0, 1, 1],
    ]);
    const { rows } = await db.pool.query<{ id: number }>(
      `insert into imagehub.models (dataset, sha256, onnx, manifest, source)
       select 'promoted', '', '', '{}', 'test' from generate_series(1, 2) returning id`,
    );
    const [old, live] = rows.map(({ id }) => id);
    await db.pool.query("update imagehub.datasets set live_model_id = $1 where name = 'promoted'", [live]);
    await db.pool.query(
      'update promoted set model_id = case when prediction = 0 then $1 else $2 end::bigint',
      [live, old],
    );
    expect(
      await query(
        "select model_id, live, images, accuracy from model_accuracy where dataset = 'promoted' order by live",
      ),
    ).toEqual([
      { model_id: old, live: false, images: 1, accuracy: 0 },
      { model_id: live, live: true, images: 3, accuracy: 1 },
    ]);
  });

  test('all have a comment, a dataset column, and names that no dataset can take', async () => {
    const views = await query(
      `select c.relname as name, obj_description(c.oid) as comment,
              exists (select from pg_attribute where attrelid = c.oid and attname = 'dataset') as by_dataset
       from pg_class c where c.relnamespace = 'public'::regnamespace and c.relkind = 'v' order by 1`,
    );
    expect(views.map(({ name }) => name)).toEqual([
      'accuracy_by_day',
      'accuracy_by_hour',
      'class_counts',
      'class_metrics',
      'confidence_histogram',
      'confusion_matrix',
      'dataset_summary',
      'drift_alerts',
      'drift_over_time',
      'image_predictions',
      'impact_changes',
      'impact_over_time',
      'impact_pairs',
      'impact_summary',
      'label_history',
      'label_suspects',
      'model_accuracy',
      'newest_mistakes',
      'run_images',
    ]);
    for (const { name, comment, by_dataset } of views) {
      expect({ name, comment, by_dataset }).toEqual({ name, comment: expect.any(String), by_dataset: true });
      await expect(createDataset(db.pool, { name: name as string, classes: ['a'] })).rejects.toThrow(
        'already a table or view',
      );
      // A question about one dataset must not read the others' partitions.
      const plan = await query(`explain select * from ${name as string} where dataset = 'pets'`);
      const text = plan.map((line) => line['QUERY PLAN']).join('\n');
      // Those read tables that are one for all datasets.
      if (!/^(drift_|impact_|label_history$|run_images$)/.test(name as string))
        expect(text).toContain(' on pets');
      expect(text).not.toContain(' on digits');
    }
  });
});

test('a report is all of this at once, in numbers that fit together', async () => {
  await db.pool.query(
    `insert into imagehub.dead_letters (dataset, source_topic, source_partition, source_epoch, source_offset, source_timestamp, stage, reason, detail)
     select 'pets', 'pets', 0, 0, n, now(), 'decode', case when n < 3 then 'not-an-image' else 'truncated' end, '' from generate_series(1, 3) n`,
  );
  const report = await datasetReport({ pool: db.pool, stores: POSTGRES_STORES }, 'pets');
  expect(report).toMatchObject({
    dataset: 'pets',
    images: 20,
    evaluated: 13,
    correct: 8,
    accuracy: 8 / 13,
    liveModel: null,
    deadLetters: {
      total: 3,
      reasons: [
        { stage: 'decode', reason: 'not-an-image', count: 2 },
        { stage: 'decode', reason: 'truncated', count: 1 },
      ],
    },
    confusionMatrix: [
      [5, 2, 0],
      [1, 3, 0],
      [0, 2, 0],
    ],
  });
  expect(report.classes.map(({ index, name, f1 }) => [index, name, f1])).toEqual([
    [0, 'cat', 10 / 13],
    [1, 'dog', 6 / 11],
    [2, 'eel', 0],
  ]);
  await expect(datasetReport({ pool: db.pool, stores: POSTGRES_STORES }, 'nothing')).rejects.toMatchObject({
    code: 'NOT_FOUND',
  });
});
