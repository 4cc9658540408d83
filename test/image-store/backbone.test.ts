import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { findKind } from '../../cli/job-kinds.ts';
import { findOutliers, type OutliersRequest } from '../../classifier/neighbours/outliers.ts';
import { findSimilar, type SimilarRequest } from '../../classifier/neighbours/similar.ts';
import { sweepSpec, type SweepSpec } from '../../classifier/sweep/spec.ts';
import { SWEEP_JOB } from '../../classifier/sweep/sweep-job.ts';
import { trainDataset, type TrainingRequest } from '../../classifier/train-dataset.ts';
import { loadConfig } from '../../config.ts';
import { startJob } from '../../jobs/start.ts';
import { workOff } from '../../jobs/work-off.ts';
import { createLogger } from '../../log.ts';
import { createMetrics } from '../../metrics.ts';
import { STORE_SUPPORT, type StoreName } from '../../sql/image-store.ts';
import { readModelBytes } from '../../sql/models.ts';
import { listCells, listSweeps } from '../../sql/sweeps.ts';
import { type FeatureJobs, featureJobs } from '../support/feature-jobs.ts';
import { insertImage } from '../support/image-rows.ts';
import { insertOddRows } from './support/odd-rows.ts';
import { type Twins, twins } from './support/twins.ts';

const STORES = Object.keys(STORE_SUPPORT) as StoreName[];
/** The selected images that have features of their present bytes. */
const COMPUTED = `id like 'train/%'`;

