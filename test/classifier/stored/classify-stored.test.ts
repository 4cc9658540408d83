import { expect, test } from '@jest/globals';
import pino from 'pino';
import { Classifier } from '../../../classifier/inference.ts';
import { loadModelRef } from '../../../classifier/model-ref.ts';
import { registerModel } from '../../../classifier/registry.ts';
import {
  classifyStored,
  openStoredClassifier,
  type StoredBatch,
  type StoredClassifierOptions,
  type StoredRequest,
} from '../../../classifier/stored/classify-stored.ts';
import { decode } from '../../../images/decode.ts';
import type { HubPool } from '../../../sql/database.ts';
import { getDataset } from '../../../sql/datasets.ts';
import { insertDigits } from '../../support/digit-rows.ts';
import { digitPng } from '../../support/digits.ts';
import { digitsDataset, insertImage } from '../../support/image-rows.ts';
import { LINEAR_MANIFEST, linearModel } from '../../support/linear-model.ts';
import { slowImage } from '../../support/slow-image.ts';
import { TEN } from '../../support/pipeline.ts';
import { freshDatabase } from '../../support/servers.ts';
import { POSTGRES_STORES } from '../../support/stores.ts';

const open = (options: Partial<StoredClassifierOptions> = {}) =>
  openStoredClassifier({
    workers: 2,
    maxPixels: 1e6,
    decodeTimeoutMs: 30_000,
    log: pino({ level: 'silent' }),
    ...options,
  });

/** A dataset of digits, its model, and a way to classify some of them. */
async function scene(pool: HubPool, images: number) {
  await digitsDataset(pool);
  await insertDigits(pool, 'mnist', { folder: 'd', from: 0, count: images });
  const onnx = linearModel(1);
  const id = await registerModel(pool, { dataset: 'mnist', onnx, manifest: LINEAR_MANIFEST, source: 'test' });
  const model = await loadModelRef(pool, id);
  const dataset = await getDataset(pool, 'mnist');
  return {
    model: id,
    onnx,
    run: async (request: Partial<StoredRequest> = {}, options: Partial<StoredClassifierOptions> = {}) => {
      await using classifier = open(options);
      const batches: StoredBatch[] = [];
      for await (const batch of classifyStored({ pool, stores: POSTGRES_STORES }, classifier, {
        dataset,
        model,
        ...request,
      })) {
        batches.push(batch);
      }
      return batches;
    },
  };
}

test('every stored image gets the prediction that the model gives for it, in the order of the ids', async () => {
  await using db = await freshDatabase();
  const { onnx, run, model } = await scene(db.pool, 1300);
  await db.pool.query("update mnist set sha256 = sha256(decode(image_base64, 'base64')) where id <> 'd/7'");
  await db.pool.query("update mnist set prediction = 4, model_id = $1 where id = 'd/12'", [model]);
  const batches = await run();
  expect(batches.length).toBeGreaterThan(2);
  const ids = batches.flatMap((batch) => batch.ids);
  const { rows } = await db.pool.query<{ id: string; sha256: Buffer | null }>(
    'select id, sha256 from mnist order by id',
  );
  expect(ids).toEqual(rows.map(({ id }) => id));
  const hashes = batches.flatMap((batch) => batch.sha256);
  expect(hashes.map((hash) => hash && Buffer.from(hash).toString('hex'))).toEqual(
    rows.map(({ sha256 }) => sha256?.toString('hex') ?? null),
  );

  const classifier = await Classifier.load(onnx, LINEAR_MANIFEST, TEN);
  const numbers = ids.map((id) => Number(id.slice(2)));
  const pixels = await Promise.all(
    numbers.map(async (n) => decode(digitPng(n % 10, Math.floor(n / 10)), { maxPixels: 1e6 })),
  );
  const truth = await classifier.classify(pixels);
  expect(batches.flatMap((batch) => [...batch.prediction])).toEqual([...truth.prediction]);
  expect(batches.flatMap((batch) => [...batch.scores])).toEqual([...truth.scores]);
  expect(batches.flatMap((batch) => [...batch.confidence])).toEqual([...truth.confidence]);
  expect(batches.flatMap((batch) => [...batch.knownLabel])).toEqual(numbers.map((n) => n % 10));
  const stored = batches.flatMap((batch) => [...batch.storedPrediction]);
  const models = batches.flatMap((batch) => [...batch.storedModel]);
  expect(
    ids.map((id, i) => [id, stored[i], models[i]]).filter(([, prediction]) => prediction !== -1),
  ).toEqual([['d/12', 4, model]]);
  expect(models.filter(Number.isNaN)).toHaveLength(1299);
});

