import { createHash } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { evaluateModel, type EvaluationOptions } from '../../classifier/evaluate/evaluate-model.ts';
import { registerModel } from '../../classifier/registry.ts';
import { findSuspects } from '../../classifier/suspects/find-suspects.ts';
import { STORE_SUPPORT, type StoreName } from '../../sql/image-store.ts';
import type { Selection } from '../../sql/selection.ts';
import { recordTrainingSet } from '../../sql/training-sets.ts';
import { storedClassifier } from '../support/evaluating.ts';
import { LINEAR_MANIFEST, linearModel } from '../support/linear-model.ts';
import { insertOddRows } from './support/odd-rows.ts';
import { type Twins, twins } from './support/twins.ts';

const STORES = Object.keys(STORE_SUPPORT) as StoreName[];

/** Images that the models were trained on. Of some of them the row has no hash. */
const TRAINED = "id like 'test/%' and known_label is not null";

/** Registers the same model for both datasets, trained on the same images. */
async function addModel({ pool, datasets }: Twins, store: StoreName): Promise<number> {
  const dataset = datasets[store];
  const { rows: runs } = await pool.query<{ id: number }>(
    `insert into imagehub.runs (dataset, kind, parameters) values ($1, 'train', '{}') returning id`,
    [dataset],
  );
  const run = runs[0]!.id;
  const { rows } = await pool.query<{ id: string; label: number; image: string }>(
    `select id, known_label as label, image_base64 as image from ${datasets.postgres} where ${TRAINED} order by id`,
  );
  const hashOf = ({ image }: (typeof rows)[number]) =>
    createHash('sha256').update(Buffer.from(image, 'base64')).digest();
  const images = {
    ids: rows.map(({ id }) => id),
    labels: Int32Array.from(rows, ({ label }) => label),
    imageSha256: Buffer.concat(rows.map(hashOf)),
  };
  await recordTrainingSet(pool, { run, dataset }, images, [0, 1]);
  const model = { dataset, onnx: linearModel(1), manifest: LINEAR_MANIFEST, source: 'test', runId: run };
  return registerModel(pool, model);
}

/** Predictions with scores, as if the model had said so of some images. */
async function addPredictions({ pool, datasets }: Twins, model: number): Promise<void> {
  await pool.query('select imagehub.ensure_predictions($1)', [model]);
  await pool.query(
    `insert into imagehub.predictions (model_id, id, sha256, prediction, confidence, scores, source)
     select $1, id, sha256, (byte_size / 2) % 10, 0.55,
       array(select case when c = (byte_size / 2) % 10 then 0.55 else 0.05 end from generate_series(0, 9) c), 'predict'
     from ${datasets.postgres} where byte_size % 3 > 0`,
    [model],
  );
}

describe('what a model makes of stored images', () => {
  let at: Twins;
  const models = {} as Record<StoreName, number>;
  beforeAll(async () => {
    at = await twins((pool, dataset) => insertOddRows(pool, dataset, 300));
    for (const store of STORES) {
      models[store] = await addModel(at, store);
      await addPredictions(at, models[store]);
    }
  });
  afterAll(async () => at[Symbol.asyncDispose]());

  test.each<[string, Selection, EvaluationOptions]>([
    ['of those that it was not trained on', {}, {}],
    ['of all', {}, { includeTrained: true }],
    ['of some, what is stored being taken as it is', { where: 'width = 28' }, { reuse: true }],
    ['of a sample', { sample: { share: 0.4, seed: 9, byClass: true } }, { failedAreWrong: true }],
  ])('is found to be the same in every store: %s', async (_, selection, options) => {
    await using classifier = storedClassifier();
    const evaluate = (store: StoreName) =>
      evaluateModel({ ...at, classifier }, at.datasets[store], models[store], selection, options);
    const [inPostgres, inKudu] = [await evaluate('postgres'), await evaluate('kudu')];
    const own = { run: 0, dataset: '', model: 0, seconds: 0, imagesPerSecond: 0 };
    expect(inPostgres.trained.images).toBeGreaterThan(0);
    expect(inPostgres.images).toBeGreaterThan(50);
    expect({ ...inKudu, ...own }).toEqual({ ...inPostgres, ...own });
  });

  test('makes the same labels suspect in every store', async () => {
    const [inPostgres, inKudu] = await Promise.all(
      STORES.map((store) =>
        findSuspects(at, at.datasets[store], models[store], { where: 'prediction >= -1' }),
      ),
    );
    expect(inPostgres!.suspects.length).toBeGreaterThan(0);
    expect(inPostgres!.trainedOn).toBeGreaterThan(0);
    const own = { dataset: '', model: 0 };
    expect({ ...inKudu, ...own }).toEqual({ ...inPostgres, ...own });
  });
});
