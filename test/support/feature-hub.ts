import { type Config, loadConfig } from '../../config.ts';
import { createLogger } from '../../log.ts';
import { createDataset, type NewDataset } from '../../sql/datasets.ts';
import type { ImageStores } from '../../sql/image-store.ts';
import { insertDigits } from './digit-rows.ts';
import { type FeatureJobs, featureJobs } from './feature-jobs.ts';
import { TEN } from './pipeline.ts';
import { freshDatabase, type TestDatabase } from './servers.ts';
import { storesOf } from './stores.ts';

export { FEATURES_OF_GRAPH, featureGraph } from './feature-graph.ts';

/** A database with labelled digits in dataset `digits`, and backbones. */
export interface FeatureHub extends FeatureJobs {
  pool: TestDatabase['pool'];
  url: string;
  stores: ImageStores;
}

export async function featureHub(
  images: number,
  dataset: Partial<NewDataset> = {},
  settings: Partial<Config> = {},
): Promise<FeatureHub> {
  const database = await freshDatabase();
  const { pool } = database;
  await createDataset(pool, { name: 'digits', classes: TEN, ...dataset });
  if (images > 0) await insertDigits(pool, 'digits', { from: 0, count: images, folder: 'd' });
  await pool.query(`update digits set sha256 = sha256(decode(image_base64, 'base64')) where $1`, [
    dataset.columns !== 'classic',
  ]);
  const config = { ...loadConfig({}), logLevel: 'silent' as const, workers: 2, ...settings };
  const stores = storesOf(pool, config);
  const jobs = await featureJobs({ pool, stores, config, log: createLogger(config) }, 'digits');
  return {
    ...jobs,
    pool,
    url: database.url,
    stores,
    async [Symbol.asyncDispose]() {
      await jobs[Symbol.asyncDispose]();
      await database[Symbol.asyncDispose]();
    },
  };
}
