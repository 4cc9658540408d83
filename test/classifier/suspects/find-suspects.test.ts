import { expect, test } from '@jest/globals';
import { loadModelRef } from '../../../classifier/model-ref.ts';
import { promote } from '../../../classifier/registry.ts';
import { classifyStored } from '../../../classifier/stored/classify-stored.ts';
import { findSuspects } from '../../../classifier/suspects/find-suspects.ts';
import { mulberry32, shuffle } from '../../../classifier/train/random.ts';
import { trainDataset } from '../../../classifier/train-dataset.ts';
import type { HubPool } from '../../../sql/database.ts';
import { dropDataset, getDataset } from '../../../sql/datasets.ts';
import { insertDigits } from '../../support/digit-rows.ts';
import { addLinearModel, storedClassifier } from '../../support/evaluating.ts';
import { digitsDataset } from '../../support/image-rows.ts';
import { freshDatabase } from '../../support/servers.ts';
import { POSTGRES_STORES } from '../../support/stores.ts';

const train = (pool: HubPool, where: string, epochs: number) =>
  trainDataset({ pool, stores: POSTGRES_STORES, maxPixels: 1e6 }, 'mnist', {
    where,
    options: { epochs, hidden: [64] },
  });

/** Stores what a model says: as the table's prediction, or beside it. */
async function store(pool: HubPool, model: number, where: string, beside = false): Promise<void> {
  await using classifier = storedClassifier();
  const request = { dataset: await getDataset(pool, 'mnist'), model: await loadModelRef(pool, model) };
  await pool.query('select imagehub.ensure_predictions($1)', [model]);
  for await (const { ids, prediction, confidence, scores } of classifyStored(
    { pool, stores: POSTGRES_STORES },
    classifier,
    {
      ...request,
      selection: { where },
    },
  )) {
    const rows = JSON.stringify(
      ids.map((id, i) => ({
        id,
        prediction: prediction[i],
        confidence: confidence[i],
        scores: [...scores.subarray(i * 10, i * 10 + 10)],
      })),
    );
    await pool.query(
      beside
        ? `insert into imagehub.predictions (model_id, id, sha256, prediction, confidence, scores, source)
           select $1, r.id, i.sha256, r.prediction, r.confidence, r.scores, 'predict'
           from jsonb_to_recordset($2) r (id text, prediction int, confidence real, scores real[]) join mnist i using (id)`
        : `update mnist i set prediction = r.prediction, confidence = r.confidence, scores = r.scores, model_id = $1
           from jsonb_to_recordset($2) r (id text, prediction int, confidence real, scores real[]) where i.id = r.id`,
      [model, rows],
    );
  }
}

/** Gives 3 % of the images another label, drawn by a seed. @returns their ids */
async function flip(pool: HubPool, folder: string, images: number, from = 0): Promise<Set<string>> {
  const random = mulberry32(11);
  const order = Uint32Array.from({ length: images }, (_, n) => n);
  shuffle(order, random);
  const ids = [...order.slice(0, Math.round(images * 0.03))].map((n) => `${folder}/${from + n}`);
  const shifts = ids.map(() => 1 + Math.floor(random() * 9));
  await pool.query(
    `update mnist set known_label = (known_label + f.shift) % 10
     from unnest($1::text[], $2::int[]) f (id, shift) where mnist.id = f.id`,
    [ids, shifts],
  );
  return new Set(ids);
}

test('of digits of which 3 % got a wrong label at random, most are found by a model that has not seen them', async () => {
  await using db = await freshDatabase();
  await digitsDataset(db.pool);
  await insertDigits(db.pool, 'mnist', { folder: 'train', from: 0, count: 3000 });
  await insertDigits(db.pool, 'mnist', { folder: 'test', from: 3000, count: 2000 });
  const { model } = await train(db.pool, "id like 'train/%'", 8);
  await promote(db.pool, 'mnist', model);
  await store(db.pool, model, "id like 'test/%'");
  const flipped = await flip(db.pool, 'test', 2000, 3000);

  const report = await findSuspects({ pool: db.pool, stores: POSTGRES_STORES }, 'mnist');
  expect(report).toMatchObject({
    dataset: 'mnist',
    model,
    labelled: 5000,
    considered: 2000,
    withoutScores: 3000,
    trainedOn: 0,
  });
  const hits = report.suspects.filter(({ id }) => flipped.has(id));
  expect(hits.length / flipped.size).toBeGreaterThan(0.75); // recall
  expect(hits.length / report.suspects.length).toBeGreaterThan(0.4); // precision
  const first = report.suspects.slice(0, flipped.size).filter(({ id }) => flipped.has(id));
  expect(first.length / flipped.size).toBeGreaterThan(0.7);
  expect(report.noiseRate).toBeGreaterThan(0.02);
  expect(report.noiseRate).toBeLessThan(0.1);

  // What is suggested is what the digit is: its class is its number modulo 10.
  const rightly = hits.filter(({ id, suggested }) => Number(id.split('/')[1]) % 10 === suggested);
  expect(rightly.length / hits.length).toBeGreaterThan(0.9);

  const { rows } = await db.pool.query<{ rank: number; id: string; suggested_class: string }>(
    "select * from label_suspects where dataset = 'mnist' and not relabelled order by rank",
  );
  expect(rows.map(({ rank, id, suggested_class }) => [rank, id, suggested_class])).toEqual(
    report.suspects.map(({ rank, id, suggestedClass }) => [rank, id, suggestedClass]),
  );
});