describe('what is made of features', () => {
  let at: Twins;
  const jobs = {} as Record<StoreName, FeatureJobs>;
  beforeAll(async () => {
    at = await twins(async (pool, dataset) => {
      await insertOddRows(pool, dataset, 240);
      const png = Buffer.from('no image');
      const row = { image_base64: png.toString('base64'), sha256: png, known_label: 3 };
      await insertImage(pool, dataset, { id: 'train/nothing', ...row });
    });
    const config = { ...loadConfig({}), logLevel: 'silent' as const, workers: 2 };
    for (const store of STORES) {
      jobs[store] = await featureJobs({ ...at, config, log: createLogger(config) }, at.datasets[store]);
    }
    await jobs.postgres.backbone('noise', 1, 'float32');
    for (const store of STORES) {
      expect(await jobs[store].compute('noise', { selection: { where: COMPUTED } })).toMatchObject({
        units: 181,
        counts: { failed: 1 },
      });
    }
    // Images get other bytes, as their hash says, and one goes.
    await at.pool.query(
      `update digits set sha256 = '\\x00' where id in (select id from digits where id like 'train/%' and sha256 is not null order by id collate "C" limit 7)`,
    );
    await at.copy();
  });
  afterAll(async () => {
    for (const store of STORES) await jobs[store]?.[Symbol.asyncDispose]();
    await at[Symbol.asyncDispose]();
  });

  const inEach = <T>(make: (store: StoreName) => Promise<T>) => Promise.all(STORES.map(make));
  const own = { dataset: '' };
  const fresh = `${COMPUTED} and sha256 is distinct from '\\x00'`;

  test.each<[string, number, Partial<SimilarRequest>]>([
    ['all', 172, {}],
    ['those that a condition names', 85, { selection: { where: 'known_label < 5 and sha256 is not null' } }],
    ['a sample of each class', 40, { selection: { sample: { share: 0.2, seed: 7, byClass: true } } }],
  ])('the same images are similar in every store, of %s', async (_, about, request) => {
    const to = { id: 'train/B25.png' };
    const [inPostgres, inKudu] = await inEach((store) =>
      findSimilar(at, at.datasets[store], { to, limit: 300, ...request }),
    );
    expect(inPostgres!.compared).toBeGreaterThan(0.5 * about);
    expect(inPostgres!.compared).toBeLessThanOrEqual(1.5 * about);
    const byId = ({ similar, ...report }: NonNullable<typeof inKudu>) => ({
      ...report,
      ...own,
      similar: similar.toSorted((a, b) => (a.id < b.id ? -1 : 1)),
    });
    expect(byId(inKudu!)).toEqual(byId(inPostgres!));
  });

  test.each<[string, OutliersRequest]>([
    ['all', {}],
    ['their class', { withinClass: true, neighbours: 3, selection: { where: 'known_label < 5' } }],
  ])('the same images are outliers in every store, among %s', async (_, request) => {
    const [inPostgres, inKudu] = await inEach((store) => findOutliers(at, at.datasets[store], request));
    expect(inPostgres).toMatchObject({ failed: 1 });
    expect(inPostgres!.missing).toBeGreaterThan(30);
    expect(inPostgres!.compared).toBeGreaterThan(50);
    const rounded = ({ outliers, ...report }: NonNullable<typeof inKudu>) => ({
      ...report,
      ...own,
      outliers: outliers
        .map(({ rank: _rank, distance, ...outlier }) => ({ ...outlier, distance: distance.toFixed(5) }))
        .toSorted((a, b) => (a.id < b.id ? -1 : 1)),
    });
    expect(rounded(inKudu!)).toEqual(rounded(inPostgres!));
  });

  test('a network that is trained on them is the same in every store', async () => {
    const train = async (store: StoreName, request: Partial<TrainingRequest>) => {
      const options = { epochs: 3, seed: 5 };
      const asked = { backbone: 'noise', options, ...request };
      const trained = await trainDataset({ ...at, maxPixels: 1e6 }, at.datasets[store], asked);
      const { rows } = await at.pool.query(
        `select id, label, class, held_out, image_sha256 from run_images where run = $1 order by id collate "C"`,
        [trained.run],
      );
      const onnx = await readModelBytes(at.pool, trained.dataset, trained.model);
      return { parameters: trained.parameters, rows, onnx: onnx.toString('base64') };
    };
    const [inPostgres, inKudu] = await inEach((store) =>
      train(store, { where: fresh, sample: { share: 0.5, byClass: true } }),
    );
    expect(inPostgres!.rows.length).toBeGreaterThan(50);
    expect(inKudu).toEqual(inPostgres);
    for (const store of STORES) {
      await expect(train(store, { where: COMPUTED })).rejects.toMatchObject({
        code: 'USAGE',
        message: expect.stringMatching(
          /^[67] of the labelled images in \w+ have no features by noise/,
        ) as unknown,
      });
    }
  });

  test('a sweep of heads trains the same in every store, and refuses where features are missing', async () => {
    const sweep = async (store: StoreName, asked: Partial<SweepSpec>) => {
      const { desk } = jobs[store];
      const dataset = at.datasets[store];
      const parameters = sweepSpec({ backbone: 'noise', ...asked });
      const { job } = await startJob(desk, SWEEP_JOB, { dataset, kind: 'sweep', parameters, device: 'cpu' });
      const metrics = createMetrics({ processMetrics: false });
      const { signal } = new AbortController();
      const ended = await workOff({ ...desk, devices: ['cpu'], kinds: findKind, metrics, signal }, job);
      const [{ sweep: number } = { sweep: 0 }] = await listSweeps(at.pool, dataset);
      const cells = await listCells(at.pool, number);
      return {
        counts: ended.counts,
        cells: cells.map(({ label, state, dataSha256, trainImages, testImages, accuracy }) => {
          return { label, state, dataSha256, trainImages, testImages, accuracy };
        }),
      };
    };
    const grid = { hidden: [[], [8]], epochs: [2], seed: [4] };
    const asked = { grid, where: [fresh], testWhere: `${fresh} and known_label = 2`, keep: 1 };
    const [inPostgres, inKudu] = [await sweep('postgres', asked), await sweep('kudu', asked)];
    expect(inPostgres).toMatchObject({ counts: { trained: 2 } });
    expect(inKudu).toEqual(inPostgres);
    for (const store of STORES) {
      await expect(sweep(store, { grid, where: [COMPUTED] })).rejects.toMatchObject({
        code: 'USAGE',
        message: expect.stringMatching(/have no features by noise/) as unknown,
      });
    }
  });
});
