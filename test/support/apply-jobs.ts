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
import type { Counts, Job, JobContext, JobKind, WritePart } from '../../jobs/job.ts';
import { type JobDesk, startJob } from '../../jobs/start.ts';
import { workOff } from '../../jobs/work-off.ts';
import { createMetrics } from '../../metrics.ts';
import { type PoolClient, transaction } from '../../sql/database.ts';
import { listParts } from '../../sql/job-parts.ts';
import type { IdRange } from '../../sql/stored-images.ts';
import { LINEAR_MANIFEST, linearModel } from './linear-model.ts';
import { TEN } from './pipeline.ts';

/** A part that has been worked on, and is written when the test says so. */
export interface HeldPart extends AsyncDisposable {
  job: Job<Parameters>;
  write(): Promise<Counts>;
  /** In a transaction of the caller's. */
  writeIn(client: PoolClient): Promise<Counts>;
}

/** Models of a dataset that differ, and the jobs that apply them. */
export interface ApplyJobs extends AsyncDisposable {
  desk: JobDesk;
  /** Registers the linear model of a seed. */
  model(seed: number): Promise<number>;
  goLive(model: number): Promise<void>;
  reclassify(request?: Partial<ApplyRequest>): Promise<Job>;
  predict(model: number, request?: Partial<ApplyRequest> & { throttle?: number | null }): Promise<Job>;
  /**
   * Works on a reclassification as one part, up to the point where it would be written.
   * @param as an earlier attempt at the same
   */
  hold(request?: Partial<ApplyRequest> & { as?: HeldPart }): Promise<HeldPart>;
}

export async function applyJobs(context: JobContext, dataset: string): Promise<ApplyJobs> {
  const { pool } = context;
  const dispatcher = await openSender(pool);
  const desk: JobDesk = { ...context, dispatcher };
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
    desk,
    model: (seed) =>
      registerModel(pool, {
        dataset,
        onnx: linearModel(seed),
        manifest: LINEAR_MANIFEST,
        source: `seed ${seed}`,
      }),
    async goLive(model) {
      await promote(pool, dataset, model);
    },
    async reclassify(request) {
      const wanted = await reclassifyRequest(desk, { dataset, ...request });
      return toEnd(await startJob(desk, RECLASSIFY, wanted));
    },
    async predict(model, { throttle = null, ...request } = {}) {
      const wanted = await predictRequest(desk, { dataset, ...request }, model);
      return toEnd(await startJob(desk, PREDICT, { ...wanted, throttle }));
    },
    async hold({ as, ...request } = {}) {
      const wanted = await reclassifyRequest(desk, { dataset, ...request });
      const job = as?.job ?? (await startJob(desk, RECLASSIFY, wanted));
      const workshop = await RECLASSIFY.open(desk, job);
      const [{ what } = { what: null }] = await listParts(pool, job.job);
      const part = { what: what as IdRange, units: job.units };
      const { signal } = new AbortController();
      const attempt = { job, ...part, part: 0, attempt: 1, signal, stopping: signal };
      const write: WritePart = await workshop.work(attempt);
      return {
        job,
        writeIn: write,
        write: () => transaction(pool, (client) => write(client)),
        [Symbol.asyncDispose]: () => workshop[Symbol.asyncDispose](),
      };
    },
    [Symbol.asyncDispose]: () => dispatcher[Symbol.asyncDispose](),
  };
}

/** Ids whose prediction is not what the linear model of a seed says about the bytes. */
export async function wronglyPredicted(
  seed: number,
  rows: { id: string; image_base64: string; prediction: number }[],
): Promise<string[]> {
  const classifier = await Classifier.load(linearModel(seed), LINEAR_MANIFEST, TEN);
  const pixels = await Promise.all(
    rows.map(async (row) => decode(Buffer.from(row.image_base64, 'base64'), { maxPixels: 1e6 })),
  );
  const { prediction } = await classifier.classify(pixels);
  await classifier.release();
  return rows.filter((row, i) => row.prediction !== prediction[i]).map(({ id }) => id);
}