test('a range of ids and a condition choose images; one that cannot be decoded has its reason', async () => {
  await using db = await freshDatabase();
  const { run } = await scene(db.pool, 30);
  await insertImage(db.pool, 'mnist', {
    id: 'd/15x',
    image_base64: Buffer.from('no image').toString('base64'),
  });
  const [batch, ...more] = await run({
    from: 'd/15',
    before: 'd/18',
    selection: { where: 'known_label is distinct from 6 -- six' },
  });
  expect(more).toEqual([]);
  expect(batch!.ids).toEqual(['d/15', 'd/15x', 'd/17']);
  expect([...batch!.errors.keys()]).toEqual([1]);
  expect(batch!.prediction[1]).toBe(-1);
});

test.each([
  ['is none', 'known_label ='],
  ['names no column', 'label = 3'],
  ['fails on a row', '1 / known_label > 0'],
  ['would write', "nextval('imagehub.revision') > 0"],
  ['would free itself from what stands around it', 'true) or (true'],
  ['would do so with a function that may stand around it', 'true) or coalesce(false'],
  ['is several', 'true, true'],
  ['would end the statement', 'true) to stdout; delete from mnist; copy (select 1 where (true'],
])('a condition that %s is refused, and nothing is changed', async (_, where) => {
  await using db = await freshDatabase();
  const { run } = await scene(db.pool, 20);
  await expect(run({ selection: { where } })).rejects.toMatchObject({ code: 'USAGE' });
  expect((await run()).flatMap(({ ids }) => ids)).toHaveLength(20);
});

test('an image over which a thread hangs costs its neighbours nothing', async () => {
  await using db = await freshDatabase();
  const { run } = await scene(db.pool, 9);
  const truth = (await run()).flatMap(({ prediction }) => [...prediction]);
  const slow = await slowImage();
  await db.pool.query(`update mnist set image_base64 = $1 where id = 'd/5'`, [slow.toString('base64')]);
  // Far less than it takes, together with the others in a thread (four times that) and by itself.
  const batches = await run({}, { workers: 1, decodeTimeoutMs: 300, maxPixels: 1e9 });
  expect(batches.flatMap(({ ids }) => ids)).toEqual(Array.from({ length: 9 }, (_, n) => `d/${n}`));
  expect(batches.flatMap(({ errors }) => [...errors.values()])).toEqual([
    'It took longer than 0.3 s (IMAGEHUB_DECODE_TIMEOUT_MS).',
  ]);
  expect(batches.flatMap(({ prediction }) => [...prediction])).toEqual(truth.with(5, -1));
});

test('who stops early, by leaving the loop or by a signal, leaves no connection behind that still delivers', async () => {
  await using db = await freshDatabase();
  const { run, model: id } = await scene(db.pool, 1500);
  await using classifier = open();
  const request = { dataset: await getDataset(db.pool, 'mnist'), model: await loadModelRef(db.pool, id) };
  for await (const batch of classifyStored({ pool: db.pool, stores: POSTGRES_STORES }, classifier, request)) {
    expect(batch.ids).toHaveLength(500);
    break;
  }
  expect(db.pool.idleCount).toBe(db.pool.totalCount);
  await expect(run({ signal: AbortSignal.abort() })).rejects.toMatchObject({ code: 'INTERRUPTED' });
  expect((await run()).flatMap(({ ids }) => ids)).toHaveLength(1500);
});
