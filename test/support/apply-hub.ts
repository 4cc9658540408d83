import { loadConfig } from '../../config.ts';
import { createLogger } from '../../log.ts';
import { createDataset, type NewDataset } from '../../sql/datasets.ts';
import { type ApplyJobs, applyJobs, wronglyPredicted } from './apply-jobs.ts';
import { insertDigits } from './digit-rows.ts';
import { TEN } from './pipeline.ts';
import { freshDatabase, type TestDatabase } from './servers.ts';
import { storesOf } from './stores.ts';

/** A database with digits in dataset `digits` and models that differ, and the jobs that apply them. */
export interface ApplyHub extends ApplyJobs {
  pool: TestDatabase['pool'];
  url: string;
  /** Ids whose prediction is not what the linear model of a seed says about the bytes that are there. */
  wrong(seed: number, sql?: string): Promise<string[]>;
}

export async function applyHub(
  images: number,
  dataset: Partial<NewDataset> = {},
  given?: TestDatabase,
): Promise<ApplyHub> {
  const database = given ?? (await freshDatabase());
  const { pool, url } = database;
  await createDataset(pool, { name: 'digits', classes: TEN, ...dataset });
  if (images > 0) await insertDigits(pool, 'digits', { from: 0, count: images, folder: 'd' });
  await pool.query(`update digits set sha256 = sha256(decode(image_base64, 'base64')) where $1`, [
    dataset.columns !== 'classic',
  ]);
  const config = {
    ...loadConfig({}),
    logLevel: process.env.IMAGEHUB_TEST_LOG === '1' ? ('debug' as const) : ('silent' as const),
    workers: 2,
  };
  const stores = storesOf(pool, config);
  const jobs = await applyJobs({ pool, stores, config, log: createLogger(config) }, 'digits');
  return {
    ...jobs,
    pool,
    url,
    async wrong(seed, sql = 'select id, image_base64, prediction from digits') {
      const { rows } = await pool.query<{ id: string; image_base64: string; prediction: number }>(sql);
      return wronglyPredicted(seed, rows);
    },
    async [Symbol.asyncDispose]() {
      await jobs[Symbol.asyncDispose]();
      if (!given) await database[Symbol.asyncDispose]();
    },
  };
}
