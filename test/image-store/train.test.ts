import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { trainDataset, type TrainingRequest } from '../../classifier/train-dataset.ts';
import { readTrainingData, type TrainingDataOptions } from '../../classifier/training-data.ts';
import { getDataset } from '../../sql/datasets.ts';
import { STORE_SUPPORT, type StoreName } from '../../sql/image-store.ts';
import { readModelBytes } from '../../sql/models.ts';
import { insertImage } from '../support/image-rows.ts';
import { insertOddRows } from './support/odd-rows.ts';
import { type Twins, twins } from './support/twins.ts';

const STORES = Object.keys(STORE_SUPPORT) as StoreName[];
const maxPixels = 1e6;

describe('training on stored images', () => {
  let at: Twins;
  beforeAll(async () => {
    at = await twins(async (pool, dataset) => {
      await insertOddRows(pool, dataset, 400);
      await insertImage(pool, dataset, { id: 'train/nothing', image_base64: '###', known_label: 3 });
    });
  });
  afterAll(async () => at[Symbol.asyncDispose]());

  const read = async (store: StoreName, options: Partial<TrainingDataOptions>) => {
    const dataset = await getDataset(at.pool, at.datasets[store]);
    return readTrainingData(at, dataset, { maxPixels, ...options });
  };

  test.each<[string, number, Partial<TrainingDataOptions>]>([
    ['all with a label', 342, {}],
    ['those that a condition names', 86, { where: `id like 'test/%' and confidence > 0` }],
    ['as many as are asked for, drawn by the seed', 50, { limit: 50, seed: 3 }],
    ['all where there are fewer', 342, { limit: 5000, seed: 3 }],
    ['of a condition as many as are asked for', 20, { where: 'known_label < 5', limit: 20, seed: 1 }],
    ['a sample', 70, { sample: { share: 0.2, seed: 7, byClass: false } }],
    ['a sample of each class', 70, { sample: { share: 0.2, seed: 7, byClass: true } }],
    [
      'of a sample of each class as many as are asked for',
      15,
      { sample: { share: 0.2, seed: 7, byClass: true }, limit: 15, seed: 2 },
    ],
    ['those of a time', 100, { since: new Date('2026-03-01T01:00Z'), until: new Date('2026-03-01T03:00Z') }],
    ['in another size', 342, { size: { width: 8, height: 10 } }],
  ])('reads the same in every store: %s', async (_, about, options) => {
    const [inPostgres, inKudu] = await Promise.all(STORES.map((store) => read(store, options)));
    expect(inPostgres!.ids.length).toBeGreaterThan(0.7 * about);
    expect(inPostgres!.ids.length).toBeLessThanOrEqual(1.3 * about);
    expect(inKudu).toEqual(inPostgres);
  });

  test('reads one moment, whatever is written meanwhile', async () => {
    const before = await read('kudu', {});
    const { kudu: name } = at.datasets;
    const images = at.stores.kudu.images;
    const dataset = await getDataset(at.pool, name);
    const stores = {
      ...at.stores,
      kudu: {
        ...at.stores.kudu,
        images: {
          ...images,
          // When it has been counted, and before rows are read.
          rows: ((pool, request, limits) =>
            images.rows(
              pool,
              {
                ...request,
                async choose(client, inSql) {
                  const selection = await request.choose!(client, inSql);
                  await at.pool.query(
                    `update ${at.datasets.postgres} set known_label = 1 where known_label = 2`,
                  );
                  await at.copy();
                  return selection;
                },
              },
              limits,
            )) satisfies typeof images.rows,
        },
      },
    };
    expect(await readTrainingData({ pool: at.pool, stores }, dataset, { maxPixels })).toEqual(before);
    const after = await read('kudu', {});
    expect([before.perClass[2], after.perClass[2]]).toEqual([expect.any(Number), 0]);
    expect(after.sha256).not.toBe(before.sha256);
  });

  test('makes the same network in every store, held out and all', async () => {
    const request: TrainingRequest = {
      options: { hidden: [16], epochs: 2, seed: 5 },
      where: `id like 'train/%'`,
      sample: { share: 0.5, byClass: true },
    };
    const train = async (store: StoreName) => {
      const trained = await trainDataset({ ...at, maxPixels }, at.datasets[store], request);
      const { rows } = await at.pool.query(
        `select id, label, class, held_out, image_sha256 from run_images where run = $1 order by id collate "C"`,
        [trained.run],
      );
      return { ...trained, rows, onnx: await readModelBytes(at.pool, trained.dataset, trained.model) };
    };
    const [inPostgres, inKudu] = [await train('postgres'), await train('kudu')];
    expect(inPostgres.metrics.validationImages).toBeGreaterThan(0);
    expect(inPostgres.rows.length).toBe(inPostgres.images);
    expect(inKudu.parameters).toEqual(inPostgres.parameters);
    expect(inKudu.rows).toEqual(inPostgres.rows);
    expect(Buffer.compare(inKudu.onnx, inPostgres.onnx)).toBe(0);
  });

  test('says what is missing', async () => {
    for (const store of STORES) {
      await expect(read(store, { where: 'false' })).rejects.toMatchObject({
        code: 'USAGE',
        message: `There are no labelled images in ${at.datasets[store]} where false.`,
      });
      await expect(read(store, { where: 'known_label = 3' })).rejects.toMatchObject({
        code: 'USAGE',
        message: expect.stringContaining('are of class 3; training needs at least two'),
      });
      await expect(read(store, { where: 'known_label =' })).rejects.toMatchObject({
        code: 'USAGE',
        message: expect.stringContaining('--where known_label = cannot be used: syntax error'),
      });
      await expect(
        trainDataset({ ...at, maxPixels }, at.datasets[store], { backbone: 'x' }),
      ).rejects.toMatchObject({ code: 'NOT_FOUND' });
    }
  });
});