test('a search replaces what the one before it found, and the view shows what was relabelled since', async () => {
  await using db = await freshDatabase();
  await digitsDataset(db.pool);
  await insertDigits(db.pool, 'mnist', { folder: 'd', from: 0, count: 1000 });
  const { model } = await train(db.pool, 'true', 6);
  await promote(db.pool, 'mnist', model);
  await store(db.pool, model, 'true');
  await flip(db.pool, 'd', 1000);
  const [one, other] = await Promise.all([
    findSuspects({ pool: db.pool, stores: POSTGRES_STORES }, 'mnist'),
    findSuspects({ pool: db.pool, stores: POSTGRES_STORES }, 'mnist'),
  ]);
  expect(one).toEqual(other);
  // All were trained on but the validation images: said of the whole and of each.
  expect(one.trainedOn).toBe(950);
  expect(one.suspects.filter(({ trainedOn }) => trainedOn).length).toBeGreaterThan(0);
  const first = one.suspects[0]!;
  await db.pool.query('update mnist set known_label = $2 where id = $1', [first.id, first.suggested]);
  const { rows } = await db.pool.query<{ id: string; relabelled: boolean }>(
    'select id, relabelled from label_suspects order by rank',
  );
  expect(rows).toHaveLength(one.suspects.length);
  expect(rows.filter(({ relabelled }) => relabelled)).toEqual([{ id: first.id, relabelled: true }]);

  const low = await findSuspects({ pool: db.pool, stores: POSTGRES_STORES }, 'mnist', 'live', {
    where: 'known_label < 2',
  });
  expect(low.considered).toBeLessThan(300);
  const stored = await db.pool.query<{ n: number }>('select count(*) as n from imagehub.suspects');
  expect(stored.rows[0]!.n).toBe(low.suspects.length);
  await dropDataset(db.pool, 'mnist');
});

test('scores of a model that is not live are those stored beside the table, for the same bytes', async () => {
  await using db = await freshDatabase();
  await digitsDataset(db.pool);
  await insertDigits(db.pool, 'mnist', { folder: 'd', from: 0, count: 600 });
  await db.pool.query("update mnist set sha256 = sha256(decode(image_base64, 'base64'))");
  const live = await addLinearModel(db.pool, 'mnist', 1);
  const { model } = await train(db.pool, "id < 'd/3'", 3);
  await promote(db.pool, 'mnist', live);
  await store(db.pool, live, 'true');
  await store(db.pool, model, 'true', true);
  const before = await findSuspects({ pool: db.pool, stores: POSTGRES_STORES }, 'mnist', model);
  expect(before).toMatchObject({ model, considered: 600, withoutScores: 0 });
  await db.pool.query("update mnist set sha256 = sha256('other') where id = 'd/7'");
  expect(await findSuspects({ pool: db.pool, stores: POSTGRES_STORES }, 'mnist', model)).toMatchObject({
    considered: 599,
    withoutScores: 1,
  });
  const unknown = await findSuspects({ pool: db.pool, stores: POSTGRES_STORES }, 'mnist');
  expect(unknown).toMatchObject({ model: live, considered: 600, trainedOn: null });
});

test.each([
  ['no scores are stored', {}, /No scores of model 1 are stored for the 50 labelled images/],
  ['no image has a label', { where: 'false' }, /There are no labelled images in mnist \(false\)/],
  ['the condition is none', { where: 'id +' }, /--where id \+ cannot be used: syntax error/],
  ['the condition writes', { where: "nextval('imagehub.revision') > 0" }, /read-only transaction/],
])('suspects are refused in words when %s', async (_, selection, message) => {
  await using db = await freshDatabase();
  await digitsDataset(db.pool);
  await insertDigits(db.pool, 'mnist', { folder: 'd', from: 0, count: 50 });
  await promote(db.pool, 'mnist', await addLinearModel(db.pool, 'mnist', 1));
  await expect(
    findSuspects({ pool: db.pool, stores: POSTGRES_STORES }, 'mnist', 'live', selection),
  ).rejects.toMatchObject({
    code: 'USAGE',
    message: expect.stringMatching(message),
    hint: expect.stringMatching(/./),
  });
});
