import { loadConfig } from '../../config.ts';
import { Classifier } from '../../classifier/inference.ts';
import { PREDICT } from '../../classifier/reclassify/predict.ts';
import { RECLASSIFY } from '../../classifier/reclassify/reclassify.ts';
import {
  type ApplyRequest,
  type Parameters,
  predictRequest,
  reclassifyRequest,
} from '../../classifier/reclassify/request.ts';
import { promote, registerModel } from '../../classifier/registry.ts';
import { decode } from '../../images/decode.ts';
import { openSender } from '../../jobs/dispatcher.ts';
import type { Counts, Job, JobKind, WritePart } from '../../jobs/job.ts';
import { type JobDesk, startJob } from '../../jobs/start.ts';
import { workOff } from '../../jobs/work-off.ts';
import { createLogger } from '../../log.ts';
import { createMetrics } from '../../metrics.ts';
import { transaction } from '../../sql/database.ts';
import { createDataset, type NewDataset } from '../../sql/datasets.ts';
import type { IdRange } from '../../sql/stored-images.ts';
import { insertDigits } from './digit-rows.ts';
import { LINEAR_MANIFEST, linearModel } from './linear-model.ts';
import { TEN } from './pipeline.ts';
import { freshDatabase, type TestDatabase } from './servers.ts';
import { storesOf } from './stores.ts';

/** A part that has been worked on, and is written when the test says so. */
export interface HeldPart extends AsyncDisposable {
  write(): Promise<Counts>;
}

/** A database with digits in dataset `digits` and models that differ, and the jobs that apply them. */
export interface ApplyHub extends AsyncDisposable {
  pool: TestDatabase['pool'];
  url: string;
  desk: JobDesk;
  /** Registers the linear model of a seed. */
  model(seed: number): Promise<number>;
  goLive(model: number): Promise<void>;
  reclassify(request?: Partial<ApplyRequest>): Promise<Job>;
  predict(model: number, request?: Partial<ApplyRequest> & { throttle?: number | null }): Promise<Job>;
  /** Works on a reclassification as one part, up to the point where it would be written. */
  hold(request?: Partial<ApplyRequest>): Promise<HeldPart>;
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
  const dispatcher = await openSender(pool);
  const stores = storesOf(pool, config);
  const desk: JobDesk = { pool, stores, config, log: createLogger(config), dispatcher };
  const kinds: Record<string, JobKind> = { reclassify: RECLASSIFY as JobKind, predict: PREDICT as JobKind };
  const toEnd = async (job: Job) =>
    job.state === 'done'
      ? job
      : workOff(
          {
            ...desk,
            kinds: async (kind) => kinds[kind],
            metrics: createMetrics({ processMetrics: false }),
            devices: ['cpu'],
            signal: new AbortController().signal,
          },
          job.job,
        );
  return {
    pool,
    url,
    desk,
    model: (seed) =>
      registerModel(pool, {
        dataset: 'digits',
        onnx: linearModel(seed),
        manifest: LINEAR_MANIFEST,
        source: `seed ${seed}`,
      }),
    async goLive(model) {
      await promote(pool, 'digits', model);
    },
    async reclassify(request) {
      const wanted = await reclassifyRequest(desk, { dataset: 'digits', ...request });
      return toEnd(await startJob(desk, RECLASSIFY, wanted));
    },
    async predict(model, { throttle = null, ...request } = {}) {
      const wanted = await predictRequest(desk, { dataset: 'digits', ...request }, model);
      return toEnd(await startJob(desk, PREDICT, { ...wanted, throttle }));
    },
    async hold(request) {
      const wanted = await reclassifyRequest(desk, { dataset: 'digits', ...request });
      const job = { ...wanted, job: 1 } as Job<Parameters>;
      const workshop = await RECLASSIFY.open(desk, job);
      const [part] = await RECLASSIFY.cut(desk, wanted);
      const { signal } = new AbortController();
      const attempt = { job, ...part!, part: 0, attempt: 1, signal, stopping: signal };
      const write: WritePart = await workshop.work(attempt as typeof attempt & { what: IdRange });
      return {
        write: () => transaction(pool, (client) => write(client)),
        [Symbol.asyncDispose]: () => workshop[Symbol.asyncDispose](),
      };
    },
    async wrong(seed, sql = 'select id, image_base64, prediction from digits') {
      const { rows } = await pool.query<{ id: string; image_base64: string; prediction: number }>(sql);
      const classifier = await Classifier.load(linearModel(seed), LINEAR_MANIFEST, TEN);
      const pixels = await Promise.all(
        rows.map(async (row) => decode(Buffer.from(row.image_base64, 'base64'), { maxPixels: 1e6 })),
      );
      const { prediction } = await classifier.classify(pixels);
      await classifier.release();
      return rows.filter((row, i) => row.prediction !== prediction[i]).map(({ id }) => id);
    },
    async [Symbol.asyncDispose]() {
      await dispatcher[Symbol.asyncDispose]();
      if (!given) await database[Symbol.asyncDispose]();
    },
  };
}
